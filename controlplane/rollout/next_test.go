package rollout

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/manorhq/manor/controlplane"
)

func TestNext(t *testing.T) {
	soon := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	waiting := func(id, p int) BatchState { return BatchState{ID: id, Number: id, State: batchWaiting, Parallelism: p} }
	running := func(id, p int) BatchState { return BatchState{ID: id, Number: id, State: batchRunning, Parallelism: p} }
	counts := func(pending, succeeded, failed int) controlplane.Counts {
		return controlplane.Counts{controlplane.TargetPending: pending, controlplane.TargetSucceeded: succeeded, controlplane.TargetFailed: failed}
	}
	for name, c := range map[string]struct {
		state State
		want  Decision
	}{
		"what is due gets batches": {
			State{Rollout: controlplane.RolloutRunning, Concurrency: 8, Counts: counts(3, 0, 0), Due: 3}, Decision{Batch: true}},
		"batches start in order, as many as the concurrency allows": {
			State{Rollout: controlplane.RolloutRunning, Concurrency: 8, Counts: counts(9, 0, 0), Batches: []BatchState{waiting(3, 4), waiting(1, 4), waiting(2, 4)}},
			Decision{Start: []int{1, 2}}},
		"a batch wider than the concurrency starts alone": {
			State{Rollout: controlplane.RolloutRunning, Concurrency: 1, Counts: counts(9, 0, 0), Batches: []BatchState{waiting(1, 4), waiting(2, 4)}},
			Decision{Start: []int{1}}},
		"nothing starts while the concurrency is used up": {
			State{Rollout: controlplane.RolloutRunning, Concurrency: 4, Counts: counts(9, 0, 0), Batches: []BatchState{running(1, 4), waiting(2, 4)}},
			Decision{}},
		"a deferred target is waited for": {
			State{Rollout: controlplane.RolloutRunning, Concurrency: 4, Counts: controlplane.Counts{controlplane.TargetDeferred: 1}, NextDue: soon},
			Decision{WakeAt: soon}},
		"all succeeded": {
			State{Rollout: controlplane.RolloutRunning, Concurrency: 4, Counts: counts(0, 5, 0), Standing: 5},
			Decision{Become: controlplane.RolloutSucceeded}},
		"a failure among them": {
			State{Rollout: controlplane.RolloutRunning, OnError: controlplane.OnErrorContinue, Concurrency: 4, Counts: counts(0, 5, 1)},
			Decision{Become: controlplane.RolloutFailed, Reason: "1 failed"}},
		"pause waits for what runs": {
			State{Rollout: controlplane.RolloutRunning, OnError: controlplane.OnErrorPause, Concurrency: 8, Counts: counts(5, 0, 1), Batches: []BatchState{running(1, 4), waiting(2, 4)}},
			Decision{}},
		"pause": {
			State{Rollout: controlplane.RolloutRunning, OnError: controlplane.OnErrorPause, Concurrency: 8, Counts: counts(5, 0, 1), Batches: []BatchState{waiting(2, 4)}},
			Decision{Become: controlplane.RolloutPaused, Reason: "1 failed, and on-error is pause"}},
		"a forgiven failure does not pause again": {
			State{Rollout: controlplane.RolloutRunning, OnError: controlplane.OnErrorPause, Forgiven: 1, Concurrency: 8, Counts: counts(5, 0, 1), Batches: []BatchState{waiting(2, 4)}},
			Decision{Start: []int{2}}},
		"rollback turns round": {
			State{Rollout: controlplane.RolloutRunning, OnError: controlplane.OnErrorRollback, Concurrency: 8, Counts: counts(5, 3, 1), Standing: 3},
			Decision{Undo: true, Reason: "1 failed, and on-error is rollback"}},
		"rolled back": {
			State{Rollout: controlplane.RolloutRollingBack, Concurrency: 8, Counts: controlplane.Counts{controlplane.TargetRolledBack: 3, controlplane.TargetFailed: 1}},
			Decision{Become: controlplane.RolloutRolledBack}},
		"rolled back but for one": {
			State{Rollout: controlplane.RolloutRollingBack, Concurrency: 8, Standing: 1, Counts: controlplane.Counts{controlplane.TargetRolledBack: 3, controlplane.TargetNeedsAttention: 1}},
			Decision{Become: controlplane.RolloutFailed, Reason: "1 needs attention"}},
		"one tenant was taken back": {
			State{Rollout: controlplane.RolloutRollingBack, Concurrency: 8, Standing: 4, Counts: controlplane.Counts{controlplane.TargetRolledBack: 1, controlplane.TargetSucceeded: 4}},
			Decision{Become: controlplane.RolloutSucceeded}},
		"one tenant of a paused rollout was taken back": {
			State{Rollout: controlplane.RolloutRollingBack, Concurrency: 8, Counts: controlplane.Counts{controlplane.TargetRolledBack: 1, controlplane.TargetPending: 4}},
			Decision{Become: controlplane.RolloutPaused, Reason: "paused before the rollback"}},
		"what comes back later is waited for on the way back, too": {
			State{Rollout: controlplane.RolloutRollingBack, Concurrency: 8, Open: 1, Standing: 4, Counts: controlplane.Counts{controlplane.TargetDeferred: 1, controlplane.TargetRolledBack: 4}},
			Decision{}},
		"paused": {State{Rollout: controlplane.RolloutPaused, Concurrency: 8, Counts: counts(5, 0, 0), Due: 5}, Decision{}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, Next(c.state)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestNextKeepsItsLimits plays random histories of a rollout against Next and
// checks, at every step, that the concurrency holds, that a breached error
// budget starts nothing, that targets are neither lost nor made, and that the
// rollout comes to rest.
func TestNextKeepsItsLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for step := 0; !w.state.Rollout.Resting(); step++ {
			if step > 50*w.targets {
				t.Fatalf("the rollout does not come to rest: %+v", w.state)
			}
			w.state.Open = w.state.Counts[controlplane.TargetPending]
			w.obey(t, Next(w.state))
			w.finishOne(t)
		}
		if w.state.Rollout == controlplane.RolloutSucceeded && w.state.Counts[controlplane.TargetSucceeded] != w.targets {
			t.Fatalf("succeeded with %s", w.state.Counts)
		}
	})
}

