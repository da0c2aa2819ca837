package rollout

import (
	"fmt"
	"slices"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/ent"
)

// Waves and gates, as wave_store.go and gate.go write them.

// asking is a gate that is being asked. The answer comes later.
type asking struct {
	run    *run
	job    gateJob
	before ent.Wave // as it was when the gate was asked
	opened int      // how often it had been opened then
	wrong  string
}

// drawStrategy gives a rollout waves, some of which nobody is in, gates, a
// budget and windows.
func (w *world) drawStrategy(r *run) {
	s := &r.Strategy
	if r.OnError != controlplane.OnErrorContinue {
		s.Budget = &controlplane.Budget{Failures: 1}
	}
	if s.Waves = []controlplane.Wave{{Name: "all"}}; w.faults.waves {
		w.drawWaves(r)
	}
	r.seen, r.sick = make([]witnessed, len(s.Waves)), make([]bool, len(s.Gates))
	for i := range r.sick {
		r.sick[i] = w.chance(w.faults.gates, 3)
	}
	for i, wave := range s.Waves {
		r.waves = append(r.waves, &ent.Wave{RolloutID: r.ID, Number: i + 1, Name: wave.Name})
	}
	r.wave, r.window = map[int]int{}, map[int]int{}
	for i := range groups {
		r.wave[1<<i], r.window[1<<i] = 1, 0
		if w.faults.waves {
			r.wave[1<<i], r.window[1<<i] = 1+w.rng.IntN(len(s.Waves)), w.rng.IntN(len(s.Windows)+1)
		}
	}
	w.tell("%s: tenants in waves %v, in windows %v, strategy %+v", r.ID, r.wave, r.window, *s)
}

func (w *world) drawWaves(r *run) {
	s := &r.Strategy
	seconds := func(most int) controlplane.Duration {
		return controlplane.Duration(w.rng.IntN(most)) * controlplane.Duration(time.Second)
	}
	s.Waves = nil
	for i := range 1 + w.rng.IntN(4) {
		s.Waves = append(s.Waves, controlplane.Wave{Name: fmt.Sprint("w", i+1), Soak: seconds(1 + 8*w.rng.IntN(2))})
	}
	for i := range w.rng.IntN(3) {
		asked := fmt.Sprint("SELECT ", i)
		s.Gates = append(s.Gates, []controlplane.Gate{{Approval: true}, {SQL: asked}, {SQL: asked, For: seconds(15)}}[w.rng.IntN(3)])
	}
	for range max(0, w.rng.IntN(5)-2) { // shut for a minute or two, soon
		from := w.rng.IntN(5)
		s.Windows = append(s.Windows, controlplane.Window{Hours: fmt.Sprintf("12:%02d-12:%02d", from+1+w.rng.IntN(2), from)})
	}
	if s.Budget != nil {
		s.Budget = []*controlplane.Budget{{Failures: 1}, {Failures: 1 + w.rng.IntN(3)}, {Ratio: 0.1 + w.rng.Float64()/3}, {Failures: 3, Ratio: 0.3}}[w.rng.IntN(4)]
	}
}

// waveStates counts as the statement of waveStates does.
func (w *world) waveStates(r *run) []WaveState {
	counted := make([]WaveState, len(r.waves))
	for _, t := range r.targets {
		c := &counted[t.Wave-1]
		if !t.Status.Done() && t.Direction == direction(r.State) && w.seatOf(t.TenantID).State != controlplane.TenantProvisioning {
			c.Open++
		}
		switch waits := t.Status == controlplane.TargetPending || t.Status == controlplane.TargetDeferred; {
		case t.Status == controlplane.TargetCurrent, t.Status == controlplane.TargetSkipped:
			continue
		case t.Status != controlplane.TargetRolledBack && (!waits || t.Version != t.FromVersion):
			c.Begun++
		}
		c.Changed++
	}
	for i, row := range r.waves {
		counted[i] = waveState(r.Rollout, row, counted[i])
	}
	return counted
}

