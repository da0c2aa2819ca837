package rollout

import (
	"cmp"
	"slices"

	"github.com/manorhq/manor/controlplane"
)

// waiter is a target that waits to be put into a batch.
type waiter struct {
	ID         int
	Slug       string
	ClusterID  string
	DatabaseID string
	Shared     bool // other tenants live in its database, too
	Rank       int  // in the order of its wave
	Window     int  // in which it may be worked on
	Suspicion  int  // how much there is to say that it harms those that are worked on with it; 0: nothing
}

// batchPlan is a batch to be: targets of one cluster. Those of a shared
// database have batches of their own, so that the limit per database can be
// kept, and connections are reused.
type batchPlan struct {
	ClusterID  string
	DatabaseID string // the shared one; empty: every target has its own
	Window     int    // of all of them
	Targets    []int
	Rank       int // of the first
}

// planBatches cuts targets into batches of at most size tenants. Clusters take
// turns, so that no cluster waits for another's last batch; of each, those come
// first whose rank is lowest. A suspect comes after the others, alone: it takes
// nobody with it.
func planBatches(targets []waiter, size int) []batchPlan {
	targets = slices.Clone(targets)
	slices.SortFunc(targets, func(a, b waiter) int {
		return cmp.Or(cmp.Compare(a.ClusterID, b.ClusterID), cmp.Compare(a.shared(), b.shared()), cmp.Compare(a.Window, b.Window),
			cmp.Compare(a.Suspicion, b.Suspicion), cmp.Compare(a.Rank, b.Rank), cmp.Compare(a.Slug, b.Slug))
	})
	perCluster := map[string][]batchPlan{}
	var order []string
	for _, t := range targets {
		batches := perCluster[t.ClusterID]
		if len(batches) == 0 {
			order = append(order, t.ClusterID)
		}
		if n := len(batches); n == 0 || len(batches[n-1].Targets) == size || batches[n-1].DatabaseID != t.shared() || batches[n-1].Window != t.Window || t.Suspicion > 0 {
			batches = append(batches, batchPlan{ClusterID: t.ClusterID, DatabaseID: t.shared(), Window: t.Window, Rank: t.Rank})
		}
		last := &batches[len(batches)-1]
		last.Targets = append(last.Targets, t.ID)
		perCluster[t.ClusterID] = batches
	}
	for _, batches := range perCluster {
		slices.SortStableFunc(batches, func(a, b batchPlan) int { return cmp.Compare(a.Rank, b.Rank) })
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

// shared is the database that a target shares with others, or empty.
func (w waiter) shared() string {
	if w.Shared {
		return w.DatabaseID
	}
	return ""
}

// suspicion is how much there is to say that a target ends its workers, as one
// that uses up their memory does, or stops its cluster with trouble of its own:
// it was at hand when more than one worker was lost, or met what may be its own.
func suspicion(status controlplane.TargetStatus, attempts int, failure *controlplane.Failure) int {
	switch {
	case status == controlplane.TargetUnknown && attempts > 1:
		return attempts
	case mayBeItsOwn(failure):
		return attempts + 1
	}
	return 0
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
	case t.State == controlplane.TenantProvisioning:
		return controlplane.TargetDeferred, "its home is being made"
	case !t.State.Migratable():
		return controlplane.TargetSkipped, "it is " + string(t.State)
	case t.Version == version:
		return controlplane.TargetCurrent, ""
	case t.Pin != nil:
		return controlplane.TargetSkipped, "it is pinned: " + t.Pin.String()
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
