package rollout

import (
	"fmt"
	"time"

	"github.com/manorhq/manor/controlplane"
)

// askEvery is how often a gate is asked that must hold for a while.
const askEvery = 5 * time.Second

// WaveState is a wave as [Next] sees it.
type WaveState struct {
	Number  int
	Name    string
	Open    int                       // unfinished targets of the rollout's present direction, homes in the making left out
	Changed int                       // targets that the rollout had something to do about
	Begun   int                       // of them, those that it has begun, and not taken back
	Soak    time.Duration             // after its end
	Ended   time.Time                 // when its last target was done; zero: not yet
	Passed  bool                      // the next may begin
	Gates   []controlplane.GateResult // of those asked so far
}

// Ask is a gate to be asked.
type Ask struct{ Wave, Gate int } // a wave's number, and an index of the strategy's gates

// present is the number of the wave that is worked on: forwards the first that
// has something to do, backwards the last; 0 if none has.
func (s State) present() (number int) {
	for _, w := range s.Waves {
		if w.Open > 0 {
			if number = w.Number; s.Rollout != controlplane.RolloutRollingBack {
				return number
			}
		}
	}
	return number
}

// furthest is the last wave that the rollout has begun; 0 if it has none. When
// failures use up the budget it is the one at hand: its last target may be what
// failed, or one that came late to a wave before it.
func (s State) furthest() (number int) {
	for _, w := range s.Waves {
		if w.Begun > 0 {
			number = w.Number
		}
	}
	return number
}

// unpassed is the first wave that the rollout has to pass before the present
// one, or nil.
func (s State) unpassed() *WaveState {
	present := s.present()
	for i, w := range s.Waves {
		if !w.Passed && w.Number < present {
			return &s.Waves[i]
		}
	}
	return nil
}

// interlude is what happens after a wave: it soaks, then the gates are asked one
// after the other. What is not as a gate wants it pauses the rollout.
func (s State) interlude(w WaveState) Decision {
	switch {
	case live(s) > 0: // the last report of a batch is still to come
		return Decision{}
	case w.Changed == 0:
		return Decision{Pass: w.Number}
	case w.Ended.IsZero(), w.Ended.After(s.Now): // or the clock was put back
		return Decision{End: w.Number}
	}
	if until := w.Ended.Add(w.Soak); s.Now.Before(until) {
		return Decision{WakeAt: until}
	}
	for i, gate := range s.Gates {
		if result := w.gate(i); !result.Passed() {
			return s.askGate(w, i, gate, result)
		}
	}
	return Decision{Pass: w.Number}
}

func (s State) askGate(w WaveState, i int, gate controlplane.Gate, result controlplane.GateResult) Decision {
	switch {
	case result.Failure != "":
		return Decision{Become: controlplane.RolloutPaused, Reason: fmt.Sprintf("after wave %s: %s: %s", w.Name, gate, result.Failure)}
	case gate.Approval: // who approves has the rollout advanced
		return Decision{}
	case result.AskedAt != nil && s.Now.Before(result.AskedAt.Add(askEvery)) && !s.Now.Before(*result.AskedAt):
		return Decision{WakeAt: result.AskedAt.Add(askEvery)}
	}
	return Decision{Ask: Ask{Wave: w.Number, Gate: i}}
}

// awaited is the gate that the rollout waits at: a wave and an index of the
// strategy's gates. The zero Ask: at none.
func (s State) awaited() Ask {
	w := s.unpassed()
	if w == nil || s.Rollout != controlplane.RolloutRunning || w.Ended.IsZero() || s.Now.Before(w.Ended.Add(w.Soak)) {
		return Ask{}
	}
	for i := range s.Gates {
		if !w.gate(i).Passed() {
			return Ask{w.Number, i}
		}
	}
	return Ask{}
}

// gate is what is known of a gate after the wave.
func (w WaveState) gate(i int) controlplane.GateResult {
	if i < len(w.Gates) {
		return w.Gates[i]
	}
	return controlplane.GateResult{}
}

// shutWindows are the windows that are not open now, 1 is the first. A rollback
// waits for none.
func (s State) shutWindows() (shut []int) {
	if s.Rollout != controlplane.RolloutRollingBack {
		shut = shutAt(s.Windows, s.Now)
	}
	return shut
}

// shutAt are the windows that are not open.
func shutAt(windows []controlplane.Window, now time.Time) (shut []int) {
	for i, w := range windows {
		if open, _ := w.Open(now); !open {
			shut = append(shut, i+1)
		}
	}
	return shut
}

// breached reports whether the failures that nobody has forgiven use up the budget.
func (s State) breached() bool {
	return s.OnError != controlplane.OnErrorContinue && orFirst(s.Budget).Spent(s.Counts[controlplane.TargetFailed]-s.Forgiven, s.Counts.Sum())
}

// orFirst is what failures may use up. Who says nothing of it means the first.
func orFirst(b *controlplane.Budget) *controlplane.Budget {
	if b == nil {
		return &controlplane.Budget{Failures: 1}
	}
	return b
}

// answered is a gate's result after one more answer: wrong says in words what
// was not as wanted.
func answered(gate controlplane.Gate, was controlplane.GateResult, wrong string, now time.Time) controlplane.GateResult {
	result := controlplane.GateResult{Gate: gate.String(), AskedAt: &now, SoSince: was.SoSince, Failure: wrong}
	switch {
	case wrong != "":
		result.SoSince = nil
		return result
	case result.SoSince == nil || result.SoSince.After(now): // or the clock was put back
		result.SoSince = &now
	}
	if now.Sub(*result.SoSince) >= time.Duration(gate.For) {
		result.PassedAt = &now
	}
	return result
}