// mark notes that a wave has ended, or that the rollout goes on after it.
func (w *world) mark(d *decision) {
	row, now := d.run.waves[max(d.End, d.Pass)-1], d.state.Now
	if d.End > 0 {
		row.EndedAt = &now
		w.tell("wave %d of %s has ended", row.Number, d.run.ID)
		return
	}
	row.PassedAt, d.run.seen[row.Number-1].passed = &now, true
	w.tell(toldPassed, d.run.ID, row.Number)
}

// reopen has a wave end once more.
func (w *world) reopen(r *run, number int) {
	row := r.waves[number-1]
	r.seen[number-1] = witnessed{opened: r.seen[number-1].opened + 1}
	if w.broken != "a retry goes on after waves that were passed before" {
		row.EndedAt, row.PassedAt, row.Gates = nil, nil, nil
		w.tell(toldReopened, number, r.ID)
	}
}

// forgetAnswers has the gates asked again that were not passed.
func (w *world) forgetAnswers(r *run) {
	for _, row := range r.waves {
		if row.PassedAt == nil && w.broken != "a resume does not ask a gate again" {
			row.Gates = passedOf(row.Gates)
		}
	}
}

// toAsk notes that a gate is being asked, and has it asked.
func (w *world) toAsk(d *decision) {
	row, now := d.run.waves[d.Ask.Wave-1], d.state.Now
	result := gateOf(row, d.Ask.Gate)
	result.AskedAt = &now
	w.setGate(d.run, row, d.Ask.Gate, result)
	w.enqueue(job{run: d.run, ask: d.Ask, at: w.elapsed})
}

// askGate is the first half of a gate's job.
func (w *world) askGate(j job) {
	if j.run.State != controlplane.RolloutRunning {
		return
	}
	a := &asking{run: j.run, job: gateJob{j.run.ID, j.ask.Wave, j.ask.Gate}, before: *j.run.waves[j.ask.Wave-1], opened: j.run.seen[j.ask.Wave-1].opened}
	if j.run.sick[j.ask.Gate] {
		a.wrong = "the answer was false"
	}
	w.asking = append(w.asking, a)
}

// hear is the second half.
func (w *world) hear(a *asking) {
	r, row, s := a.run, a.run.waves[a.job.Wave-1], w.load(a.run)
	if w.locked(r) {
		return
	}
	w.asking = slices.DeleteFunc(w.asking, func(o *asking) bool { return o == a })
	late := !awaits(s, a.job, &a.before, row) && w.broken != "an answer counts that was asked for long ago"
	if r.State != controlplane.RolloutRunning || late {
		return
	}
	gate, was := r.Strategy.Gates[a.job.Gate], gateOf(row, a.job.Gate)
	if w.broken == "a gate that must hold is passed by its first answer" {
		gate.For = 0
	}
	if a.wrong != "" {
		w.tell(toldWrong, r.ID, a.job.Wave)
	}
	w.hears(a, s.Now)
	w.noteGate(r, row, a.job.Gate, answered(gate, was, a.wrong, s.Now))
}

func (w *world) noteGate(r *run, row *ent.Wave, i int, result controlplane.GateResult) {
	if gateOf(row, i).Passed() {
		return
	}
	w.setGate(r, row, i, result)
	w.enqueue(job{run: r, at: w.elapsed})
}

func (w *world) setGate(r *run, row *ent.Wave, i int, result controlplane.GateResult) {
	gates := slices.Clone(row.Gates)
	for len(gates) <= i {
		gates = append(gates, controlplane.GateResult{Gate: r.Strategy.Gates[len(gates)].String()})
	}
	gates[i], row.Gates = result, gates
}

// sicken has a gate answered wrong from now on, or right.
func (w *world) sicken(may bool) {
	if r := w.runs[w.rng.IntN(len(w.runs))]; may && len(r.sick) > 0 {
		i := w.rng.IntN(len(r.sick))
		r.sick[i] = !r.sick[i]
	}
}
