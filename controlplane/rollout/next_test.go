package rollout

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/fleet"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// waiting is a batch of ten on a cluster.
func waiting(id int, cluster string) BatchState {
	return BatchState{ID: id, Number: id, State: batchWaiting, ClusterID: cluster, Size: 10}
}

// running is a batch that works on n tenants of a cluster at a time.
func running(id int, cluster string, n int) BatchState {
	return BatchState{ID: id, Number: id, State: batchRunning, ClusterID: cluster, Size: 10, Parallelism: n}
}

// in puts a batch into a shared database.
func in(database string, b BatchState) BatchState {
	b.DatabaseID = database
	return b
}

func counts(pending, succeeded, failed int) controlplane.Counts {
	return controlplane.Counts{controlplane.TargetPending: pending, controlplane.TargetSucceeded: succeeded, controlplane.TargetFailed: failed}
}

// at is a cluster that may be worked on at a pace.
func at(pace int) fleet.Course {
	return fleet.Course{Name: "some", State: controlplane.ClusterActive, Flow: controlplane.Flow{Pace: pace, Ceiling: 16}}
}

// until is a cluster with an alarm.
func until(t time.Time) fleet.Course {
	return fleet.Course{Name: "some", State: controlplane.ClusterActive, Flow: controlplane.Flow{Ceiling: 16, Alarm: &controlplane.Alarm{Since: noon.Add(-time.Minute), Until: t, Tries: 2}}}
}

// going is a rollout in the middle of ten targets, on clusters a and b that
// allow more than it does.
func going(change func(*State)) State {
	s := State{Now: noon, Rollout: controlplane.RolloutRunning, Closed: true, Concurrency: 8, PerDatabase: 4, Counts: counts(10, 0, 0),
		Clusters: map[string]fleet.Course{"a": at(16), "b": at(16)}}
	change(&s)
	return s
}

