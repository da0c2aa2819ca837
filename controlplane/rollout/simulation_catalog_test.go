package rollout

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/ent"
)

// The catalog's transactions, as store.go, lease.go, report.go and late.go
// write them. A defect's name says what the room would do wrong.

// moveTarget gives a target a status, which must be a legal move.
func (w *world) moveTarget(t *ent.Target, to controlplane.TargetStatus) {
	if t.Status != to && !t.Status.CanBecome(to, controlplane.Direction(t.Direction)) {
		w.breaks("target %s of %s on its way %s goes from %s to %s", t.Slug, t.RolloutID, t.Direction, t.Status, to)
	}
	switch t.Status = to; to {
	case controlplane.TargetNeedsAttention:
		w.excused(t)
	case controlplane.TargetUnknown:
		w.guessed[t.ID] = true
	}
}

func (w *world) moveBatch(b *ent.Batch, to string) {
	if !BatchCanBecome(b.State, to) {
		w.breaks("batch %d goes from %s to %s", b.ID, b.State, to)
	}
	b.State, b.UpdatedAt = to, w.now()
}

// load is loadState.
func (w *world) load(r *run) State {
	s := State{Now: w.now(), Rollout: r.State, OnError: r.OnError, Budget: r.Strategy.Budget, Forgiven: r.Forgiven, Closed: r.ClosedAt != nil, Clusters: maps.Clone(w.courses),
		Concurrency: r.Concurrency, PerCluster: r.PerCluster, PerDatabase: r.PerDatabase, Counts: w.counts(r)}
	for _, o := range w.runs {
		for _, b := range o.batches {
			state := BatchState{ID: b.ID, Number: b.Number, State: b.State, ClusterID: b.ClusterID, DatabaseID: b.DatabaseID, Size: b.Size, Parallelism: b.Parallelism}
			switch {
			case o != r && state.live() && w.broken != "a decision overlooks other rollouts":
				s.Elsewhere = append(s.Elsewhere, state)
			case o == r && b.State != batchDone && b.Direction == direction(r.State):
				s.Batches = append(s.Batches, state)
			}
		}
	}
	for _, t := range r.targets {
		if w.standing(t) {
			s.Standing++
		}
		if t.Status == controlplane.TargetSkipped && w.seatOf(t.TenantID).isGone() {
			s.Gone++
		}
		if t.Status.Done() || t.Direction != direction(r.State) {
			continue
		}
		s.Open++
		if w.seatOf(t.TenantID).State == controlplane.TenantProvisioning {
			s.Making++
		}
		switch {
		case t.BatchID != nil:
		case w.isDue(t, s.Now):
			s.Due++
		case t.NotBefore != nil:
			s.NextDue = sooner(s.NextDue, *t.NotBefore)
		}
	}
	return s
}

func (w *world) counts(r *run) controlplane.Counts {
	c := controlplane.Counts{}
	for _, t := range r.targets {
		c[t.Status]++
	}
	return c
}

func (w *world) isDue(t *ent.Target, now time.Time) bool {
	if w.seatOf(t.TenantID).State == controlplane.TenantProvisioning && w.broken != "a home in the making is worked on" {
		return false
	}
	return t.NotBefore == nil || !t.NotBefore.After(now) || t.NotBefore.After(now.Add(2*maxPause)) && w.broken != "a deferred target waits for a clock that was put back"
}

func (w *world) standing(t *ent.Target) bool {
	return t.Status == controlplane.TargetUnknown || t.Version != t.FromVersion && w.seatOf(t.TenantID).State != controlplane.TenantDeleted &&
		t.Status != controlplane.TargetRolledBack && t.Status != controlplane.TargetCurrent && t.Status != controlplane.TargetSkipped
}

// hand gives batches to workers.
func (w *world) hand(grants []Grant) {
	for _, g := range grants {
		b := w.batches[g.Batch]
		w.enqueue(job{run: w.runOf(b.RolloutID), batch: b, at: w.elapsed})
		if b.State != batchWaiting && b.State != batchQueued && w.broken != "a lost batch is handed out unseen" {
			continue
		}
		w.moveBatch(b, batchQueued)
		b.Parallelism = g.Parallelism
		w.tell("batch %d of %s is handed out for %d at a time", b.ID, b.RolloutID, g.Parallelism)
	}
}

