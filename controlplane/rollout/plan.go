package rollout

import (
	"cmp"
	"slices"

	"github.com/manorhq/manor/controlplane"
)

// maxParallelism is how many tenants of a batch are worked on at a time. More
// than a few sessions on one database wait for each other's flushes.
const maxParallelism = 4

// waiter is a target that waits to be put into a batch.
type waiter struct {
	ID         int
	Slug       string
	ClusterID  string
	DatabaseID string
}

// batchPlan is a batch to be: targets of one cluster, neighbours in a database
// together, so that connections are reused.
type batchPlan struct {
	ClusterID   string
	Targets     []int
	Parallelism int
}

// planBatches cuts targets into batches of at most size tenants. Clusters take
// turns, so that no cluster waits for another's last batch.
func planBatches(targets []waiter, size, concurrency int) []batchPlan {
	targets = slices.Clone(targets)
	slices.SortFunc(targets, func(a, b waiter) int {
		return cmp.Or(cmp.Compare(a.ClusterID, b.ClusterID), cmp.Compare(a.DatabaseID, b.DatabaseID), cmp.Compare(a.Slug, b.Slug))
	})
	perCluster := map[string][]batchPlan{}
	var order []string
	for _, t := range targets {
		batches := perCluster[t.ClusterID]
		if len(batches) == 0 {
			order = append(order, t.ClusterID)
		}
		if len(batches) == 0 || len(batches[len(batches)-1].Targets) == size {
			batches = append(batches, batchPlan{ClusterID: t.ClusterID})
		}
		last := &batches[len(batches)-1]
		last.Targets = append(last.Targets, t.ID)
		last.Parallelism = min(maxParallelism, concurrency, len(last.Targets))
		perCluster[t.ClusterID] = batches
	}
	var plan []batchPlan
	for round := 0; len(plan) < total(perCluster); round++ {
		for _, cluster := range order {
			if round < len(perCluster[cluster]) {
				plan = append(plan, perCluster[cluster][round])
			}
		}
	}
	return plan
}

func total(perCluster map[string][]batchPlan) int {
	n := 0
	for _, batches := range perCluster {
		n += len(batches)
	}
	return n
}

// classify says how a selected tenant enters a rollout to a version.
func classify(t *controlplane.Tenant, version string) (controlplane.TargetStatus, string) {
	switch {
	case !t.State.Migratable():
		return controlplane.TargetSkipped, "it is " + string(t.State)
	case t.Version == version:
		return controlplane.TargetCurrent, ""
	case t.Version > version:
		return controlplane.TargetSkipped, "it is at " + t.Version + ", beyond the rollout's version"
	}
	return controlplane.TargetPending, ""
}

// hasHome reports whether a tenant can be selected by a rollout at all.
func hasHome(t *controlplane.Tenant) bool {
	return t.State.Migratable() || t.State == controlplane.TenantProvisioning
}

// between lists the versions of a release after from up to and with to.
func between(r *controlplane.Release, from, to string) []controlplane.Version {
	var versions []controlplane.Version
	for _, v := range r.Versions {
		if v.Version > from && v.Version <= to {
			versions = append(versions, v)
		}
	}
	return versions
}
