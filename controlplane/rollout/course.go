package rollout

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/batch"
	"github.com/manorhq/manor/ent/target"
)

// longestInHand is how many of the tenants in hand Show names.
const longestInHand = 5

// detail adds to an unfinished rollout how it goes on each cluster, and what
// it has been working on for longest.
func (s *Service) detail(ctx context.Context, r *controlplane.Rollout) error {
	open, err := s.openByCluster(ctx, r.ID)
	if err != nil {
		return err
	}
	courses, err := fleet.Courses(ctx, s.cat.Ent())
	if err != nil {
		return err
	}
	batches, err := s.cat.Ent().Batch.Query().Where(batch.StateIn(batchQueued, batchRunning)).All(ctx)
	if err != nil {
		return fmt.Errorf("read what is at work: %w", err)
	}
	r.Clusters = flows(open, courses, batches)
	for _, b := range batches {
		if b.RolloutID == r.ID {
			r.InHand = append(r.InHand, b.InHand...)
		}
	}
	slices.SortFunc(r.InHand, func(a, b controlplane.InHand) int { return a.Since.Compare(b.Since) })
	r.InHand = r.InHand[:min(longestInHand, len(r.InHand))]
	return nil
}

// flows says how much is worked on at a time on the clusters that have open
// targets. It is a pure function.
func flows(open map[string]int, courses map[string]fleet.Course, batches []*ent.Batch) []controlplane.RolloutFlow {
	atWork := map[string]int{}
	for _, b := range batches {
		atWork[b.ClusterID] += b.Parallelism
	}
	var list []controlplane.RolloutFlow
	for id, n := range open {
		list = append(list, controlplane.RolloutFlow{Cluster: courses[id].Name, Open: n, AtWork: atWork[id], Flow: courses[id].Flow})
	}
	slices.SortFunc(list, func(a, b controlplane.RolloutFlow) int { return cmp.Compare(a.Cluster, b.Cluster) })
	return list
}

// openByCluster counts the unfinished targets of a rollout by cluster.
func (s *Service) openByCluster(ctx context.Context, id string) (map[string]int, error) {
	var rows []struct {
		ClusterID string `json:"cluster_id"`
		Count     int    `json:"count"`
	}
	err := s.cat.Ent().Target.Query().Where(target.RolloutID(id), target.StatusIn(controlplane.UnfinishedStatuses...)).
		GroupBy(target.FieldClusterID).Aggregate(ent.Count()).Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("count what is open of rollout %s: %w", id, err)
	}
	open := make(map[string]int, len(rows))
	for _, r := range rows {
		open[r.ClusterID] = r.Count
	}
	return open, nil
}