// makeBatches puts what is due into batches.
func (w *world) makeBatches(r *run, now time.Time) {
	var due []waiter
	for _, t := range r.targets {
		if !t.Status.Done() && t.Direction == direction(r.State) && t.BatchID == nil && w.isDue(t, now) {
			due = append(due, waiterOf(t, w.seatOf(t.TenantID).shared))
		}
	}
	for _, plan := range planBatches(due, r.BatchSize) {
		b := &ent.Batch{ID: len(w.batches), RolloutID: r.ID, Number: len(r.batches) + 1, ClusterID: plan.ClusterID, DatabaseID: plan.DatabaseID,
			Direction: direction(r.State), State: batchWaiting, Size: len(plan.Targets), Parallelism: 1}
		w.batches, r.batches = append(w.batches, b), append(r.batches, b)
		for _, id := range plan.Targets {
			w.targets[id].BatchID, w.targets[id].NotBefore = &b.ID, nil
		}
		w.tell("batch %d of %s: %d targets %s on %s %s", b.ID, r.ID, b.Size, b.Direction, b.ClusterID, b.DatabaseID)
	}
}

func (w *world) breached(r *run) bool {
	return w.load(r).breached()
}

// take is takeBatch and takeTargets: nil when there is nothing to take.
func (w *world) take(b *ent.Batch, worker string) *lease {
	r := w.runOf(b.RolloutID)
	if b.State != batchQueued && w.broken != "a batch is taken twice" || b.State == batchDone || b.State == batchWaiting {
		w.enqueue(job{run: r, at: w.elapsed})
		return nil
	}
	over := w.breached(r) && b.Direction == up && w.broken != "a batch is taken after a failure"
	if over || !w.isOpen(b) && w.broken != "a batch is taken on a cluster in trouble" {
		w.moveBatch(b, batchWaiting)
		w.enqueue(job{run: r, at: w.elapsed})
		return nil
	}
	if b.State != batchRunning {
		w.moveBatch(b, batchRunning)
	}
	w.takes(b)
	if w.epoch++; w.broken == "a batch keeps its epoch" {
		w.epoch = 1
	}
	until := w.now().Add(leaseTime)
	b.Epoch, b.Worker, b.LeaseUntil = w.epoch, worker, &until
	row, rollout := *b, *r.Rollout
	l := &lease{batch: &row, rollout: &rollout, targets: w.takeTargets(r, b)}
	w.tell("%s takes batch %d of %s, epoch %d: %d targets %s, %d at a time", worker, b.ID, r.ID, b.Epoch, len(l.targets), b.Direction, b.Parallelism)
	return l
}

// isOpen reports whether a batch that is handed out may be worked on as wide as
// it was.
func (w *world) isOpen(b *ent.Batch) bool {
	allowed, _ := pace(w.courses[b.ClusterID], w.now())
	return w.usedOn(b.ClusterID) <= allowed
}

func (w *world) takeTargets(r *run, b *ent.Batch) (taken []leased) {
	for _, t := range r.targets {
		if t.BatchID == nil || *t.BatchID != b.ID || t.Status.Done() {
			continue
		}
		s, was := w.seatOf(t.TenantID), t.Status
		sure := was == controlplane.TargetPending || was == controlplane.TargetDeferred || w.broken == "an unknown target starts anew"
		if t.Direction == up && t.Version == t.FromVersion && sure {
			t.Version, t.FromVersion = s.Version, s.Version
		}
		if was == controlplane.TargetRunning {
			was = controlplane.TargetUnknown
		}
		w.moveTarget(t, controlplane.TargetRunning)
		row, tenant, at := *t, *s.Tenant, s.placement
		if s.purged {
			at = nil
		}
		taken = append(taken, leased{Target: &row, was: was, tenant: &tenant, placement: at})
	}
	return taken
}

