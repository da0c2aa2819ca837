package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/fleet"
)

// The directions of a batch and a target.
const (
	up   = "up"
	down = "down"
)

// The states of a batch.
const (
	batchWaiting = "waiting" // planned
	batchQueued  = "queued"  // its job is on its way
	batchRunning = "running" // under a lease
	batchDone    = "done"
)

// maxParallelism is how many tenants of a batch are worked on at a time at most.
const maxParallelism = 4

// State is all that [Next] looks at.
type State struct {
	Now         time.Time
	Rollout     controlplane.RolloutState
	Wanted      controlplane.RolloutState // what somebody wants it to become: paused, aborted or nothing
	WantedBy    string
	Reason      string // why it is in its state; of one that is rolled back empty if somebody asked for that
	OnError     controlplane.OnError
	Concurrency int                  // tenants at a time, of all rollouts together
	PerCluster  int                  // the same on one cluster; 0: as its flow says
	PerDatabase int                  // the same in one shared database
	Budget      *controlplane.Budget // of failures
	Forgiven    int                  // failures that an operator resumed from
	Waves       []WaveState          // in order; none is one of all targets
	Gates       []controlplane.Gate  // after each wave but the last
	Windows     []controlplane.Window
	Counts      controlplane.Counts
	Batches     []BatchState // those not done, of the rollout's present direction
	Elsewhere   []BatchState // those of other rollouts that are with workers
	Clusters    map[string]fleet.Course
	Due         int       // targets of that direction and the present wave in no batch that may be worked on now
	NextDue     time.Time // when the first of the others may; zero: there are none
	Open        int       // unfinished targets of that direction
	Standing    int       // targets that the rollout has changed and not taken back
	Making      int       // unfinished targets whose homes are still being made
	Gone        int       // skipped targets whose tenants have been deleted or were never made
	Closed      bool      // tenants that are created from now on do not join
}

// BatchState is a batch as [Next] sees it.
type BatchState struct {
	ID          int
	Number      int
	Wave        int
	Window      int // in which its targets may be worked on; 0: at any time
	State       string
	ClusterID   string
	DatabaseID  string // the shared one that its targets are in; empty: each has its own
	Size        int    // targets
	Parallelism int    // tenants at a time, once it is with a worker
}

// live reports whether the batch is with a worker, or on its way to one.
func (b BatchState) live() bool { return b.State == batchQueued || b.State == batchRunning }

// Decision is what is to be done next. The zero Decision is to wait.
type Decision struct {
	Start    []Grant // batches to hand to workers
	Batch    bool    // put the targets that are due into batches
	End      int     // note that this wave has ended
	Ask      Ask     // ask this gate
	Pass     int     // go on after this wave
	Close    bool    // let nobody join any more: whoever is created now starts where the rollout has gone
	Undo     bool    // turn round: take back what was done
	UndoWave int     // of this wave only; 0: of all
	Become   controlplane.RolloutState
	Reason   string
	WakeAt   time.Time // look again then
}

// Grant is a batch to hand out, and how many of its tenants may be worked on
// at a time.
type Grant struct{ Batch, Parallelism int }

// Next decides what a rollout does next. It is a pure function.
func Next(s State) Decision {
	switch s.Rollout {
	case controlplane.RolloutRunning:
		return forward(s)
	case controlplane.RolloutRollingBack:
		return backward(s)
	}
	return Decision{}
}

func forward(s State) Decision {
	switch { // what somebody wants goes before what the strategy says
	case s.Wanted != "" && live(s) > 0:
		return Decision{}
	case s.Wanted != "":
		return Decision{Become: s.Wanted, Reason: fmt.Sprintf("%s by %s", s.Wanted, s.WantedBy)}
	case s.breached():
		return halt(s)
	}
	if open := s.Counts.Sum() - s.Counts.Done(); !s.Closed && open == s.Making {
		return Decision{Close: true}
	} else if open > 0 {
		if w := s.unpassed(); w != nil {
			return s.interlude(*w)
		}
		return proceed(s)
	}
	if live(s) > 0 { // the last report of a batch is still to come
		return Decision{}
	}
	if bad := unwell(s); bad != "" {
		return Decision{Become: controlplane.RolloutFailed, Reason: bad}
	}
	return Decision{Become: controlplane.RolloutSucceeded}
}

// halt starts nothing more. What runs is let to its end, since DDL is never
// killed in the middle; then the rollout pauses or turns round.
func halt(s State) Decision {
	if live(s) > 0 {
		return Decision{}
	}
	reason := fmt.Sprintf("%d failed, and on-error is %s", s.Counts[controlplane.TargetFailed]-s.Forgiven, s.OnError)
	if s.Budget != nil && s.Budget.Failures != 1 {
		reason += ": the budget is " + s.Budget.String()
	}
	switch s.OnError {
	case controlplane.OnErrorRollback:
		return Decision{Undo: true, Reason: reason}
	case controlplane.OnErrorRollbackWave:
		return Decision{Undo: true, UndoWave: s.furthest(), Reason: reason}
	}
	return Decision{Become: controlplane.RolloutPaused, Reason: reason}
}

