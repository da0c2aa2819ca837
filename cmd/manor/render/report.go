package render

import (
	"iter"
	"time"

	"github.com/manorhq/manor/controlplane"
)

// Report is what a pipeline is told of a rollout in files of its own.
type Report struct {
	Rollout *controlplane.Rollout
	Back    bool      // it was to be taken back
	At      time.Time // when it was asked
	// Targets reads those of some statuses, all of them where none is given.
	Targets func(...controlplane.TargetStatus) iter.Seq2[controlplane.Target, error]
}

// outcome is how a target counts in a report.
type outcome int

const (
	passed  outcome = iota // the tenant is where the command was to take it
	failed                 // somebody has to look
	skipped                // nothing was done to it, or it is not done
)

func (r *Report) outcome(s controlplane.TargetStatus) outcome {
	switch {
	case s == controlplane.TargetFailed || s == controlplane.TargetNeedsAttention:
		return failed
	case r.Back && s == controlplane.TargetRolledBack, !r.Back && (s == controlplane.TargetSucceeded || s == controlplane.TargetCurrent):
		return passed
	}
	return skipped
}

// counts are the targets of a rollout by outcome.
func (r *Report) counts() map[outcome]int {
	counts := map[outcome]int{}
	for status, n := range r.Rollout.Counts {
		counts[r.outcome(status)] += n
	}
	return counts
}

// causes reads the failed targets and groups them.
func (r *Report) causes() (*causes, error) {
	c := &causes{}
	if r.counts()[failed] == 0 {
		return c, nil
	}
	for t, err := range r.Targets(controlplane.TargetFailed, controlplane.TargetNeedsAttention) {
		if err != nil {
			return nil, err
		}
		c.add(&t)
	}
	return c, nil
}

// took is how long the rollout has gone on.
func (r *Report) took() time.Duration {
	if r.Rollout.FinishedAt != nil {
		return r.Rollout.FinishedAt.Sub(r.Rollout.CreatedAt)
	}
	return max(0, r.At.Sub(r.Rollout.CreatedAt))
}
