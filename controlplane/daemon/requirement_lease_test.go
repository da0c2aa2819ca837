package daemon_test

import (
	"slices"
	"testing"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/pgtest"
)

// TestRequirement13TenantsOfAKilledWorkerAreClaimableWithinFifteenSeconds: the
// worker that is killed was alone until then, and led in all that needs a leader.
func TestRequirement13TenantsOfAKilledWorkerAreClaimableWithinFifteenSeconds(t *testing.T) {
	t.Parallel()
	p := controlplanetest.Open(t, controlplanetest.Options{Idle: true})
	p.AddServer("one", pgtest.Server(t))
	p.Push("v1", controlplanetest.First())
	p.Working(func() {
		p.Create(controlplane.NewTenant{}, "acme")
		p.Create(controlplane.NewTenant{Isolation: controlplane.IsolationDatabase}, "globex")
	})
	p.Push("v2", waiting())
	first := p.Worker()
	goOn := []func(){wait(p, "acme"), wait(p, "globex")}
	id := begin(t, p, controlplane.NewRollout{Release: "v2"})
	until(t, p, id, "both are in hand", func(r *controlplane.Rollout) bool {
		return r.Counts[controlplane.TargetRunning] == 2 && len(r.InHand) == 2
	})
	p.Worker()
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	p.Eventually("both are put back", func() (bool, error) {
		page, err := p.Targets(t.Context(), id, controlplane.TargetQuery{})
		return !slices.ContainsFunc(page.Items, func(t controlplane.Target) bool { return t.Attempts == 0 }), err
	})
	free := time.Since(killed)
	for _, f := range goOn {
		f()
	}
	ends(t, p.Rested(id), controlplane.RolloutSucceeded, controlplane.Counts{controlplane.TargetSucceeded: 2})
	t.Logf("claimable after %s, done after %s", free, time.Since(killed))
	if free > 15*time.Second {
		t.Errorf("the tenants were claimable after %s", free)
	}
}