func backward(s State) Decision {
	if s.Open > 0 {
		return proceed(s)
	}
	switch {
	case live(s) > 0: // the last report of a batch is still to come
		return Decision{}
	case s.Counts.Done() < s.Counts.Sum(): // one tenant of a paused rollout was taken back
		return Decision{Become: controlplane.RolloutPaused, Reason: cmp.Or(s.Reason, "a part was taken back, and others wait")}
	case s.Counts[controlplane.TargetNeedsAttention] > 0:
		return Decision{Become: controlplane.RolloutFailed, Reason: unwell(s)}
	case s.Standing == 0:
		return Decision{Become: controlplane.RolloutRolledBack}
	case s.Reason != "": // failures had the last wave taken back, and there is no other
		return Decision{Become: controlplane.RolloutFailed, Reason: s.Reason}
	case unwell(s) != "":
		return Decision{Become: controlplane.RolloutFailed, Reason: unwell(s)}
	}
	return Decision{Become: controlplane.RolloutSucceeded} // one tenant was taken back, the others stay
}

// proceed starts waiting batches, in order, as far as the limits allow. A batch
// whose cluster or database is full does not hold up those of others.
func proceed(s State) Decision {
	var d Decision
	used := s.usage()
	waits := s.NextDue
	for _, b := range s.waiting() {
		if used.total >= s.Concurrency {
			return d
		}
		n := s.room(used, b)
		if n < 1 {
			waits = sooner(waits, s.againOn(b.ClusterID))
			continue
		}
		used.add(b.ClusterID, b.DatabaseID, n)
		d.Start = append(d.Start, Grant{Batch: b.ID, Parallelism: n})
	}
	d.Batch = s.Due > 0
	if d.idle() {
		d.WakeAt = waits
	}
	return d
}

// waiting are the batches that are to be handed out, in order.
func (s State) waiting() []BatchState {
	wave := s.present()
	waiting := slices.DeleteFunc(slices.Clone(s.Batches), func(b BatchState) bool {
		return b.State != batchWaiting || b.Wave != wave && len(s.Waves) > 0 || slices.Contains(s.shutWindows(), b.Window)
	})
	slices.SortFunc(waiting, func(a, b BatchState) int { return a.Number - b.Number })
	return waiting
}

// room is how many tenants of a batch may be worked on beside what is in use.
func (s State) room(used usage, b BatchState) int {
	pace, _ := s.pace(b.ClusterID)
	if s.PerCluster > 0 {
		pace = min(pace, s.PerCluster)
	}
	n := min(b.Size, maxParallelism, s.Concurrency-used.total, pace-used.clusters[b.ClusterID])
	if b.DatabaseID != "" {
		n = min(n, s.PerDatabase-used.databases[b.DatabaseID])
	}
	return n
}

// pace is how many tenants may be worked on at a time on a cluster now and, if
// none may, when to look again.
func (s State) pace(clusterID string) (n int, again time.Time) {
	return pace(s.Clusters[clusterID], s.Now)
}

func (s State) againOn(clusterID string) time.Time {
	_, again := s.pace(clusterID)
	return again
}

// sooner is the earlier of two times, of which the zero one is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// usage is how many tenants are worked on at a time at most, over all rollouts.
type usage struct {
	total               int
	clusters, databases map[string]int
}

func (u *usage) add(clusterID, databaseID string, n int) {
	u.total += n
	u.clusters[clusterID] += n
	if databaseID != "" {
		u.databases[databaseID] += n
	}
}

func (s State) usage() usage {
	used := usage{clusters: map[string]int{}, databases: map[string]int{}}
	for _, b := range slices.Concat(s.Batches, s.Elsewhere) {
		if b.live() {
			used.add(b.ClusterID, b.DatabaseID, b.Parallelism)
		}
	}
	return used
}

func live(s State) int {
	n := 0
	for _, b := range s.Batches {
		if b.live() {
			n++
		}
	}
	return n
}

// again reports whether there is more to decide once this is done.
func (d Decision) again() bool { return d.Batch || d.Close || d.End > 0 || d.Pass > 0 }

// undoes reports whether this is to be taken back.
func (d Decision) undoes(s scope) bool { return d.Undo && s == scope{wave: d.UndoWave} }

func (d Decision) idle() bool {
	return len(d.Start) == 0 && d.Ask.Wave == 0 && !d.again() && !d.Undo && d.Become == ""
}

// unwell names the targets that are not where the rollout wanted them. Of a
// tenant that is no more it wants nothing.
func unwell(s State) string {
	bad := controlplane.Counts{
		controlplane.TargetFailed:         s.Counts[controlplane.TargetFailed],
		controlplane.TargetSkipped:        s.Counts[controlplane.TargetSkipped] - s.Gone,
		controlplane.TargetNeedsAttention: s.Counts[controlplane.TargetNeedsAttention],
	}
	return bad.String()
}
