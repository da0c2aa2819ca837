package rollout

import (
	"slices"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/ent"
)

// Leases, as lease.go and report.go write them.

// breached and barred are isOver: failures have used up the budget of a batch's
// rollout, or somebody wants it to stop, or the window is shut.
func (w *world) breached(b *ent.Batch) bool {
	r := w.runOf(b.RolloutID)
	return b.Direction == up && w.flawed(State{OnError: r.OnError, Budget: r.Strategy.Budget, Forgiven: r.Forgiven, Counts: w.counts(r)}).breached()
}

func (w *world) barred(b *ent.Batch) bool {
	r := w.runOf(b.RolloutID)
	shut := slices.Contains(shutAt(r.Strategy.Windows, w.now()), b.Window) && w.broken != "a window is looked at only when batches are made"
	if shut {
		w.tell(toldBarred, r.ID)
	}
	return b.Direction == up && (shut || r.Wanted != "" && w.broken != "a worker does not ask whether a pause is wanted")
}

// take is takeBatch and takeTargets: nil when there is nothing to take.
func (w *world) take(b *ent.Batch, worker string) *lease {
	r := w.runOf(b.RolloutID)
	if b.State != batchQueued && w.broken != "a batch is taken twice" || b.State == batchDone || b.State == batchWaiting {
		w.enqueue(job{run: r, at: w.elapsed})
		return nil
	}
	over := w.breached(b) && w.broken != "a batch is taken after a failure"
	if over || w.barred(b) || !w.isOpen(b) && w.broken != "a batch is taken on a cluster in trouble" {
		w.moveBatch(b, batchWaiting)
		w.recount(r)
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
