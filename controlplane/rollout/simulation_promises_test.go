package rollout

import (
	"fmt"
	"slices"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/ent"
)

// The promises of design, section 2, as far as a rollout keeps them.

// begins checks a target that a worker begins: nothing is begun after a breach,
// nor for a rollout that rests, nor on a lease that may be somebody else's.
func (w *world) begins(a *attempt) {
	h, r := a.hold, w.runOf(a.hold.batch.RolloutID)
	b := w.batches[h.batch.ID]
	held := b.State == batchRunning && b.Epoch == h.batch.Epoch
	at := map[string]controlplane.RolloutState{up: controlplane.RolloutRunning, down: controlplane.RolloutRollingBack}[b.Direction]
	w.tell("%s begins %s of %s, %s at a time", h.process.name, a.t.Slug, r.ID, fmt.Sprint(len(h.lanes)))
	switch {
	case b.Direction == up && w.spent(r):
		w.breaks("%s of %s is begun although its budget is breached", a.t.Slug, r.ID)
	case held && r.State != at:
		w.breaks("%s is begun %s although %s is %s", a.t.Slug, b.Direction, r.ID, r.State)
	case w.age(h) > leaseTime-heartbeat:
		w.breaks("%s is begun on a lease that has run out", a.t.Slug)
	case held && len(h.lanes) > b.Parallelism:
		w.breaks("%d tenants of batch %d are worked on at a time, not %d", len(h.lanes), b.ID, b.Parallelism)
	}
	w.beginsInTurn(r, w.targets[a.t.ID])
}

// takes checks a batch that a worker takes: not of a rollout that rests, and
// nothing is begun on a cluster that does.
func (w *world) takes(b *ent.Batch) {
	if r := w.runOf(b.RolloutID); r.State.Resting() || b.Direction != direction(r.State) {
		w.breaks("batch %d %s is taken although %s is %s", b.ID, b.Direction, r.ID, r.State)
	}
	if b.Direction == up && w.spent(w.runOf(b.RolloutID)) {
		w.breaks("batch %d is taken although the budget of %s is breached", b.ID, b.RolloutID)
	}
	if n, _ := pace(w.courses[b.ClusterID], w.now()); n < 1 {
		w.breaks("batch %d is taken on cluster %s, which rests", b.ID, b.ClusterID)
	}
}

// checkHandOut checks what is about to be handed out against every limit, with
// all that workers hold.
func (w *world) checkHandOut(d *decision) {
	if len(d.Start) == 0 {
		return
	}
	r, used := d.run, w.used()
	if d.state.Rollout == controlplane.RolloutRunning && (w.spent(r) || r.Wanted != "") {
		w.breaks("%s hands out %v although its budget is breached, or it is to be %q", r.ID, d.Start, r.Wanted)
	}
	for _, g := range d.Start {
		b := w.batches[g.Batch]
		used.add(b.ClusterID, b.DatabaseID, g.Parallelism)
		n, _ := pace(d.state.Clusters[b.ClusterID], d.state.Now)
		if r.PerCluster > 0 {
			n = min(n, r.PerCluster)
		}
		if used.total > r.Concurrency || used.clusters[b.ClusterID] > n || b.DatabaseID != "" && used.databases[b.DatabaseID] > r.PerDatabase {
			w.breaks("%s hands out batch %d: %+v is more than %d, %d on cluster %s, %d in a database", r.ID, b.ID, used, r.Concurrency, n, b.ClusterID, r.PerDatabase)
		}
	}
}

// used is what workers hold, as wide as they may work on it.
func (w *world) used() usage {
	used := usage{clusters: map[string]int{}, databases: map[string]int{}}
	for _, b := range w.batches {
		if b.State == batchQueued || b.State == batchRunning {
			used.add(b.ClusterID, b.DatabaseID, b.Parallelism)
		}
	}
	return used
}

// check checks what must be true after every step.
func (w *world) check() {
	for _, r := range w.runs {
		w.checkRun(r)
	}
	for _, s := range w.seats {
		w.checkSeat(s)
	}
	for _, p := range w.processes {
		for _, h := range p.holds {
			if b := w.batches[h.batch.ID]; b.State == batchRunning && b.Epoch == h.batch.Epoch && len(h.lanes) > b.Parallelism {
				w.breaks("%d tenants of batch %d are in hand, and %d count", len(h.lanes), b.ID, b.Parallelism)
			}
		}
	}
	w.checkLimits()
}

// checkRun checks the accounting of a rollout, and that one at rest rests.
func (w *world) checkRun(r *run) {
	if n := w.counts(r).Sum(); n != r.selected {
		w.breaks("%s has %d targets of %d tenants", r.ID, n, r.selected)
	}
	for _, b := range r.batches {
		if r.State.Resting() && (b.State == batchQueued || b.State == batchRunning) {
			w.breaks("%s is %s, and its batch %d is %s", r.ID, r.State, b.ID, b.State)
		}
		if n := r.inBatch(b); b.State == batchWaiting && n != b.Size {
			w.breaks("batch %d of %s waits with %d targets, and says %d", b.ID, r.ID, n, b.Size)
		}
	}
	w.witness(r)
	for _, t := range r.targets {
		w.checkTarget(r, t)
	}
}

