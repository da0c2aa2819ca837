package rollout

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/manorhq/manor/controlplane"
)

// TestPlanBatches checks that every target is in exactly one batch, that no
// batch is too large, mixes clusters or mixes a shared database with anything
// else, and that clusters take turns.
func TestPlanBatches(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 60).Draw(t, "targets")
		clusters := rapid.IntRange(1, 4).Draw(t, "clusters")
		size := rapid.IntRange(1, 9).Draw(t, "size")
		targets := make([]waiter, n)
		for i := range targets {
			at := fmt.Sprint(rapid.IntRange(1, clusters).Draw(t, "cluster"))
			database := rapid.IntRange(0, 2).Draw(t, "database") // 0: its own
			targets[i] = waiter{ID: i, Slug: fmt.Sprintf("t%02d", n-i), ClusterID: at, DatabaseID: fmt.Sprint(at, "-", database), Shared: database > 0,
				Suspicion: max(0, rapid.IntRange(-9, 3).Draw(t, "suspicion"))}
			if database == 0 {
				targets[i].DatabaseID += fmt.Sprint("-", i)
			}
		}
		seen := map[int]bool{}
		batches := planBatches(targets, size)
		for _, b := range batches {
			if len(b.Targets) == 0 || len(b.Targets) > size {
				t.Fatalf("batch %+v of size %d", b, size)
			}
			for _, id := range b.Targets {
				if seen[id] || targets[id].ClusterID != b.ClusterID || targets[id].shared() != b.DatabaseID {
					t.Fatalf("target %+v is in batch %+v, or in two", targets[id], b)
				}
				if targets[id].Suspicion > 0 && len(b.Targets) > 1 {
					t.Fatalf("the suspect %+v is in batch %+v, not alone", targets[id], b)
				}
				seen[id] = true
			}
		}
		if len(seen) != n {
			t.Fatalf("%d of %d targets are in batches", len(seen), n)
		}
		takeTurns(t, batches)
	})
}

// takeTurns checks that no cluster has two batches more before another that is
// not done has its next.
func takeTurns(t *rapid.T, batches []batchPlan) {
	left := map[string]int{}
	for _, b := range batches {
		left[b.ClusterID]++
	}
	had := map[string]int{}
	for _, b := range batches {
		for cluster, more := range left {
			if more > had[cluster] && had[b.ClusterID] > had[cluster] {
				t.Fatalf("cluster %s has turn %d before cluster %s has had %d", b.ClusterID, had[b.ClusterID]+1, cluster, had[cluster]+1)
			}
		}
		had[b.ClusterID]++
	}
}

func TestBatchesOfASharedDatabaseHoldNobodyElse(t *testing.T) {
	t.Parallel()
	got := planBatches([]waiter{
		{ID: 1, Slug: "a", ClusterID: "east", DatabaseID: "own-1"}, {ID: 2, Slug: "b", ClusterID: "east", DatabaseID: "own-2"},
		{ID: 3, Slug: "c", ClusterID: "east", DatabaseID: "shared-1", Shared: true}, {ID: 4, Slug: "d", ClusterID: "east", DatabaseID: "shared-1", Shared: true},
		{ID: 5, Slug: "e", ClusterID: "east", DatabaseID: "shared-2", Shared: true}, {ID: 6, Slug: "f", ClusterID: "west", DatabaseID: "shared-3", Shared: true},
	}, 10)
	want := []batchPlan{
		{ClusterID: "east", Targets: []int{1, 2}}, {ClusterID: "west", DatabaseID: "shared-3", Targets: []int{6}},
		{ClusterID: "east", DatabaseID: "shared-1", Targets: []int{3, 4}}, {ClusterID: "east", DatabaseID: "shared-2", Targets: []int{5}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSuspectIsTriedAloneAndLast(t *testing.T) {
	t.Parallel()
	got := planBatches([]waiter{
		{ID: 1, Slug: "a", ClusterID: "east", DatabaseID: "shared", Shared: true, Suspicion: 2}, {ID: 2, Slug: "b", ClusterID: "east", DatabaseID: "shared", Shared: true, Suspicion: 1},
		{ID: 3, Slug: "c", ClusterID: "east", DatabaseID: "shared", Shared: true, Suspicion: 3}, {ID: 4, Slug: "d", ClusterID: "east", DatabaseID: "shared", Shared: true},
	}, 10)
	want := []batchPlan{
		{ClusterID: "east", DatabaseID: "shared", Targets: []int{4}}, {ClusterID: "east", DatabaseID: "shared", Targets: []int{2}},
		{ClusterID: "east", DatabaseID: "shared", Targets: []int{1}}, {ClusterID: "east", DatabaseID: "shared", Targets: []int{3}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tenant controlplane.Tenant
		want   controlplane.TargetStatus
	}{
		"behind":       {controlplane.Tenant{State: controlplane.TenantActive, Version: "1"}, controlplane.TargetPending},
		"empty":        {controlplane.Tenant{State: controlplane.TenantActive}, controlplane.TargetPending},
		"there":        {controlplane.Tenant{State: controlplane.TenantActive, Version: "2"}, controlplane.TargetCurrent},
		"beyond":       {controlplane.Tenant{State: controlplane.TenantActive, Version: "3"}, controlplane.TargetSkipped},
		"suspended":    {controlplane.Tenant{State: controlplane.TenantSuspended, Version: "1"}, controlplane.TargetPending},
		"provisioning": {controlplane.Tenant{State: controlplane.TenantProvisioning}, controlplane.TargetDeferred},
		"deleting":     {controlplane.Tenant{State: controlplane.TenantDeleting, Version: "1"}, controlplane.TargetSkipped},
	} {
		status, reason := classify(&c.tenant, "2")
		silent := status == controlplane.TargetPending || status == controlplane.TargetCurrent
		if status != c.want || silent != (reason == "") {
			t.Errorf("%s: %s (%s), not %s", name, status, reason, c.want)
		}
	}
}
