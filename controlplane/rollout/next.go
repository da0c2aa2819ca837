package rollout

import (
	"fmt"
	"slices"
	"time"

	"github.com/manorhq/manor/controlplane"
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

// State is all that [Next] looks at.
type State struct {
	Rollout     controlplane.RolloutState
	OnError     controlplane.OnError
	Concurrency int
	Forgiven    int // failures that an operator resumed from
	Counts      controlplane.Counts
	Batches     []BatchState // those not done, of the rollout's present direction
	Due         int          // targets of that direction in no batch that may be worked on now
	NextDue     time.Time    // when the first of the others may; zero: there are none
	Open        int          // unfinished targets of that direction
	Standing    int          // targets that the rollout has changed and not taken back
}

// BatchState is a batch as [Next] sees it.
type BatchState struct {
	ID          int
	Number      int
	State       string
	Parallelism int
}

// Decision is what is to be done next. The zero Decision is to wait.
type Decision struct {
	Start  []int // batches to hand to workers
	Batch  bool  // put the targets that are due into batches
	Undo   bool  // turn round: take back what was done
	Become controlplane.RolloutState
	Reason string
	WakeAt time.Time // look again then
}

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
	if failures := s.Counts[controlplane.TargetFailed] - s.Forgiven; failures > 0 && s.OnError != controlplane.OnErrorContinue {
		return halt(s, failures)
	}
	if s.Counts.Done() < s.Counts.Sum() {
		return proceed(s)
	}
	if bad := unwell(s.Counts); bad != "" {
		return Decision{Become: controlplane.RolloutFailed, Reason: bad}
	}
	return Decision{Become: controlplane.RolloutSucceeded}
}

// halt starts nothing more. What runs is let to its end, since DDL is never
// killed in the middle; then the rollout pauses or turns round.
func halt(s State, failures int) Decision {
	if live(s) > 0 {
		return Decision{}
	}
	reason := fmt.Sprintf("%d failed, and on-error is %s", failures, s.OnError)
	if s.OnError == controlplane.OnErrorRollback {
		return Decision{Undo: true, Reason: reason}
	}
	return Decision{Become: controlplane.RolloutPaused, Reason: reason}
}

func backward(s State) Decision {
	if s.Open > 0 {
		return proceed(s)
	}
	switch {
	case s.Counts.Done() < s.Counts.Sum(): // one tenant of a paused rollout was taken back
		return Decision{Become: controlplane.RolloutPaused, Reason: "paused before the rollback"}
	case s.Counts[controlplane.TargetNeedsAttention] > 0:
		return Decision{Become: controlplane.RolloutFailed, Reason: unwell(s.Counts)}
	case s.Standing == 0:
		return Decision{Become: controlplane.RolloutRolledBack}
	case s.Counts[controlplane.TargetFailed] > 0:
		return Decision{Become: controlplane.RolloutFailed, Reason: unwell(s.Counts)}
	}
	return Decision{Become: controlplane.RolloutSucceeded} // one tenant was taken back, the others stay
}

// proceed starts as many waiting batches as the concurrency allows.
func proceed(s State) Decision {
	var waiting []BatchState
	for _, b := range s.Batches {
		if b.State == batchWaiting {
			waiting = append(waiting, b)
		}
	}
	slices.SortFunc(waiting, func(a, b BatchState) int { return a.Number - b.Number })
	free := s.Concurrency - inUse(s)
	var d Decision
	for _, b := range waiting {
		if b.Parallelism > free && (inUse(s) > 0 || len(d.Start) > 0) {
			break
		}
		free -= b.Parallelism
		d.Start = append(d.Start, b.ID)
	}
	d.Batch = len(waiting) == 0 && s.Due > 0
	if d.idle() {
		d.WakeAt = s.NextDue
	}
	return d
}

// inUse is how many tenants are worked on at most now.
func inUse(s State) int {
	n := 0
	for _, b := range s.Batches {
		if b.State == batchQueued || b.State == batchRunning {
			n += b.Parallelism
		}
	}
	return n
}

func live(s State) int {
	n := 0
	for _, b := range s.Batches {
		if b.State == batchQueued || b.State == batchRunning {
			n++
		}
	}
	return n
}

func (d Decision) idle() bool { return len(d.Start) == 0 && !d.Batch && !d.Undo && d.Become == "" }

// unwell names the targets that are not where the rollout wanted them.
func unwell(c controlplane.Counts) string {
	bad := controlplane.Counts{}
	for _, s := range []controlplane.TargetStatus{controlplane.TargetFailed, controlplane.TargetSkipped, controlplane.TargetNeedsAttention} {
		if c[s] > 0 {
			bad[s] = c[s]
		}
	}
	return bad.String()
}
