package rollout

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/manorhq/manor/controlplane"
)

// TestPlanBatches checks that every target is in exactly one batch, that no
// batch mixes clusters or is too large, and that clusters take turns.
func TestPlanBatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 60).Draw(t, "targets")
		clusters := rapid.IntRange(1, 4).Draw(t, "clusters")
		size := rapid.IntRange(1, 9).Draw(t, "size")
		targets := make([]waiter, n)
		at := map[int]string{}
		for i := range targets {
			at[i] = fmt.Sprint(rapid.IntRange(1, clusters).Draw(t, "cluster"))
			targets[i] = waiter{ID: i, Slug: fmt.Sprintf("t%02d", n-i), ClusterID: at[i], DatabaseID: at[i]}
		}
		seen := map[int]bool{}
		batches := planBatches(targets, size, 8)
		for _, b := range batches {
			if len(b.Targets) == 0 || len(b.Targets) > size || b.Parallelism < 1 || b.Parallelism > len(b.Targets) {
				t.Fatalf("batch %+v of size %d", b, size)
			}
			for _, id := range b.Targets {
				if seen[id] || at[id] != b.ClusterID {
					t.Fatalf("target %d twice or in the wrong cluster", id)
				}
				seen[id] = true
			}
		}
		if len(seen) != n {
			t.Fatalf("%d of %d targets are in batches", len(seen), n)
		}
		used := map[string]bool{}
		for _, b := range batches { // each cluster's first batch comes before any cluster's second
			if used[b.ClusterID] && len(used) < distinct(at) {
				t.Fatalf("cluster %s had its second turn before others had their first", b.ClusterID)
			}
			used[b.ClusterID] = true
		}
	})
}

func distinct(at map[int]string) int {
	clusters := map[string]bool{}
	for _, c := range at {
		clusters[c] = true
	}
	return len(clusters)
}

func TestClassify(t *testing.T) {
	for name, c := range map[string]struct {
		tenant controlplane.Tenant
		want   controlplane.TargetStatus
	}{
		"behind":       {controlplane.Tenant{State: controlplane.TenantActive, Version: "1"}, controlplane.TargetPending},
		"empty":        {controlplane.Tenant{State: controlplane.TenantActive}, controlplane.TargetPending},
		"there":        {controlplane.Tenant{State: controlplane.TenantActive, Version: "2"}, controlplane.TargetCurrent},
		"beyond":       {controlplane.Tenant{State: controlplane.TenantActive, Version: "3"}, controlplane.TargetSkipped},
		"suspended":    {controlplane.Tenant{State: controlplane.TenantSuspended, Version: "1"}, controlplane.TargetPending},
		"provisioning": {controlplane.Tenant{State: controlplane.TenantProvisioning}, controlplane.TargetSkipped},
	} {
		status, reason := classify(&c.tenant, "2")
		if status != c.want || (status == controlplane.TargetSkipped) != (reason != "") {
			t.Errorf("%s: %s (%s), not %s", name, status, reason, c.want)
		}
	}
}
