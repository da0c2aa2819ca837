package cli

import (
	"testing"

	"github.com/manorhq/manor/controlplane"
)

func TestExitCodeSaysHowARolloutRests(t *testing.T) {
	attention := controlplane.Counts{controlplane.TargetRolledBack: 9, controlplane.TargetNeedsAttention: 1}
	for _, c := range []struct {
		name  string
		state controlplane.RolloutState
		count controlplane.Counts
		asked bool // to roll back
		left  int
		want  int
	}{
		{name: "succeeded", state: controlplane.RolloutSucceeded, want: 0},
		{name: "some targets failed", state: controlplane.RolloutFailed, want: 3},
		{name: "paused", state: controlplane.RolloutPaused, want: 4},
		{name: "rolled back by itself", state: controlplane.RolloutRolledBack, want: 5},
		{name: "aborted", state: controlplane.RolloutAborted, want: 1},
		{name: "rolled back as asked", state: controlplane.RolloutRolledBack, asked: true, want: 0},
		{name: "rolled back as asked but for some", state: controlplane.RolloutRolledBack, asked: true, count: attention, want: 3},
		{name: "rolled back as asked but for those that cannot be", state: controlplane.RolloutRolledBack, asked: true, left: 2, want: 3},
		{name: "rollback failed", state: controlplane.RolloutFailed, asked: true, want: 3},
		{name: "rollback paused", state: controlplane.RolloutPaused, asked: true, want: 4},
	} {
		if got := rolloutExit(&controlplane.Rollout{State: c.state, Counts: c.count}, c.asked, c.left); got != c.want {
			t.Errorf("%s: exit code %d, want %d", c.name, got, c.want)
		}
	}
}
