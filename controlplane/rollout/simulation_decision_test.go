package rollout

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/ent"
)

// decision is the open transaction of an Advance: what was read, and what is to
// be done about it.
type decision struct {
	run     *run
	process *process
	state   State
	Decision
}

// turning is a rollback that is planned, and not begun yet.
type turning struct {
	run    *run
	undo   *undo
	reason string // why it was turned round; "": an operator asked for it
}

// locked reports whether somebody decides about a rollout.
func (w *world) locked(r *run) bool {
	return slices.ContainsFunc(w.deciding, func(d *decision) bool { return d.run == r })
}

// decide is the first half of an Advance. One rollout is decided about at a
// time: it reports whether it was this one's turn.
func (w *world) decide(p *process, r *run) bool {
	if w.locked(r) || len(w.deciding) > 0 && w.broken != "two decide at a time" {
		return false
	}
	if r.State.Resting() {
		return true
	}
	if d := w.next(r); d.Undo { // nobody joins, since the transaction is rolled back
		w.turning = append(w.turning, &turning{r, w.planUndo(r, scope{wave: d.UndoWave}), d.Reason})
		w.tell("%s is to turn round: %s", r.ID, d.Reason)
		return true
	}
	w.welcome(r)
	w.giveUp(r)
	d := &decision{r, p, w.load(r), w.next(r)}
	w.endsInTurn(d)
	w.deciding = append(w.deciding, d)
	return true
}

// obey is the second half.
func (w *world) obey(d *decision) {
	w.deciding = slices.DeleteFunc(w.deciding, func(o *decision) bool { return o == d })
	w.checkHandOut(d)
	w.hand(d.Start)
	switch {
	case d.Batch:
		w.makeBatches(d.run, d.state.present(), d.state.Now)
		w.enqueue(job{run: d.run, at: w.elapsed})
	case d.Close:
		w.shut(d.run, d.state.Now)
		w.enqueue(job{run: d.run, at: w.elapsed})
	case d.End > 0 || d.Pass > 0:
		w.mark(d)
		w.enqueue(job{run: d.run, at: w.elapsed})
	case d.Ask.Wave > 0:
		w.toAsk(d)
	case d.Become != "":
		w.finish(d.run, d.Decision)
	case !d.WakeAt.IsZero():
		w.enqueue(job{run: d.run, at: w.elapsed + d.WakeAt.Sub(w.now())})
	}
}

// shut closes a rollout to newcomers, unless some come at the last moment who
// are to be migrated first.
func (w *world) shut(r *run, now time.Time) {
	w.welcome(r)
	if w.next(r).Close {
		r.ClosedAt = &now
		w.tell("%s is closed to newcomers", r.ID)
		w.promote(r)
	}
}

// promote makes a rollout's version that of new tenants, if it has taken every
// tenant there.
func (w *world) promote(r *run) {
	if !slices.ContainsFunc(w.seats, func(s *seat) bool { return s.State.Migratable() && s.Version != r.Version }) {
		w.standard = r.Version
		w.tell("new tenants get %s", r.Version)
	}
}

// finish ends a rollout's run.
func (w *world) finish(r *run, d Decision) {
	forwards := r.State == controlplane.RolloutRunning
	if d.Become == controlplane.RolloutAborted {
		w.leaveOpen(r)
	}
	w.become(r, d.Become, d.Reason)
	w.ends(r)
	if d.Become == controlplane.RolloutSucceeded && forwards {
		w.promote(r)
	}
}

// start freezes a selection, unless another rollout works on some of it.
func (w *world) start(groups int) {
	r := &run{groups: groups, Rollout: &ent.Rollout{ID: fmt.Sprintf("r%d", len(w.runs)), State: controlplane.RolloutPlanned, CreatedAt: w.now(),
		Version: fmt.Sprint(2 + w.rng.IntN(w.latest-1)), OnError: controlplane.OnErrors[w.rng.IntN(4)], BatchSize: 1 + w.rng.IntN(8),
		Concurrency: 1 + w.rng.IntN(12), PerCluster: max(0, w.rng.IntN(8)-3), PerDatabase: 1 + w.rng.IntN(4)}}
	selected := slices.DeleteFunc(slices.Clone(w.seats), func(s *seat) bool { return s.group&groups == 0 || !hasHome(s.noun()) })
	if len(selected) == 0 || slices.ContainsFunc(selected, func(s *seat) bool { return w.claimed(s, nil) != nil }) {
		return
	}
	w.runs = append(w.runs, r)
	w.drawStrategy(r)
	w.tell("%s to %s over groups %d: on-error %s, batches of %d, %d at a time, %d per cluster, %d per database",
		r.ID, r.Version, groups, r.OnError, r.BatchSize, r.Concurrency, r.PerCluster, r.PerDatabase)
	for _, s := range selected {
		w.enter(r, s)
	}
	w.become(r, controlplane.RolloutRunning, "")
	w.enqueue(job{run: r, at: w.elapsed})
}

