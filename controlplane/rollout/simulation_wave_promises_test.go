package rollout

import (
	"slices"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/ent"
)

// The promises of waves, gates, budgets and windows.

// witnessed is what somebody beside the room has seen of a wave since it was
// opened, in the catalog's time.
type witnessed struct {
	opened int       // how often it was opened again
	quiet  time.Time // since when nothing of it was to be done
	gates  []answer
	passed bool
}

// answer is what was seen of a gate.
type answer struct {
	right  time.Time // since when it was answered right
	passed bool      // it was so for long enough, or approved
}

func (s *witnessed) gate(i int) *answer {
	for len(s.gates) <= i {
		s.gates = append(s.gates, answer{})
	}
	return &s.gates[i]
}

func (s *witnessed) passes(gate int) { s.gate(gate).passed = true }

// witness looks which waves of a rollout are quiet.
func (w *world) witness(r *run) {
	if r.State != controlplane.RolloutRunning {
		return
	}
	for i := range r.seen {
		s := &r.seen[i]
		if now := w.now(); (s.quiet.IsZero() || s.quiet.After(now)) && w.isQuiet(r, i+1) {
			s.quiet = now
		}
	}
}

// isQuiet reports whether nothing of a wave is to be done, but for homes in the
// making, and nobody works on it.
func (w *world) isQuiet(r *run, number int) bool {
	open := func(t *ent.Target) bool {
		return t.Wave == number && !t.Status.Done() && w.seatOf(t.TenantID).State != controlplane.TenantProvisioning
	}
	live := func(b *ent.Batch) bool {
		return b.Wave == number && (b.State == batchQueued || b.State == batchRunning)
	}
	return !slices.ContainsFunc(r.targets, open) && !slices.ContainsFunc(r.batches, live)
}

// begun reports whether a rollout has begun with a target, and not taken it back.
func (w *world) begun(t *ent.Target) bool {
	return w.standing(t) || t.Status == controlplane.TargetFailed
}

func (w *world) hasBegun(r *run, number int) bool {
	return slices.ContainsFunc(r.targets, func(t *ent.Target) bool { return t.Wave == number && w.begun(t) })
}

// hears notes an answer that counts.
func (w *world) hears(a *asking, now time.Time) {
	s := &a.run.seen[a.job.Wave-1]
	seen := s.gate(a.job.Gate)
	switch {
	case a.opened != s.opened:
		w.breaks("an answer counts of before wave %d of %s was opened again", a.job.Wave, a.run.ID)
	case a.wrong != "":
		seen.right = time.Time{}
		return
	case seen.right.IsZero() || seen.right.After(now):
		seen.right = now
	}
	if now.Sub(seen.right) >= time.Duration(a.run.Strategy.Gates[a.job.Gate].For) {
		seen.passed = true
	}
}

// endsInTurn checks that a wave has ended that is said to have, and that one is
// passed only after it has soaked and its gates are.
func (w *world) endsInTurn(d *decision) {
	r, number := d.run, max(d.End, d.Pass)
	if number == 0 {
		return
	}
	w.witness(r)
	s := &r.seen[number-1]
	live := slices.ContainsFunc(r.batches, func(b *ent.Batch) bool { return b.State == batchQueued || b.State == batchRunning })
	if live || !w.isQuiet(r, number) {
		w.breaks("wave %d of %s is said to have ended, and is at work", number, r.ID)
	}
	if d.Pass == 0 || !w.hasBegun(r, number) {
		return
	}
	if soaked := s.quiet.Add(soakOf(r.Rollout, number)); d.state.Now.Before(soaked) {
		w.breaks("wave %d of %s is passed at %s, and soaks until %s", number, r.ID, d.state.Now, soaked)
	}
	for i, gate := range r.Strategy.Gates {
		if !s.gate(i).passed {
			w.breaks("wave %d of %s is passed before %s", number, r.ID, gate)
		}
	}
}

// beginsInTurn checks that a target is begun only after the waves before it,
// forwards, or after it, backwards; nor while somebody wants the rollout to
// stop, nor outside its window.
func (w *world) beginsInTurn(r *run, t *ent.Target) {
	switch {
	case t.Direction == down:
		w.goesBackInTurn(r, t)
	case r.Wanted != "":
		w.breaks("%s of %s is begun although that is to be %s", t.Slug, r.ID, r.Wanted)
	case slices.Contains(shutAt(r.Strategy.Windows, w.now()), t.Window):
		w.breaks("%s of %s is begun although its window is shut", t.Slug, r.ID)
	}
	for number := 1; number < t.Wave && t.Direction == up; number++ {
		if w.hasBegun(r, number) && !r.seen[number-1].passed {
			w.breaks("%s of wave %d of %s is begun before wave %d is passed", t.Slug, t.Wave, r.ID, number)
		}
	}
}

func (w *world) goesBackInTurn(r *run, t *ent.Target) {
	if !r.undoing.holds(t) {
		w.breaks("%s of %s, in wave %d, is taken back with %+v", t.Slug, r.ID, t.Wave, r.undoing)
	}
	for _, o := range r.targets {
		if o.Direction == down && !o.Status.Done() && o.Wave > t.Wave {
			w.breaks("%s of wave %d of %s is taken back before %s of wave %d", t.Slug, t.Wave, r.ID, o.Slug, o.Wave)
		}
	}
}

// turns checks what a rollback is of: where failures have a wave taken back, it
// is the last that was begun. Nobody wanted something else.
func (w *world) turns(u *turning) {
	r := u.run
	r.undoing, r.undoFor = u.undo.asked, u.reason
	if u.reason == "" {
		return
	}
	if !w.spent(r) || r.Wanted != "" {
		w.breaks("%s is turned round for no reason (%s), or was to be %q", r.ID, u.reason, r.Wanted)
	}
	if r.OnError != controlplane.OnErrorRollbackWave {
		return
	}
	for number := len(r.waves); number > 0; number-- {
		if w.hasBegun(r, number) && number != r.undoing.wave {
			w.breaks("wave %d of %s is taken back, and %d was at hand", r.undoing.wave, r.ID, number)
		}
		if number == r.undoing.wave || w.hasBegun(r, number) {
			return
		}
	}
}

// spent reports whether the failures of a rollout use up its budget.
func (w *world) spent(r *run) bool {
	counts, b := w.counts(r), r.Strategy.Budget
	n := counts[controlplane.TargetFailed] - r.Forgiven
	if r.OnError == controlplane.OnErrorContinue || n <= 0 {
		return false
	}
	return b.Failures > 0 && n >= b.Failures || b.Ratio > 0 && float64(n) >= b.Ratio*float64(counts.Sum())
}
