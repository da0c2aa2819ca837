package rollout

import (
	"slices"
	"testing"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/ent"
)

func TestEveryBatchStateIsReachedAndAllButDoneLeft(t *testing.T) {
	t.Parallel()
	reached := []string{batchWaiting}
	for n := 0; n < len(reached); n++ {
		for _, s := range BatchStates {
			if BatchCanBecome(reached[n], s) && !slices.Contains(reached, s) {
				reached = append(reached, s)
			}
		}
	}
	for _, s := range BatchStates {
		left := slices.ContainsFunc(BatchStates, func(to string) bool { return BatchCanBecome(s, to) && to != s })
		if !slices.Contains(reached, s) || left == (s == batchDone) {
			t.Errorf("batch state %s is reached: %t, left: %t", s, slices.Contains(reached, s), left)
		}
	}
}

// TestUnlawfulResultLeavesItsTargetUnknown checks that a mistake of Manor's is
// not written down as the truth about a tenant.
func TestUnlawfulResultLeavesItsTargetUnknown(t *testing.T) {
	t.Parallel()
	for direction, unlawful := range map[string][]controlplane.TargetStatus{
		up:   {"", controlplane.TargetRunning, controlplane.TargetRolledBack},
		down: {"", controlplane.TargetRunning, controlplane.TargetSucceeded, controlplane.TargetCurrent, controlplane.TargetFailed},
	} {
		l := &lease{batch: &ent.Batch{Direction: direction}, targets: []leased{{Target: &ent.Target{ID: 6}}, {Target: &ent.Target{ID: 7, Slug: "acme", Version: "1"}}}}
		for _, status := range append(controlplane.TargetStatuses, "") {
			told := result{ID: 7, Status: status, Version: "2", halts: true}
			got, err := lawful(l, told)
			switch refused := slices.Contains(unlawful, status); {
			case refused && (err == nil || got.Status != controlplane.TargetUnknown || got.Version != "1" || !got.halts || got.Pause == 0 || got.Failure == nil):
				t.Errorf("%s on the way %s is stored as %+v (%v)", status, direction, got, err)
			case !refused && (err != nil || got != told):
				t.Errorf("%s on the way %s is stored as %+v (%v)", status, direction, got, err)
			}
		}
	}
}