// resume forgives the failures so far.
func (w *world) resume(r *run) {
	if r.State == controlplane.RolloutPaused {
		r.Forgiven = w.counts(r)[controlplane.TargetFailed]
		w.restart(r)
	}
}

// retry puts failed and skipped targets back, unless another rollout has some
// of them, or the rollback of the rollout is not complete.
func (w *world) retry(r *run) {
	if r.State != controlplane.RolloutFailed && r.State != controlplane.RolloutPaused {
		return
	}
	var again []*ent.Target
	for _, t := range r.targets {
		s := w.seatOf(t.TenantID)
		switch {
		case t.Direction == down && t.Status != controlplane.TargetRolledBack:
			return
		case t.Direction == down || t.Status != controlplane.TargetFailed && t.Status != controlplane.TargetSkipped:
		case t.Version != t.FromVersion && t.Version != s.Version && w.broken != "a retry takes what another rollout moved on":
		case w.claimed(s, r) != nil:
			return
		default:
			again = append(again, t)
		}
	}
	if len(again) == 0 {
		return
	}
	for _, t := range again {
		w.reopen(r, t.Wave)
		w.moveTarget(t, controlplane.TargetPending)
		t.Attempts, t.BatchID, t.NotBefore = 0, nil, nil
	}
	r.Forgiven = 0
	w.restart(r)
}

func (w *world) restart(r *run) {
	r.ClosedAt, r.undoFor = nil, ""
	w.become(r, controlplane.RolloutRunning, "")
	w.forgetAnswers(r)
	w.enqueue(job{run: r, at: w.elapsed})
}

// rollback plans what an operator asks for: one tenant, one wave, or all.
func (w *world) rollback(r *run, of scope) {
	if u := w.planUndo(r, of); len(u.back) > 0 || u.open > 0 {
		w.turning = append(w.turning, &turning{run: r, undo: u})
	}
}

// holds reports whether a target is one of those.
func (s scope) holds(t *ent.Target) bool {
	return (s.tenant == "" || s.tenant == t.Slug) && (s.wave == 0 || s.wave == t.Wave)
}

// planUndo finds what a rollout has changed, and what of it cannot be undone.
func (w *world) planUndo(r *run, of scope) *undo {
	u := &undo{asked: of, stuck: map[int]string{}, half: map[int]string{}, whole: of == scope{}}
	for _, t := range r.targets {
		if u.whole && !t.Status.Done() {
			u.open++
		}
		if !w.standing(t) || !of.holds(t) && w.broken != "a rollback of a wave takes back what others did" {
			continue
		}
		if reason := w.stuck(r, t); reason != "" {
			u.stuck[t.ID] = reason
			continue
		}
		u.back = append(u.back, t.ID)
	}
	return u
}

// stuck says why a change cannot be undone.
func (w *world) stuck(r *run, t *ent.Target) string {
	s := w.seatOf(t.TenantID)
	other := w.claimed(s, r)
	switch {
	case t.Status == controlplane.TargetUnknown && w.broken != "a rollback leaves alone what is unknown": // it is read first
		return ""
	case t.Status == controlplane.TargetUnknown:
		return "nobody knows where the tenant is"
	case unsure(t) && w.changedSince(s, t) && w.broken != "a rollback after an abort takes back what a later rollout did":
		return "another rollout has changed the tenant since"
	case other != nil && w.broken != "a rollback waits for another rollout":
		return "rollout " + other.RolloutID + " is working on the tenant"
	case !s.State.Migratable():
		return "the tenant is " + string(s.State)
	case s.Version > r.Version || s.Version != t.Version && !unsure(t):
		return "the tenant has moved on to " + s.Version
	}
	return w.irreversible(t.FromVersion, reached(r.Rollout, t))
}