// checkTarget checks that a target says exactly what its rollout did to the
// tenant, that one at work is in a batch at work, and that nothing is left open.
func (w *world) checkTarget(r *run, t *ent.Target) {
	s := w.seatOf(t.TenantID)
	did := s.home.did[r.ID]
	switch {
	case !t.Status.Done():
		ended := r.State.Resting() && r.State != controlplane.RolloutPaused
		state := batchWaiting
		if t.BatchID != nil {
			state = w.batches[*t.BatchID].State
		}
		if ended || (t.Status == controlplane.TargetRunning) != (state == batchRunning) || state == batchDone {
			w.breaks("%s is %s in %s, which is %s; its batch is %s", t.Slug, t.Status, r.ID, r.State, state)
		}
	case t.Status == controlplane.TargetNeedsAttention, s.purged, s.left: // it says itself that it may be anything
	case s.meddled && (w.guessed[t.ID] || t.Status != controlplane.TargetRolledBack): // not all of it is Manor's doing
	case t.Status == controlplane.TargetSucceeded && t.Version != r.Version:
		w.breaks("%s succeeded at %s", t.Slug, t.Version)
	case t.Status == controlplane.TargetSucceeded, t.Status == controlplane.TargetFailed:
		if len(did) != number(t.Version)-number(t.FromVersion) || len(did) > 0 && did[len(did)-1] != t.Version {
			w.breaks("%s is %s in %s, from %q to %q, which did %v", t.Slug, t.Status, r.ID, t.FromVersion, t.Version, did)
		}
	case len(did) > 0:
		w.breaks("%s is %s in %s, which did %v", t.Slug, t.Status, r.ID, did)
	}
}

// excused checks that a target is given up only where there is a reason why
// Manor cannot take it back, or know what was done to it.
func (w *world) excused(t *ent.Target) {
	s, r := w.seatOf(t.TenantID), w.runOf(t.RolloutID)
	shared := slices.ContainsFunc(w.targets, func(o *ent.Target) bool { return o.TenantID == t.TenantID && o.RolloutID != t.RolloutID })
	if !shared && !r.aborting && !s.wasClosed && !s.meddled && !s.left && t.Attempts+1 < maxAttempts && w.irreversible(t.FromVersion, r.Version) == "" {
		w.breaks("%s is given up by %s for no reason, at %q from %q; it did %v", t.Slug, r.ID, t.Version, t.FromVersion, s.home.did[r.ID])
	}
}

// checkSeat checks that the catalog is not ahead of a tenant, that it is level
// with one that nobody works on, and that one rollout at most does.
func (w *world) checkSeat(s *seat) {
	open, unsure := 0, s.State == controlplane.TenantProvisioning || s.purged || s.meddled || s.left
	for _, t := range w.targets {
		if t.TenantID != s.ID {
			continue
		}
		if unsure = unsure || t.Status == controlplane.TargetNeedsAttention; !t.Status.Done() {
			open++
		}
	}
	switch {
	case open > 1:
		w.breaks("%s is an unfinished target of %d rollouts", s.Slug, open)
	case !slices.Contains(s.home.past, s.Version):
		w.breaks("the catalog has %s at %q, where it has never been: %v", s.Slug, s.Version, s.home.past)
	case open == 0 && !unsure && s.Version != s.home.version:
		w.breaks("nobody works on %s; the catalog has it at %q, and it is at %q", s.Slug, s.Version, s.home.version)
	}
}

// checkLimits checks that no more is with workers than the widest of the
// rollouts that have something there allows.
func (w *world) checkLimits() {
	used := w.used()
	total, databases := 0, map[string]int{}
	for _, b := range w.batches {
		if b.State == batchQueued || b.State == batchRunning {
			r := w.runOf(b.RolloutID)
			total, databases[b.DatabaseID] = max(total, r.Concurrency), max(databases[b.DatabaseID], r.PerDatabase)
		}
	}
	for _, at := range w.sites {
		if n := used.clusters[at.id]; n > w.courses[at.id].Flow.Ceiling {
			w.breaks("%d tenants of cluster %s are worked on at a time", n, at.id)
		}
	}
	for database, n := range used.databases {
		if n > databases[database] {
			w.breaks("%d tenants of database %s are worked on at a time, not %d", n, database, databases[database])
		}
	}
	if used.total > total {
		w.breaks("%d tenants are worked on at a time, not %d", used.total, total)
	}
}

// ends checks the word that a rollout leaves.
func (w *world) ends(r *run) {
	if r.State == controlplane.RolloutSucceeded && r.undoFor != "" {
		w.breaks("%s succeeded although %s", r.ID, r.undoFor)
	}
	for _, t := range r.targets {
		did := w.seatOf(t.TenantID).home.did[r.ID]
		switch {
		case r.State == controlplane.RolloutRolledBack && len(did) > 0 && !w.seatOf(t.TenantID).purged && !w.seatOf(t.TenantID).meddled:
			w.breaks("%s is rolled back, but %s of %s stands", r.ID, did, t.Slug)
		case r.State != controlplane.RolloutAborted && r.undoing == (scope{}) && len(did) > 0 && t.Failure != nil && t.Failure.Message == aborted && !w.seatOf(t.TenantID).purged && !w.seatOf(t.TenantID).meddled:
			w.breaks("%s was rolled back, and nobody looked at %s, of which nobody knew that it did %v", r.ID, t.Slug, did)
		case t.Status == controlplane.TargetSkipped && w.seatOf(t.TenantID).wasClosed: // it was when that was decided
		case r.State == controlplane.RolloutSucceeded && !slices.Contains(wanted, t.Status):
			w.breaks("%s succeeded, but %s is %s", r.ID, t.Slug, t.Status)
		}
	}
}

// aborted is why a target needs attention that a rollback is to look at.
const aborted = "the rollout was aborted"

// wanted are the statuses of a target in a rollout that succeeded; of one that
// was taken back an operator wanted that.
var wanted = []controlplane.TargetStatus{controlplane.TargetSucceeded, controlplane.TargetCurrent, controlplane.TargetRolledBack}