// report stores results as long as the lease holds; stop says that nothing more
// of the batch is to be started.
func (w *world) report(l *lease, results []result, last bool) (stop bool) {
	b := w.batches[l.batch.ID]
	if b.State != batchRunning || b.Epoch != l.batch.Epoch {
		w.tell(toldDropped, b.ID, l.batch.Epoch)
		return true
	}
	stored := w.storeResults(b, results)
	freed := w.closeBatch(b, stored, last)
	stop = w.storeFlow(l, results)
	if freed {
		w.lookAgain()
	}
	return stop
}

func (w *world) storeResults(b *ent.Batch, results []result) (stored int) {
	for _, res := range results {
		t := w.targets[res.ID]
		again := t.Status != controlplane.TargetRunning && w.broken != "a result is stored twice"
		if t.BatchID == nil || *t.BatchID != b.ID || again {
			continue
		}
		stored++
		w.moveTarget(t, res.Status)
		if res.Origin != nil {
			t.FromVersion = *res.Origin
		}
		if t.Version, t.NotBefore = res.Version, nil; res.Pause > 0 {
			then := w.now().Add(res.Pause)
			t.NotBefore = &then
		}
		if res.Tried {
			t.Attempts++
		}
		if !t.Status.Done() {
			t.BatchID = nil
		}
		if res.answered {
			w.seatOf(t.TenantID).Version = t.Version
		}
		w.tell("%s of %s is %s at %q, from %q", t.Slug, t.RolloutID, t.Status, t.Version, t.FromVersion)
	}
	return stored
}

func (w *world) closeBatch(b *ent.Batch, stored int, last bool) (freed bool) {
	b.Finished += stored
	if n := max(1, min(b.Parallelism, b.Size-b.Finished)); n < b.Parallelism {
		b.Parallelism, freed = n, true
	}
	if last {
		w.moveBatch(b, batchDone)
		w.tell("batch %d is done", b.ID)
	}
	return freed || last
}

func (w *world) storeFlow(l *lease, results []result) (over bool) {
	id, saw := l.batch.ClusterID, l.sight(results)
	course, now := w.courses[id], w.now()
	was := course.Flow
	course.Flow = adapt(was, saw, now)
	if wrong := stepWrong(was, saw, course.Flow, now); wrong != "" {
		w.breaks("cluster %s: %s: %+v became %+v after %+v", id, wrong, was, course.Flow, saw)
	}
	if course.Flow != was {
		w.tell("cluster %s: pace %d, %s, alarm %v", id, course.Flow.Pace, course.Flow.Reason, course.Flow.Alarm)
	}
	w.courses[id] = course
	allowed, _ := pace(course, now)
	return w.usedOn(id) > allowed
}

func (w *world) usedOn(clusterID string) (used int) {
	for _, b := range w.batches {
		if b.ClusterID == clusterID && (b.State == batchQueued || b.State == batchRunning) {
			used += b.Parallelism
		}
	}
	return used
}

// renew reports whether a lease is still held.
func (w *world) renew(l *lease) bool {
	b := w.batches[l.batch.ID]
	if b.State != batchRunning || b.Epoch != l.batch.Epoch {
		return false
	}
	until := w.now().Add(leaseTime)
	b.LeaseUntil = &until
	return true
}

// sweep takes back what dead workers held and hands out again what was lost.
// Rollouts that somebody has locked are left to that one.
func (w *world) sweep() {
	now := w.now()
	for _, r := range w.runs {
		if r.State.Resting() || w.locked(r) {
			continue
		}
		var lost []Grant
		for _, b := range r.batches {
			late, never := now.Add(-leaseTime), w.broken == "leases and jobs wait for a clock that was put back"
			switch {
			case b.State == batchRunning && (b.LeaseUntil.Before(now) || b.LeaseUntil.After(now.Add(2*leaseTime)) && !never):
				w.takeBack(r, b)
			case b.State == batchQueued && (b.UpdatedAt.Before(late) || b.UpdatedAt.After(now) && !never):
				lost = append(lost, Grant{b.ID, b.Parallelism})
			}
		}
		if w.broken == "a lost batch is handed out unseen" {
			w.unseen = append(w.unseen, lost...) // between reading and writing, a worker takes it
			continue
		}
		w.hand(lost)
		w.enqueue(job{run: r, at: w.elapsed})
	}
}

