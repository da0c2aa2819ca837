package rollout

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/controlplane/work"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/batch"
	"github.com/manorhq/manor/ent/tenant"
)

// Workers returns the processes that work on this catalog, by id, and what each
// does now: also those that have fallen silent with something in hand.
func (s *Service) Workers(ctx context.Context, by controlplane.Actor) ([]controlplane.Worker, error) {
	if err := s.guard.See(by, "worker.list", ""); err != nil {
		return nil, err
	}
	batches, err := s.cat.Ent().Batch.Query().Where(batch.State(batchRunning)).Order(batch.ByID()).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the batches at work: %w", err)
	}
	homes, err := s.cat.Ent().Tenant.Query().Where(tenant.Settled(false), tenant.WorkerNEQ("")).Order(tenant.BySlug()).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the homes at work: %w", err)
	}
	names, err := fleet.ClusterNames(ctx, s.cat.Ent())
	if err != nil {
		return nil, err
	}
	processes, err := work.Processes(ctx, s.cat) // after the batches, so that who begins meanwhile is on the list
	if err != nil {
		return nil, err
	}
	return workers(processes, batches, homes, names), nil
}

// workers puts together who works on what. A holder of a batch that is on the
// list no more was last heard of when it renewed its lease.
func workers(processes []work.Seen, batches []*ent.Batch, homes []*ent.Tenant, clusters map[string]string) []controlplane.Worker {
	list := make([]controlplane.Worker, 0, len(processes))
	known := map[string]int{}
	for _, p := range processes {
		if p.Works {
			known[p.ID] = len(list)
			list = append(list, controlplane.Worker{ID: p.ID, Version: p.Version, StartedAt: p.StartedAt, SeenAt: p.SeenAt,
				Silent: p.Silence > controlplane.WorkerSilence, Batches: []controlplane.WorkerBatch{}, Homes: []controlplane.InHand{}})
		}
	}
	for _, b := range batches {
		at, ok := known[b.Worker]
		if !ok {
			at = len(list)
			known[b.Worker] = at
			list = append(list, controlplane.Worker{ID: b.Worker, StartedAt: moment(b.LeasedAt), SeenAt: moment(b.LeaseUntil).Add(-leaseTime), Silent: true, Homes: []controlplane.InHand{}})
		}
		list[at].Batches = append(list[at].Batches, controlplane.WorkerBatch{Rollout: b.RolloutID, Batch: b.Number,
			Cluster: cmp.Or(clusters[b.ClusterID], b.ClusterID), Since: moment(b.LeasedAt), Targets: b.Size, Done: b.Finished, InHand: b.InHand})
	}
	for _, t := range homes {
		if at, ok := known[t.Worker]; ok { // or it is dead, and the others are about to see
			list[at].Homes = append(list[at].Homes, controlplane.InHand{Tenant: t.Slug, Since: moment(t.TakenAt)})
		}
	}
	slices.SortFunc(list, func(a, b controlplane.Worker) int { return strings.Compare(a.ID, b.ID) })
	return list
}

func moment(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}