// world is the rest of a rollout's surroundings, simulated.
type world struct {
	state   State
	targets int
	sizes   map[int]int // targets of a batch
	nextID  int
	size    int
}

func newWorld(t *rapid.T) *world {
	n := rapid.IntRange(1, 30).Draw(t, "targets")
	return &world{
		targets: n, sizes: map[int]int{}, size: rapid.IntRange(1, 7).Draw(t, "batch size"),
		state: State{
			Rollout: controlplane.RolloutRunning, OnError: rapid.SampledFrom(controlplane.OnErrors).Draw(t, "on error"),
			Concurrency: rapid.IntRange(1, 10).Draw(t, "concurrency"), Due: n, Counts: controlplane.Counts{controlplane.TargetPending: n},
		},
	}
}

func (w *world) obey(t *rapid.T, d Decision) {
	if len(d.Start) > 0 && w.state.OnError != controlplane.OnErrorContinue && w.state.Rollout == controlplane.RolloutRunning && w.state.Counts[controlplane.TargetFailed] > 0 {
		t.Fatalf("started %v after a failure", d.Start)
	}
	if d.Batch {
		w.batch()
	}
	for _, id := range d.Start {
		for i := range w.state.Batches {
			if w.state.Batches[i].ID == id {
				w.state.Batches[i].State = batchRunning
			}
		}
	}
	if used := inUse(w.state); used > max(w.state.Concurrency, maxParallelism) || used > w.state.Concurrency && live(w.state) > 1 {
		t.Fatalf("%d tenants at a time, concurrency %d", used, w.state.Concurrency)
	}
	if d.Undo {
		w.turnRound()
	} else if d.Become != "" {
		if !w.state.Rollout.CanBecome(d.Become) {
			t.Fatalf("%s became %s", w.state.Rollout, d.Become)
		}
		w.state.Rollout = d.Become
	}
}

func (w *world) batch() {
	var waiters []waiter
	for i := range w.state.Due {
		waiters = append(waiters, waiter{ID: i, Slug: fmt.Sprint(i), ClusterID: fmt.Sprint(i % 2)})
	}
	for _, plan := range planBatches(waiters, w.size, w.state.Concurrency) {
		w.nextID++
		w.sizes[w.nextID] = len(plan.Targets)
		w.state.Batches = append(w.state.Batches, BatchState{ID: w.nextID, Number: w.nextID, State: batchWaiting, Parallelism: plan.Parallelism})
	}
	w.state.Due = 0
}

// finishOne lets one running batch end, its targets as chance has it.
func (w *world) finishOne(t *rapid.T) {
	for i, b := range w.state.Batches {
		if b.State != batchRunning {
			continue
		}
		for range w.sizes[b.ID] {
			w.finishTarget(rapid.IntRange(0, 9).Draw(t, "fate"))
		}
		w.state.Batches = append(w.state.Batches[:i:i], w.state.Batches[i+1:]...)
		break
	}
	if w.state.Counts.Sum() != w.targets {
		t.Fatalf("%d targets became %d: %s", w.targets, w.state.Counts.Sum(), w.state.Counts)
	}
}

func (w *world) finishTarget(fate int) {
	c := w.state.Counts
	c[controlplane.TargetPending]--
	switch {
	case w.state.Rollout == controlplane.RolloutRollingBack:
		c[controlplane.TargetRolledBack]++
		w.state.Standing--
	case fate == 0:
		c[controlplane.TargetFailed]++
	case fate == 1:
		c[controlplane.TargetPending]++ // deferred and due again
		w.state.Due++
	default:
		c[controlplane.TargetSucceeded]++
		w.state.Standing++
	}
}

func (w *world) turnRound() {
	c := w.state.Counts
	c[controlplane.TargetSkipped] += c[controlplane.TargetPending]
	c[controlplane.TargetPending] = c[controlplane.TargetSucceeded]
	c[controlplane.TargetSucceeded] = 0
	w.state.Due, w.state.Batches, w.state.Rollout = c[controlplane.TargetPending], nil, controlplane.RolloutRollingBack
}