func (w *world) takeBack(r *run, b *ent.Batch) {
	w.moveBatch(b, batchDone)
	w.tell(toldTakenBack, b.ID, b.Worker)
	for _, t := range r.targets {
		if t.BatchID == nil || *t.BatchID != b.ID || t.Status != controlplane.TargetRunning {
			continue
		}
		w.moveTarget(t, controlplane.TargetUnknown)
		if w.broken == "what a dead worker had in hand counts as not begun" {
			t.Status = controlplane.TargetPending
		}
		t.BatchID = nil
		if len(b.InHand) == 0 || slices.ContainsFunc(b.InHand, func(h controlplane.InHand) bool { return h.Tenant == t.Slug }) {
			t.Attempts++
		}
	}
}

// welcome lets newcomers join.
func (w *world) welcome(r *run) (joined int) {
	if r.State != controlplane.RolloutRunning || r.ClosedAt != nil {
		return 0
	}
	for _, s := range w.seats {
		if s.CreatedAt.After(r.CreatedAt.Add(-overlap)) && hasHome(s.noun()) && s.group&r.groups != 0 && !w.targeted(s, r) {
			w.enter(r, s)
			joined++
		}
	}
	return joined
}

// giveUp skips the targets whose homes are still being made long after their
// rollout was done with all others.
func (w *world) giveUp(r *run) {
	if r.ClosedAt == nil || w.now().Sub(*r.ClosedAt) < makingAfter {
		return
	}
	for _, t := range r.targets {
		if !t.Status.Done() && w.seatOf(t.TenantID).State == controlplane.TenantProvisioning {
			w.moveTarget(t, controlplane.TargetSkipped)
			w.tell("%s waits for %s no longer", r.ID, t.Slug)
		}
	}
}

// targeted reports whether a tenant is a target of a rollout, or an unfinished one of any.
func (w *world) targeted(s *seat, r *run) bool {
	return slices.ContainsFunc(r.targets, func(t *ent.Target) bool { return t.TenantID == s.ID }) ||
		w.claimed(s, nil) != nil && w.broken != "a newcomer joins two rollouts"
}

// claimed is the unfinished target of a tenant, in another rollout than r.
func (w *world) claimed(s *seat, r *run) *ent.Target {
	for _, t := range w.targets {
		if t.TenantID == s.ID && !t.Status.Done() && (r == nil || t.RolloutID != r.ID) {
			return t
		}
	}
	return nil
}

// enter makes a tenant a target.
func (w *world) enter(r *run, s *seat) {
	f := freeze(s.noun(), r.Version, nil)
	if !controlplane.TargetStatus("").CanBecome(f.status, controlplane.Up) {
		w.breaks("a target begins as %s", f.status)
	}
	t := &ent.Target{ID: len(w.targets), RolloutID: r.ID, TenantID: s.ID, Slug: s.Slug, ClusterID: s.placement.ClusterID, DatabaseID: s.placement.DatabaseID,
		Direction: up, Status: f.status, FromVersion: s.Version, Version: s.Version}
	w.targets, r.targets = append(w.targets, t), append(r.targets, t)
	slices.SortFunc(r.targets, func(a, b *ent.Target) int { return cmp.Compare(a.Slug, b.Slug) })
	r.selected++
	w.tell(toldEntered, s.Slug, r.ID, t.Status, t.Version)
}

// isGone reports whether a rollout wants nothing of a tenant any more.
func (s *seat) isGone() bool {
	return s.State == controlplane.TenantDeleting || s.State == controlplane.TenantDeleted || s.State == controlplane.TenantFailed
}

// noun is a tenant as rollouts select it.
func (s *seat) noun() *controlplane.Tenant {
	return &controlplane.Tenant{ID: s.ID, Slug: s.Slug, State: s.State, Version: s.Version,
		Placement: controlplane.Placement{ClusterID: s.placement.ClusterID, DatabaseID: s.placement.DatabaseID}}
}

// become moves a rollout to a state.
func (w *world) become(r *run, to controlplane.RolloutState, reason string) {
	if !r.State.CanBecome(to) {
		w.breaks("%s goes from %s to %s", r.ID, r.State, to)
	}
	r.State, r.Reason = to, reason
	w.tell("%s is %s (%s), %s", r.ID, to, reason, fmt.Sprint(w.counts(r)))
}