// changedSince reports whether another rollout has taken a tenant above where a
// target began, and not back.
func (w *world) changedSince(s *seat, t *ent.Target) bool {
	return slices.ContainsFunc(w.targets, func(o *ent.Target) bool {
		return o.TenantID == s.ID && o.RolloutID != t.RolloutID && o.Version != o.FromVersion && o.Version > t.FromVersion &&
			!slices.Contains([]controlplane.TargetStatus{controlplane.TargetRolledBack, controlplane.TargetCurrent, controlplane.TargetSkipped}, o.Status)
	})
}

// irreversible names a version above one that cannot be undone.
func (w *world) irreversible(above, highest string) string {
	for v := number(above) + 1; v <= number(highest); v++ {
		if w.oneWay[fmt.Sprint(v)] {
			return fmt.Sprintf("%d cannot be undone", v)
		}
	}
	return ""
}

// begin turns a rollout round, if it is still as it was when that was planned.
func (w *world) begin(u *turning) {
	r, asked := u.run, u.reason == ""
	if w.locked(r) {
		return
	}
	w.turning = slices.DeleteFunc(w.turning, func(o *turning) bool { return o == u })
	late := !asked && !w.next(r).undoes(u.undo.asked) && w.broken != "a rollback begins that was planned long ago"
	if asked && !r.State.Resting() || !asked && r.State != controlplane.RolloutRunning || late || !w.holds(r, u.undo) {
		return
	}
	w.turns(u)
	if !w.turn(r, u.undo) {
		return
	}
	w.become(r, controlplane.RolloutRollingBack, u.reason)
	w.enqueue(job{run: r, at: w.elapsed})
}

// holds reports whether a plan is of what stands now, and of where the tenants are.
func (w *world) holds(r *run, u *undo) bool {
	moved := func(id int) bool { return w.stuck(r, w.targets[id]) != "" }
	if slices.ContainsFunc(u.back, moved) {
		return false
	}
	planned, now := slices.Concat(u.back, slices.Sorted(maps.Keys(u.stuck))), 0
	for _, t := range r.targets {
		if w.standing(t) {
			now++
		}
	}
	gone := func(id int) bool { return !w.standing(w.targets[id]) }
	return !slices.ContainsFunc(planned, gone) && (!u.whole || now == len(planned))
}

// turn gives the targets their new direction, unless another rollout has some of them.
func (w *world) turn(r *run, u *undo) bool {
	if slices.ContainsFunc(u.back, func(id int) bool { return w.claimed(w.seatOf(w.targets[id].TenantID), r) != nil }) {
		return false
	}
	for _, id := range u.back {
		w.turnTarget(w.targets[id])
	}
	for id := range u.alone() {
		w.targets[id].Failure = &controlplane.Failure{Message: "not rolled back", Unknown: unsure(w.targets[id])}
		w.moveTarget(w.targets[id], controlplane.TargetNeedsAttention)
	}
	if !u.whole {
		w.recount(r)
		return true
	}
	for _, b := range r.batches {
		if b.Direction == up && b.State != batchDone {
			w.moveBatch(b, batchDone)
		}
	}
	for _, t := range r.targets {
		if t.Direction == up && !t.Status.Done() {
			w.moveTarget(t, controlplane.TargetSkipped)
			t.BatchID = nil
		}
	}
	return true
}

func (w *world) turnTarget(t *ent.Target) {
	to := controlplane.TargetPending
	if unsure(t) && w.broken != "a rollback forgets what is unknown" {
		to = controlplane.TargetUnknown
	}
	legal := t.Direction == up && t.Status.CanTurn(to) || t.Direction == down && t.Status.CanBecome(to, controlplane.Down)
	if !legal && w.broken == "" {
		w.breaks("target %s of %s goes from %s to %s as it turns round", t.Slug, t.RolloutID, t.Status, to)
	}
	t.Status, t.Direction, t.Attempts, t.BatchID, t.NotBefore, t.Failure = to, down, 0, nil, nil, nil
	w.tell(toldTurned, t.Slug, t.RolloutID, t.Version, t.FromVersion, t.Status)
}
