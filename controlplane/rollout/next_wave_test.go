package rollout

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/manorhq/manor/controlplane"
)

// inWaves is a rollout of which the waves have so many targets to do; those of
// the first were changed.
func inWaves(open ...int) State {
	return going(func(s *State) {
		for i, n := range open {
			s.Waves = append(s.Waves, WaveState{Number: i + 1, Name: string(rune('a' + i)), Open: n, Changed: 3, Soak: time.Minute})
		}
	})
}

func with(s State, change func(*State)) State {
	s.Waves = slices.Clone(s.Waves)
	change(&s)
	return s
}

func of(wave int, b BatchState) BatchState {
	b.Wave = wave
	return b
}

func TestNextGoesWaveByWave(t *testing.T) {
	t.Parallel()
	ended := noon.Add(-30 * time.Second)
	sql, http := controlplane.Gate{SQL: "select true", On: controlplane.GateOnCluster}, controlplane.Gate{HTTP: "http://here/ready", Expect: 200, For: controlplane.Duration(time.Minute)}
	approval := controlplane.Gate{Approval: true}
	soaked := with(inWaves(0, 3), func(s *State) { s.Waves[0].Ended = noon.Add(-time.Hour) })
	passed := controlplane.GateResult{PassedAt: &noon}
	for name, c := range map[string]struct {
		state State
		want  Decision
	}{
		"only batches of the first wave start": {
			with(inWaves(2, 3), func(s *State) { s.Batches = []BatchState{of(1, waiting(1, "a")), of(2, waiting(2, "a"))} }),
			Decision{Start: []Grant{{1, 4}}}},
		"a wave that is done has ended": {inWaves(0, 3), Decision{End: 1}},
		"not before its last batch is reported": {
			with(inWaves(0, 3), func(s *State) { s.Batches = []BatchState{of(1, running(1, "a", 1))} }), Decision{}},
		"a wave in which nothing was to be changed is passed": {
			with(inWaves(0, 3), func(s *State) { s.Waves[0].Changed = 0 }), Decision{Pass: 1}},
		"it soaks": {
			with(inWaves(0, 3), func(s *State) { s.Waves[0].Ended = ended }), Decision{WakeAt: ended.Add(time.Minute)}},
		"without gates it is passed then": {soaked, Decision{Pass: 1}},
		"then the first gate is asked":    {with(soaked, func(s *State) { s.Gates = []controlplane.Gate{sql, approval} }), Decision{Ask: Ask{Wave: 1}}},
		"the second when the first is passed": {
			with(soaked, func(s *State) {
				s.Gates, s.Waves[0].Gates = []controlplane.Gate{sql, http}, []controlplane.GateResult{passed}
			}),
			Decision{Ask: Ask{Wave: 1, Gate: 1}}},
		"one that must hold is asked again after a while": {
			with(soaked, func(s *State) {
				s.Gates, s.Waves[0].Gates = []controlplane.Gate{http}, []controlplane.GateResult{{AskedAt: &noon, SoSince: &noon}}
			}),
			Decision{WakeAt: noon.Add(askEvery)}},
		"a wrong answer pauses": {
			with(soaked, func(s *State) {
				s.Gates, s.Waves[0].Gates = []controlplane.Gate{sql}, []controlplane.GateResult{{AskedAt: &noon, Failure: "the answer was false"}}
			}),
			Decision{Become: controlplane.RolloutPaused, Reason: "after wave a: sql on each cluster: select true: the answer was false"}},
		"an approval is waited for": {with(soaked, func(s *State) { s.Gates = []controlplane.Gate{approval} }), Decision{}},
		"an approval that was given passes": {
			with(soaked, func(s *State) {
				s.Gates, s.Waves[0].Gates = []controlplane.Gate{approval}, []controlplane.GateResult{passed}
			}), Decision{Pass: 1}},
		"after that the second wave starts": {
			with(soaked, func(s *State) {
				s.Waves[0].Passed, s.Batches = true, []BatchState{of(2, waiting(2, "a"))}
			}), Decision{Start: []Grant{{2, 4}}}},
		"somebody who joins a wave that was passed goes first, and no gate is asked again": {
			with(soaked, func(s *State) {
				s.Waves[0].Passed, s.Waves[0].Open = true, 1
				s.Batches = []BatchState{of(2, waiting(2, "a")), of(1, waiting(3, "a"))}
			}), Decision{Start: []Grant{{3, 4}}}},
		"nothing is waited for after the last wave that has something to do": {
			with(inWaves(0, 0), func(s *State) { s.Counts = counts(0, 10, 0) }), Decision{Become: controlplane.RolloutSucceeded}},
		"a rollback begins with the last wave, and asks nothing": {
			with(inWaves(2, 3), func(s *State) {
				s.Rollout, s.Open, s.Gates = controlplane.RolloutRollingBack, 5, []controlplane.Gate{approval}
				s.Batches = []BatchState{of(1, waiting(1, "a")), of(2, waiting(2, "a"))}
			}), Decision{Start: []Grant{{2, 4}}}},
		"a window that is shut lets nothing start": {
			with(inWaves(2, 3), func(s *State) {
				s.Windows = []controlplane.Window{{Hours: "13:00-14:00"}}
				shut, any := of(1, waiting(1, "a")), of(1, waiting(2, "a"))
				shut.Window = 1
				s.Batches = []BatchState{shut, any}
			}), Decision{Start: []Grant{{2, 4}}}},
		"a rollback waits for no window": {
			with(inWaves(2, 3), func(s *State) {
				s.Rollout, s.Open, s.Windows = controlplane.RolloutRollingBack, 5, []controlplane.Window{{Hours: "13:00-14:00"}}
				b := of(2, waiting(1, "a"))
				b.Window = 1
				s.Batches = []BatchState{b}
			}), Decision{Start: []Grant{{1, 4}}}},
		"a pause that is wanted waits for what is in hand": {
			with(inWaves(2), func(s *State) {
				s.Wanted, s.WantedBy = controlplane.RolloutPaused, "ada"
				s.Batches = []BatchState{of(1, running(1, "a", 1)), of(1, waiting(2, "a"))}
			}), Decision{}},
		"and comes then": {
			with(inWaves(2), func(s *State) { s.Wanted, s.WantedBy = controlplane.RolloutPaused, "ada" }),
			Decision{Become: controlplane.RolloutPaused, Reason: "paused by ada"}},
		"failures within the budget stop nothing": {
			with(inWaves(2), func(s *State) {
				s.OnError, s.Budget, s.Counts = controlplane.OnErrorPause, &controlplane.Budget{Failures: 3, Ratio: 0.5}, counts(8, 0, 2)
				s.Batches = []BatchState{of(1, waiting(1, "a"))}
			}), Decision{Start: []Grant{{1, 4}}}},
		"those that use it up do": {
			with(inWaves(2), func(s *State) {
				s.OnError, s.Budget, s.Counts = controlplane.OnErrorRollbackWave, &controlplane.Budget{Failures: 3, Ratio: 0.5}, counts(7, 0, 3)
				s.Waves[0].Begun = 4
			}), Decision{Undo: true, UndoWave: 1, Reason: "3 failed, and on-error is rollback_wave: the budget is 3 failures or 50 % of the tenants"}},
		"a breach by the last target of a wave takes back that wave, not the next": {
			with(inWaves(0, 3), func(s *State) {
				s.OnError, s.Budget, s.Counts = controlplane.OnErrorRollbackWave, &controlplane.Budget{Failures: 2}, counts(3, 5, 2)
				s.Waves[0].Begun = 7
			}), Decision{Undo: true, UndoWave: 1, Reason: "2 failed, and on-error is rollback_wave: the budget is 2 failures"}},
		"by the last target of all it takes back the last wave, not all": {
			with(inWaves(0, 0), func(s *State) {
				s.OnError, s.Counts = controlplane.OnErrorRollbackWave, counts(0, 9, 1)
				s.Waves[0].Begun, s.Waves[1].Begun = 5, 5
			}), Decision{Undo: true, UndoWave: 2, Reason: "1 failed, and on-error is rollback_wave"}},
		"by one who came late to a wave before it takes back the wave at hand": {
			with(inWaves(1, 2), func(s *State) {
				s.OnError, s.Counts = controlplane.OnErrorRollbackWave, counts(3, 6, 1)
				s.Waves[0].Begun, s.Waves[0].Passed, s.Waves[1].Begun = 5, true, 2
			}), Decision{Undo: true, UndoWave: 2, Reason: "1 failed, and on-error is rollback_wave"}},
		"a rollout of which a breach had the last wave taken back has failed": {
			with(inWaves(0, 0), func(s *State) {
				s.Rollout, s.Standing, s.Reason = controlplane.RolloutRollingBack, 5, "1 failed, and on-error is rollback_wave"
				s.Counts = controlplane.Counts{controlplane.TargetSucceeded: 5, controlplane.TargetRolledBack: 5}
			}), Decision{Become: controlplane.RolloutFailed, Reason: "1 failed, and on-error is rollback_wave"}},
		"what somebody wants goes before what a breach would do": {
			with(inWaves(2), func(s *State) {
				s.OnError, s.Counts = controlplane.OnErrorRollback, counts(2, 3, 1)
				s.Wanted, s.WantedBy = controlplane.RolloutAborted, "ada"
			}), Decision{Become: controlplane.RolloutAborted, Reason: "aborted by ada"}},
		"a wave that ended after now, since the clock was put back, ends now": {
			with(inWaves(0, 3), func(s *State) { s.Waves[0].Ended = noon.Add(time.Hour) }), Decision{End: 1}},
		"so does their ratio": {
			with(inWaves(2), func(s *State) {
				s.OnError, s.Budget, s.Counts = controlplane.OnErrorPause, &controlplane.Budget{Failures: 30, Ratio: 0.2}, counts(8, 0, 2)
			}), Decision{Become: controlplane.RolloutPaused, Reason: "2 failed, and on-error is pause: the budget is 30 failures or 20 % of the tenants"}},
		"what was forgiven does not count": {
			with(inWaves(2), func(s *State) {
				s.OnError, s.Budget, s.Counts, s.Forgiven = controlplane.OnErrorPause, &controlplane.Budget{Failures: 2}, counts(7, 0, 3), 2
				s.Batches = []BatchState{of(1, waiting(1, "a"))}
			}), Decision{Start: []Grant{{1, 4}}}},
	} {
		if diff := cmp.Diff(c.want, Next(c.state)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
	for name, c := range map[string]struct {
		gates []controlplane.Gate
		want  Ask
	}{
		"an approval":                     {[]controlplane.Gate{approval}, Ask{1, 0}},
		"the gate in front of the others": {[]controlplane.Gate{sql, approval}, Ask{1, 0}},
		"none where there is none":        {nil, Ask{}},
	} {
		if got := with(soaked, func(s *State) { s.Gates = c.gates }).awaited(); got != c.want {
			t.Errorf("%s: it waits at %+v, not %+v", name, got, c.want)
		}
	}
	if got := with(inWaves(0, 3), func(s *State) { s.Waves[0].Ended, s.Gates = ended, []controlplane.Gate{approval} }).awaited(); got != (Ask{}) {
		t.Errorf("while it soaks it waits at %+v", got)
	}
}

func TestGateThatMustHoldPassesWhenItHasHeldWithoutABreak(t *testing.T) {
	t.Parallel()
	gate := controlplane.Gate{HTTP: "http://here/ready", Expect: 200, For: controlplane.Duration(time.Minute)}
	result := answered(gate, controlplane.GateResult{}, "", noon)
	if result.Passed() || result.SoSince == nil || !result.SoSince.Equal(noon) {
		t.Fatalf("after the first answer: %+v", result)
	}
	if again := answered(gate, result, "", noon.Add(59*time.Second)); again.Passed() {
		t.Error("it is passed before its time")
	}
	if again := answered(gate, result, "", noon.Add(time.Minute)); !again.Passed() {
		t.Error("it is not passed after its time")
	}
	broken := answered(gate, result, "the answer was 503", noon.Add(30*time.Second))
	if broken.SoSince != nil || broken.Failure == "" {
		t.Errorf("after a wrong answer: %+v", broken)
	}
	if back := answered(gate, result, "", noon.Add(-time.Hour)); back.Passed() || !back.SoSince.Equal(noon.Add(-time.Hour)) {
		t.Errorf("after the clock was put back: %+v", back)
	}
}
