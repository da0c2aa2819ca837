package rollout

import "testing"

// defects are what the simulated room can be made to do wrong. Each was wrong
// in the room once, or would be if one of its lines were missing.
var defects = []string{
	"a tenant lets older epochs in",
	"what is unknown is read, and nobody is shut out",
	"what is unknown is tried as if it were known",
	"what a dead worker had in hand counts as not begun",
	"a lost answer counts as not begun",
	"an unknown target starts anew",
	"a home in the making is worked on",
	"a newcomer joins two rollouts",
	"a decision overlooks other rollouts",
	"two decide at a time",
	"a lost batch is handed out unseen",
	"a batch is taken twice",
	"a batch is taken after a failure",
	"a batch is taken on a cluster in trouble",
	"a batch keeps its epoch",
	"a batch is worked on wider than it was handed out",
	"a target is begun after a failure",
	"a lease that has run out is worked on",
	"a result is stored twice",
	"a deferred target waits for a clock that was put back",
	"leases and jobs wait for a clock that was put back",
	"a retry takes what another rollout moved on",
	"a rollback waits for another rollout",
	"a rollback goes to where another tool was met",
	"a rollback forgets what is unknown",
	"a rollback leaves alone what is unknown",
	"a rollback begins that was planned long ago",
	"a tenant that ends its workers is tried for ever",
}

// amid are the faults among which a defect shows soon, where it would be long
// in showing among all of them.
var amid = map[string]faults{
	"a batch keeps its epoch":                               sleepers,
	"a tenant lets older epochs in":                         sleepers,
	"what is unknown is read, and nobody is shut out":       sleepers,
	"a deferred target waits for a clock that was put back": {kills: true, freezes: true, lostAnswers: true, lostJobs: true, clock: true, crowds: true, operators: true, haste: true},
	"a result is stored twice":                              {kills: true, lostAnswers: true, cuts: true, lives: true, operators: true, poison: true},
	"a retry takes what another rollout moved on":           {operators: true, refusals: true, haste: true},
	"a rollback goes to where another tool was met":         {lostAnswers: true, locks: true, lives: true, tools: true},
	"a rollback waits for another rollout":                  {drains: true, lostAnswers: true, clock: true, refusals: true, operators: true},
	"a rollback begins that was planned long ago":           {operators: true, refusals: true, haste: true},
}

// sleepers wake up when somebody else has long had their batch.
var sleepers = faults{freezes: true, lostAnswers: true, lostJobs: true, clock: true, tools: true}

// TestSimulationFindsEveryDefect shows that the simulation can fail: each
// defect breaks a promise that it checks.
func TestSimulationFindsEveryDefect(t *testing.T) {
	t.Parallel()
	for _, defect := range defects {
		t.Run(defect, func(t *testing.T) {
			t.Parallel()
			h := hunt(20_000, defect)
			if h.wrong == "" {
				t.Fatal("nobody notices")
			}
			t.Logf("%s: seed %d: %s", defect, h.bad, h.wrong)
		})
	}
}