func TestNext(t *testing.T) {
	t.Parallel()
	soon, later := noon.Add(time.Second), noon.Add(time.Minute)
	for name, c := range map[string]struct {
		state State
		want  Decision
	}{
		"what is due gets batches": {
			going(func(s *State) { s.Due = 3 }), Decision{Batch: true}},
		"batches start in order, as many as the concurrency allows": {
			going(func(s *State) { s.Batches = []BatchState{waiting(3, "a"), waiting(1, "a"), waiting(2, "a")} }),
			Decision{Start: []Grant{{1, 4}, {2, 4}}}},
		"a batch wider than the concurrency starts alone, and narrower": {
			going(func(s *State) { s.Concurrency, s.Batches = 1, []BatchState{waiting(1, "a"), waiting(2, "a")} }),
			Decision{Start: []Grant{{1, 1}}}},
		"what is left of the concurrency goes to the next batch": {
			going(func(s *State) {
				s.Concurrency, s.Batches = 6, []BatchState{running(1, "a", 3), waiting(2, "a"), waiting(3, "a")}
			}),
			Decision{Start: []Grant{{2, 3}}}},
		"a batch gets no more than it has targets": {
			going(func(s *State) { s.Batches = []BatchState{{ID: 1, State: batchWaiting, ClusterID: "a", Size: 2}} }),
			Decision{Start: []Grant{{1, 2}}}},
		"nothing starts while the concurrency is used up": {
			going(func(s *State) { s.Concurrency, s.Batches = 4, []BatchState{running(1, "a", 4), waiting(2, "a")} }), Decision{}},
		"one on its way to a worker counts": {
			going(func(s *State) {
				s.Concurrency = 4
				s.Batches = []BatchState{{ID: 1, State: batchQueued, ClusterID: "a", Size: 9, Parallelism: 4}, waiting(2, "a")}
			}), Decision{}},
		"what other rollouts do counts against the concurrency": {
			going(func(s *State) {
				s.Elsewhere, s.Batches = []BatchState{running(7, "b", 4), running(8, "a", 2)}, []BatchState{waiting(1, "a")}
			}),
			Decision{Start: []Grant{{1, 2}}}},
		"what other rollouts do counts on a cluster": {
			going(func(s *State) {
				s.PerCluster, s.Elsewhere = 4, []BatchState{running(7, "a", 3)}
				s.Batches = []BatchState{waiting(1, "a"), waiting(2, "b")}
			}),
			Decision{Start: []Grant{{1, 1}, {2, 4}}}},
		"what other rollouts do counts in a shared database": {
			going(func(s *State) {
				s.PerDatabase, s.Elsewhere = 2, []BatchState{in("x", running(7, "a", 2))}
				s.Batches = []BatchState{in("x", waiting(1, "a")), in("y", waiting(2, "a"))}
			}),
			Decision{Start: []Grant{{2, 2}}}},
		"tenants with databases of their own are not bound by the limit per database": {
			going(func(s *State) { s.PerDatabase, s.Batches = 1, []BatchState{waiting(1, "a")} }),
			Decision{Start: []Grant{{1, 4}}}},
		"a cluster's pace bounds it": {
			going(func(s *State) {
				s.Clusters["a"], s.Batches = at(3), []BatchState{running(1, "a", 2), waiting(2, "a"), waiting(3, "b")}
			}),
			Decision{Start: []Grant{{2, 1}, {3, 4}}}},
		"a limit per cluster bounds it where the pace is higher": {
			going(func(s *State) {
				s.Clusters["a"], s.PerCluster, s.Batches = at(3), 2, []BatchState{waiting(1, "a"), waiting(2, "a")}
			}),
			Decision{Start: []Grant{{1, 2}}}},
		"a pace that went below what runs starts nothing": {
			going(func(s *State) { s.Clusters["a"], s.Batches = at(2), []BatchState{running(1, "a", 4), waiting(2, "a")} }), Decision{}},
		"a full cluster does not hold up others": {
			going(func(s *State) {
				s.Clusters["a"], s.Batches = at(1), []BatchState{running(1, "a", 1), waiting(2, "a"), waiting(3, "b")}
			}),
			Decision{Start: []Grant{{3, 4}}}},
		"a cluster in alarm does not hold up others": {
			going(func(s *State) {
				s.Clusters["a"], s.Batches = until(soon), []BatchState{waiting(1, "a"), waiting(2, "b")}
			}),
			Decision{Start: []Grant{{2, 4}}}},
		"a cluster whose rest is over is tried with one tenant": {
			going(func(s *State) {
				s.Clusters["a"], s.Batches = until(noon), []BatchState{waiting(1, "a"), waiting(2, "a")}
			}),
			Decision{Start: []Grant{{1, 1}}}},
		"a cluster that is being tried is not tried twice": {
			going(func(s *State) {
				s.Clusters["a"], s.Elsewhere, s.Batches = until(noon), []BatchState{running(7, "a", 1)}, []BatchState{waiting(1, "a")}
			}), Decision{}},
		"an offline cluster gets nothing": {
			going(func(s *State) {
				s.Clusters["a"] = fleet.Course{Name: "some", State: controlplane.ClusterOffline, Flow: at(16).Flow}
				s.Batches = []BatchState{waiting(1, "a"), waiting(2, "b")}
			}),
			Decision{Start: []Grant{{2, 4}}}},
		"a draining cluster is worked on": {
			going(func(s *State) {
				s.Clusters["a"] = fleet.Course{Name: "some", State: controlplane.ClusterDraining, Flow: at(16).Flow}
				s.Batches = []BatchState{waiting(1, "a")}
			}),
			Decision{Start: []Grant{{1, 4}}}},
		"when all rest, the first to have rested is waited for": {
			going(func(s *State) {
				s.Clusters["a"], s.Clusters["b"] = until(later), until(soon)
				s.Batches = []BatchState{waiting(1, "a"), waiting(2, "b")}
			}),
			Decision{WakeAt: soon}},
		"a deferred target is waited for": {
			going(func(s *State) { s.NextDue = soon }), Decision{WakeAt: soon}},
		"a deferred target that is due before a cluster has rested is waited for": {
			going(func(s *State) {
				s.Clusters["a"], s.NextDue, s.Batches = until(later), soon, []BatchState{waiting(1, "a")}
			}),
			Decision{WakeAt: soon}},
		"nobody is woken for a full cluster: whoever frees it looks again": {
			going(func(s *State) { s.Clusters["a"], s.Batches = at(1), []BatchState{running(1, "a", 1), waiting(2, "a")} }), Decision{}},
		"all succeeded": {
			going(func(s *State) { s.Counts, s.Standing = counts(0, 5, 0), 5 }), Decision{Become: controlplane.RolloutSucceeded}},
		"all succeeded, but the last report of a batch is to come": {
			going(func(s *State) { s.Counts, s.Batches = counts(0, 5, 0), []BatchState{running(1, "a", 1)} }), Decision{}},
		"a failure among them": {
			going(func(s *State) { s.OnError, s.Counts = controlplane.OnErrorContinue, counts(0, 5, 1) }),
			Decision{Become: controlplane.RolloutFailed, Reason: "1 failed"}},
		"continue goes on after a failure": {
			going(func(s *State) {
				s.OnError, s.Counts, s.Batches = controlplane.OnErrorContinue, counts(5, 0, 1), []BatchState{waiting(2, "a")}
			}),
			Decision{Start: []Grant{{2, 4}}}},
		"pause waits for what runs": {
			going(func(s *State) {
				s.OnError, s.Counts = controlplane.OnErrorPause, counts(5, 0, 1)
				s.Batches = []BatchState{running(1, "a", 4), waiting(2, "a")}
			}), Decision{}},
		"pause": {
			going(func(s *State) {
				s.OnError, s.Counts, s.Batches = controlplane.OnErrorPause, counts(5, 0, 1), []BatchState{waiting(2, "a")}
			}),
			Decision{Become: controlplane.RolloutPaused, Reason: "1 failed, and on-error is pause"}},
		"pause does not wait for other rollouts": {
			going(func(s *State) {
				s.OnError, s.Counts, s.Elsewhere = controlplane.OnErrorPause, counts(5, 0, 1), []BatchState{running(7, "a", 4)}
			}),
			Decision{Become: controlplane.RolloutPaused, Reason: "1 failed, and on-error is pause"}},
		"a forgiven failure does not pause again": {
			going(func(s *State) {
				s.OnError, s.Forgiven, s.Counts, s.Batches = controlplane.OnErrorPause, 1, counts(5, 0, 1), []BatchState{waiting(2, "a")}
			}),
			Decision{Start: []Grant{{2, 4}}}},
		"rollback turns round": {
			going(func(s *State) { s.OnError, s.Counts, s.Standing = controlplane.OnErrorRollback, counts(5, 3, 1), 3 }),
			Decision{Undo: true, Reason: "1 failed, and on-error is rollback"}},
		"a way back starts batches as the way there does": {
			going(func(s *State) {
				s.Rollout, s.OnError, s.Counts, s.Open = controlplane.RolloutRollingBack, controlplane.OnErrorRollback, counts(3, 0, 1), 3
				s.Standing, s.Batches = 3, []BatchState{waiting(1, "a")}
			}),
			Decision{Start: []Grant{{1, 4}}}},
		"rolled back": {
			going(func(s *State) {
				s.Rollout = controlplane.RolloutRollingBack
				s.Counts = controlplane.Counts{controlplane.TargetRolledBack: 3, controlplane.TargetFailed: 1}
			}),
			Decision{Become: controlplane.RolloutRolledBack}},
		"rolled back, but the last report of a batch is to come": {
			going(func(s *State) {
				s.Rollout, s.Counts = controlplane.RolloutRollingBack, controlplane.Counts{controlplane.TargetRolledBack: 3}
				s.Batches = []BatchState{running(1, "a", 1)}
			}), Decision{}},
		"rolled back but for one": {
			going(func(s *State) {
				s.Rollout, s.Standing = controlplane.RolloutRollingBack, 1
				s.Counts = controlplane.Counts{controlplane.TargetRolledBack: 3, controlplane.TargetNeedsAttention: 1}
			}),
			Decision{Become: controlplane.RolloutFailed, Reason: "1 needs attention"}},
		"one tenant was taken back": {
			going(func(s *State) {
				s.Rollout, s.Standing = controlplane.RolloutRollingBack, 4
				s.Counts = controlplane.Counts{controlplane.TargetRolledBack: 1, controlplane.TargetSucceeded: 4}
			}),
			Decision{Become: controlplane.RolloutSucceeded}},
		"one tenant of a failed rollout was taken back": {
			going(func(s *State) {
				s.Rollout, s.Standing = controlplane.RolloutRollingBack, 4
				s.Counts = controlplane.Counts{controlplane.TargetRolledBack: 1, controlplane.TargetSucceeded: 4, controlplane.TargetFailed: 1}
			}),
			Decision{Become: controlplane.RolloutFailed, Reason: "1 failed"}},
		"one tenant of a paused rollout was taken back": {
			going(func(s *State) {
				s.Rollout = controlplane.RolloutRollingBack
				s.Counts = controlplane.Counts{controlplane.TargetRolledBack: 1, controlplane.TargetPending: 4}
			}),
			Decision{Become: controlplane.RolloutPaused, Reason: "a part was taken back, and others wait"}},
		"what comes back later is waited for on the way back, too": {
			going(func(s *State) {
				s.Rollout, s.Open, s.Standing, s.NextDue = controlplane.RolloutRollingBack, 1, 4, soon
				s.Counts = controlplane.Counts{controlplane.TargetDeferred: 1, controlplane.TargetRolledBack: 4}
			}),
			Decision{WakeAt: soon}},
		"nobody joins any more once all others are done": {
			going(func(s *State) {
				s.Closed, s.Making = false, 2
				s.Counts = controlplane.Counts{controlplane.TargetDeferred: 2, controlplane.TargetSucceeded: 8}
			}), Decision{Close: true}},
		"it stays open while somebody is to be migrated": {
			going(func(s *State) {
				s.Closed, s.Making, s.NextDue = false, 1, soon
				s.Counts = controlplane.Counts{controlplane.TargetDeferred: 2, controlplane.TargetSucceeded: 8}
			}), Decision{WakeAt: soon}},
		"it does not end before the last report of its batches": {
			going(func(s *State) {
				s.Counts, s.Batches = counts(0, 10, 0), []BatchState{running(1, "a", 1)}
			}), Decision{}},
		"a tenant that is no more makes no rollout fail": {
			going(func(s *State) {
				s.Gone, s.Counts = 1, controlplane.Counts{controlplane.TargetSucceeded: 9, controlplane.TargetSkipped: 1}
			}), Decision{Become: controlplane.RolloutSucceeded}},
		"what was on a cluster that is no more is handed out, to be found gone": {
			going(func(s *State) { s.Batches = []BatchState{waiting(1, "removed")} }), Decision{Start: []Grant{{1, 1}}}},
		"paused": {
			going(func(s *State) {
				s.Rollout, s.Due, s.Batches = controlplane.RolloutPaused, 5, []BatchState{waiting(1, "a")}
			}), Decision{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, Next(c.state)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestNoHandOutBreaksALimit asks Next about states as they may never come, and
// checks what it hands out against every limit, and that it wastes none of them.
func TestNoHandOutBreaksALimit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := anyState(t)
		before := s.usage()
		d := Next(s)
		used, granted := s.usage(), map[int]int{}
		for _, g := range d.Start {
			b := s.Batches[g.Batch]
			if b.State != batchWaiting || granted[g.Batch] > 0 || g.Parallelism < 1 || g.Parallelism > min(b.Size, maxParallelism) {
				t.Fatalf("%+v is granted for %+v", g, b)
			}
			granted[g.Batch] = g.Parallelism
			used.add(b.ClusterID, b.DatabaseID, g.Parallelism)
		}
		for _, b := range s.Batches {
			free := s.room(used, b)
			switch {
			case granted[b.ID] > 0 && broken(s, before, used, b):
				t.Fatalf("granting %v breaks a limit: %+v", d.Start, s)
			case granted[b.ID] == 0 && b.State == batchWaiting && free > 0:
				t.Fatalf("batch %d waits although %d of its tenants could be worked on: %+v", b.ID, free, s)
			}
		}
	})
}

// broken reports whether more is at work than any limit of a batch allows, and
// more than was before.
func broken(s State, before, used usage, b BatchState) bool {
	pace, _ := pace(s.Clusters[b.ClusterID], s.Now)
	return used.total > max(before.total, s.Concurrency) ||
		used.clusters[b.ClusterID] > max(before.clusters[b.ClusterID], pace) ||
		s.PerCluster > 0 && used.clusters[b.ClusterID] > max(before.clusters[b.ClusterID], s.PerCluster) ||
		b.DatabaseID != "" && used.databases[b.DatabaseID] > max(before.databases[b.DatabaseID], s.PerDatabase)
}

func anyState(t *rapid.T) State {
	draw := func(most int, what string) int { return rapid.IntRange(0, most).Draw(t, what) }
	s := going(func(s *State) {
		s.Concurrency, s.PerCluster, s.PerDatabase = 1+draw(12, "concurrency"), draw(6, "per cluster"), 1+draw(4, "per database")
		s.Clusters["a"] = []fleet.Course{at(1), at(5), until(noon), until(noon.Add(time.Second)), {Name: "some", State: controlplane.ClusterOffline}}[draw(4, "cluster")]
	})
	batch := func(id int) BatchState {
		b := BatchState{ID: id, Number: id, Size: 1 + draw(9, "size"), ClusterID: []string{"a", "b"}[draw(1, "on")],
			State: []string{batchWaiting, batchQueued, batchRunning}[draw(2, "state")]}
		if n := draw(2, "database"); n > 0 {
			b.DatabaseID = fmt.Sprint(b.ClusterID, n)
		}
		if b.live() {
			b.Parallelism = 1 + draw(3, "parallelism")
		}
		return b
	}
	for id := range draw(8, "batches") {
		s.Batches = append(s.Batches, batch(id))
	}
	for id := range draw(3, "elsewhere") {
		if b := batch(100 + id); b.live() {
			s.Elsewhere = append(s.Elsewhere, b)
		}
	}
	return s
}
