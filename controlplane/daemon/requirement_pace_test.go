package daemon_test

import (
	"strings"
	"testing"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
)

// flowIn is the flow of cluster "one" as a rollout shows it.
func flowIn(r *controlplane.Rollout) controlplane.Flow {
	if len(r.Clusters) == 0 {
		return controlplane.Flow{}
	}
	return r.Clusters[0].Flow
}

// TestPaceOfAClusterHalvesWhileTenantsWaitForLocksAndRisesAgain, and the rollout
// says so.
func TestPaceOfAClusterHalvesWhileTenantsWaitForLocksAndRisesAgain(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, controlplanetest.Slugs("acme", 40)...)
	p.Push("v2", alters())
	var letGo []func()
	for _, slug := range controlplanetest.Slugs("acme", 6) {
		_, f := holds(t, p, slug)
		letGo = append(letGo, f)
	}
	id := begin(t, p, controlplane.NewRollout{Release: "v2", Concurrency: 16, PerDatabase: 16})
	pace := 0
	until(t, p, id, "its pace is halved", func(r *controlplane.Rollout) bool {
		flow := flowIn(r)
		halved := strings.HasPrefix(flow.Reason, "halved: ") && strings.HasSuffix(flow.Reason, "waited for locks")
		pace = flow.Pace
		return halved && flow.Pace == flow.Ceiling/2
	})
	for _, f := range letGo {
		f()
	}
	ends(t, p.Rested(id), controlplane.RolloutSucceeded, controlplane.Counts{controlplane.TargetSucceeded: 40})

	files := alters()
	files["4_slow.sql"] = "SELECT pg_sleep(0.3);\n"
	p.Push("v3", files)
	id = begin(t, p, controlplane.NewRollout{Release: "v3", Concurrency: 16, PerDatabase: 16})
	until(t, p, id, "its pace rises", func(r *controlplane.Rollout) bool {
		if r.State.Resting() {
			t.Fatalf("it rests, and the pace was %d", pace)
		}
		flow := flowIn(r)
		return flow.Pace > pace && flow.Reason == "rising: nothing waits"
	})
	p.Rested(id)
}
