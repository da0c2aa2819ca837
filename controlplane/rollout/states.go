package rollout

import (
	"fmt"
	"slices"

	"github.com/manorhq/manor/controlplane"
)

// BatchStates are all states of a batch, in the order of its life.
var BatchStates = []string{batchWaiting, batchQueued, batchRunning, batchDone}

// batchMoves are the state moves that are legal. A batch that nobody took is
// handed out again; one of which nothing is to be started waits again, or is
// closed.
var batchMoves = map[string][]string{
	batchWaiting: {batchQueued, batchDone},
	batchQueued:  {batchQueued, batchRunning, batchWaiting},
	batchRunning: {batchDone},
}

// BatchCanBecome reports whether the move is legal.
func BatchCanBecome(state, next string) bool { return slices.Contains(batchMoves[state], next) }

// lawful is a result as it may be stored. One by which a running target would
// become what it cannot is a mistake of ours, and the target is left unknown.
func lawful(l *lease, r result) (result, error) {
	if controlplane.TargetRunning.CanBecome(r.Status, controlplane.Direction(l.batch.Direction)) {
		return r, nil
	}
	i := slices.IndexFunc(l.targets, func(t leased) bool { return t.ID == r.ID })
	t := l.targets[i]
	return result{ID: r.ID, Status: controlplane.TargetUnknown, Version: t.Version, Pause: maxPause, Tried: true, halts: r.halts, urgent: r.urgent,
			Failure: &controlplane.Failure{Message: "Manor made a mistake about this tenant (see its log)"}},
		fmt.Errorf("a target of tenant %s on its way %s cannot become %q", t.Slug, l.batch.Direction, r.Status)
}
