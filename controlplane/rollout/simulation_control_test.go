package rollout

import (
	"slices"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/ent"
)

// What operators do to a rollout that is at work or paused, as control.go does it.

// steer pauses or aborts a rollout, or skips some of its tenants.
func (w *world) steer(r *run) {
	switch n := w.rng.IntN(50); {
	case n < 12:
		w.skipSome(r)
	case n < 20 && r.State == controlplane.RolloutRunning:
		w.want(r, controlplane.RolloutPaused)
	case n == 20 && r.State == controlplane.RolloutRunning:
		w.want(r, controlplane.RolloutAborted)
	case n == 20 && r.State == controlplane.RolloutPaused: // nothing is in hand
		w.leaveOpen(r)
		w.become(r, controlplane.RolloutAborted, "aborted by ada")
	}
}

func (w *world) want(r *run, state controlplane.RolloutState) {
	r.Wanted, r.WantedBy = state, "ada"
	w.tell(toldWanted, r.ID, state)
	w.enqueue(job{run: r, at: w.elapsed})
}

// approve passes the approval that a rollout waits for. It reports whether there
// was one.
func (w *world) approve(r *run) bool {
	s := w.load(r)
	at := s.awaited()
	if at.Wave == 0 || !s.Gates[at.Gate].Approval {
		return false
	}
	number, i := at.Wave, at.Gate
	row := r.waves[number-1]
	r.seen[number-1].passes(i)
	w.noteGate(r, row, i, controlplane.GateResult{Gate: r.Strategy.Gates[i].String(), AskedAt: &s.Now, PassedAt: &s.Now, By: "ada"})
	w.tell(toldApproved, number, r.ID)
	return true
}

// skipSome skips a tenant or two, unless a rollout has begun with them.
func (w *world) skipSome(r *run) {
	if r.State != controlplane.RolloutRunning && r.State != controlplane.RolloutPaused {
		return
	}
	for range 1 + w.rng.IntN(2) {
		t := r.targets[w.rng.IntN(len(r.targets))]
		if t.Version == t.FromVersion && (t.Status == controlplane.TargetPending || t.Status == controlplane.TargetDeferred) {
			w.skip(t)
		}
	}
	w.recount(r)
	w.enqueue(job{run: r, at: w.elapsed})
}

func (w *world) skip(t *ent.Target) {
	w.moveTarget(t, controlplane.TargetSkipped)
	t.BatchID, t.NotBefore = nil, nil
	w.tell(toldSkipped, t.Slug, t.RolloutID)
}

// recount notes how many targets the batches that wait still have.
func (w *world) recount(r *run) {
	for _, b := range r.batches {
		if b.State != batchWaiting || w.broken == "a batch counts those who were taken out of it" {
			continue
		}
		if b.Size = r.inBatch(b); b.Size == 0 {
			w.moveBatch(b, batchDone)
		}
	}
}

// inBatch counts the targets of a batch.
func (r *run) inBatch(b *ent.Batch) (n int) {
	for _, t := range r.targets {
		if t.BatchID != nil && *t.BatchID == b.ID {
			n++
		}
	}
	return n
}

// leaveOpen skips what an aborted rollout did not start.
func (w *world) leaveOpen(r *run) {
	for _, b := range r.batches {
		if b.State == batchWaiting {
			w.moveBatch(b, batchDone)
		}
	}
	r.aborting = true
	for _, t := range r.targets {
		switch {
		case t.Status.Done(), t.Status == controlplane.TargetUnknown && w.broken == "an abort leaves open what is unknown":
		case t.Status == controlplane.TargetUnknown, t.Version != t.FromVersion:
			s := w.seatOf(t.TenantID)
			s.left = s.left || t.Status == controlplane.TargetUnknown
			t.Failure = &controlplane.Failure{Message: aborted, Unknown: t.Status == controlplane.TargetUnknown && w.broken != "a rollback forgets what an abort left unknown"}
			w.moveTarget(t, controlplane.TargetNeedsAttention)
			t.BatchID, t.NotBefore = nil, nil
		case slices.Contains([]controlplane.TargetStatus{controlplane.TargetPending, controlplane.TargetDeferred}, t.Status):
			w.skip(t)
		}
	}
	r.aborting = false
}

// somePart is one tenant of a rollout, or one wave.
func (w *world) somePart(r *run) scope {
	if w.flip() {
		return scope{wave: 1 + w.rng.IntN(len(r.waves))}
	}
	return scope{tenant: r.targets[w.rng.IntN(len(r.targets))].Slug}
}
