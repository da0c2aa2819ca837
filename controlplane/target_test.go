package controlplane_test

import (
	"slices"
	"testing"

	"github.com/manorhq/manor/controlplane"
)

// TestEveryTargetStatusIsReachedAndEveryUnfinishedOneLeft walks the tables of
// legal moves from where a target enters a rollout.
func TestEveryTargetStatusIsReachedAndEveryUnfinishedOneLeft(t *testing.T) {
	t.Parallel()
	there := walk([]controlplane.TargetStatus{""}, controlplane.TargetStatuses, moving(controlplane.Up))
	turned := next(there, controlplane.TargetStatuses, controlplane.TargetStatus.CanTurn)
	back := walk(turned, controlplane.TargetStatuses, moving(controlplane.Down))
	for _, s := range controlplane.TargetStatuses {
		if !slices.Contains(there, s) && !slices.Contains(back, s) {
			t.Errorf("nothing becomes %s", s)
		}
		for way, statuses := range map[controlplane.Direction][]controlplane.TargetStatus{controlplane.Up: there, controlplane.Down: back} {
			out := next([]controlplane.TargetStatus{s}, controlplane.TargetStatuses, moving(way))
			if slices.Contains(statuses, s) && !s.Done() && !leadsToAnEnd(s, way) {
				t.Errorf("%s cannot be left on the way %s but to %s", s, way, out)
			}
		}
	}
}

// TestOnlyWhatIsBegunCanBeDone says what the accounting leans on: a target is
// done by its worker, or by an operator's rollback.
func TestOnlyWhatIsBegunCanBeDone(t *testing.T) {
	t.Parallel()
	for _, from := range controlplane.UnfinishedStatuses {
		for _, to := range controlplane.TargetStatuses {
			byRollback := to == controlplane.TargetSkipped || to == controlplane.TargetNeedsAttention
			if to.Done() && from != controlplane.TargetRunning && !byRollback && from.CanBecome(to, controlplane.Up) {
				t.Errorf("a target that is %s becomes %s", from, to)
			}
		}
		if from != controlplane.TargetUnknown && from.CanTurn(controlplane.TargetUnknown) || controlplane.TargetUnknown.CanTurn(controlplane.TargetPending) {
			t.Errorf("what is known of a target that is %s changes as it turns", from)
		}
	}
}

func TestEveryRolloutAndTenantStateIsReachedAndLeft(t *testing.T) {
	t.Parallel()
	reached := walk([]controlplane.RolloutState{controlplane.RolloutPlanned}, controlplane.RolloutStates, controlplane.RolloutState.CanBecome)
	for _, s := range controlplane.RolloutStates {
		if !slices.Contains(reached, s) {
			t.Errorf("no rollout becomes %s", s)
		}
		if len(next([]controlplane.RolloutState{s}, controlplane.RolloutStates, controlplane.RolloutState.CanBecome)) == 0 {
			t.Errorf("a rollout that is %s stays so for ever", s)
		}
	}
	born := walk([]controlplane.TenantState{controlplane.TenantProvisioning}, controlplane.TenantStates, controlplane.TenantState.CanBecome)
	for _, s := range controlplane.TenantStates {
		out := next([]controlplane.TenantState{s}, controlplane.TenantStates, controlplane.TenantState.CanBecome)
		if !slices.Contains(born, s) || (len(out) == 0) != (s == controlplane.TenantDeleted) {
			t.Errorf("tenant state %s is not reached, or leads to %s", s, out)
		}
	}
}

func moving(d controlplane.Direction) func(from, to controlplane.TargetStatus) bool {
	return func(from, to controlplane.TargetStatus) bool { return from.CanBecome(to, d) }
}

// leadsToAnEnd reports whether a target may yet be done from a status.
func leadsToAnEnd(s controlplane.TargetStatus, d controlplane.Direction) bool {
	return slices.ContainsFunc(walk([]controlplane.TargetStatus{s}, controlplane.TargetStatuses, moving(d)), controlplane.TargetStatus.Done)
}

// walk lists the states that can be reached from some, by any number of moves.
func walk[S comparable](from, all []S, can func(from, to S) bool) []S {
	reached := slices.Clone(from)
	for n := 0; n < len(reached); n++ {
		for _, s := range next(reached[n:n+1], all, can) {
			if !slices.Contains(reached, s) {
				reached = append(reached, s)
			}
		}
	}
	return reached
}

// next lists the states that can be reached from some by one move.
func next[S comparable](from, all []S, can func(from, to S) bool) (out []S) {
	for _, to := range all {
		if slices.ContainsFunc(from, func(s S) bool { return can(s, to) }) {
			out = append(out, to)
		}
	}
	return out
}
