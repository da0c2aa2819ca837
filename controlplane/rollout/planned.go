package rollout

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/ent"
)

// Plan says what a rollout would do, and changes nothing. With n.Keep the plan
// gets an id by which it can be started later, if the fleet has not moved.
func (s *Service) Plan(ctx context.Context, by controlplane.Actor, n controlplane.NewRollout) (*controlplane.RolloutPlan, error) {
	if err := s.guard.See(by, "rollout.plan", n.Release); err != nil {
		return nil, err
	}
	r, targets, err := s.prepare(ctx, s.cat.Ent(), &n)
	if err != nil {
		return nil, err
	}
	if err := s.ready(ctx, r, targets); err != nil {
		return nil, err
	}
	plan := describe(r, n, targets)
	if !n.Keep {
		return plan, nil
	}
	return plan, s.keepPlan(ctx, by, n, plan, targets)
}

func (s *Service) keepPlan(ctx context.Context, by controlplane.Actor, n controlplane.NewRollout, plan *controlplane.RolloutPlan, targets []frozen) error {
	plan.ID = "p_" + pg.NewName("")[:8]
	n.Keep = false
	return s.cat.InTx(ctx, func(tx *catalog.Tx) error {
		if err := s.guard.Permit(ctx, tx, by, "rollout.plan", plan.ID, n); err != nil {
			return err
		}
		err := tx.Plan.Create().SetID(plan.ID).SetRequest(n).SetPlan(*plan).SetFleet(fleetHash(targets)).SetCreatedBy(by.String()).Exec(ctx)
		if err != nil {
			return fmt.Errorf("store plan %s: %w", plan.ID, err)
		}
		return nil
	})
}

// usePlan puts what a kept plan was asked for in place of its id, and returns
// the plan; nil where none is named.
func (s *Service) usePlan(ctx context.Context, n *controlplane.NewRollout) (*ent.Plan, error) {
	if n.Plan == "" {
		return nil, nil
	}
	if n.Release != "" {
		return nil, controlplane.Errorf(controlplane.Invalid, "a plan says itself what is to be rolled out").WithHint("leave everything but --plan out")
	}
	kept, err := s.cat.Ent().Plan.Get(ctx, n.Plan)
	if ent.IsNotFound(err) {
		return nil, controlplane.Errorf(controlplane.NotFound, "there is no plan %s", n.Plan).WithHint("`manor rollout plan` makes one")
	}
	if err != nil {
		return nil, fmt.Errorf("read plan %s: %w", n.Plan, err)
	}
	id := n.Plan
	*n = kept.Request
	n.Plan = id
	return kept, nil
}

// stillPlanned refuses a plan of a fleet that has moved since.
func stillPlanned(kept *ent.Plan, now *controlplane.RolloutPlan, targets []frozen) error {
	if kept == nil || kept.Fleet == fleetHash(targets) {
		return nil
	}
	was := kept.Plan
	what := fmt.Sprintf("%d of %d tenants were to change, now %d of %d", was.ToChange(), was.Tenants, now.ToChange(), now.Tenants)
	if was.Tenants == now.Tenants && was.ToChange() == now.ToChange() {
		what = "tenants have other versions, clusters or waves than then"
	}
	return controlplane.Errorf(controlplane.Conflict, "the fleet has moved since plan %s was made: %s", kept.ID, what).
		WithHint("make a new one with `manor rollout plan`, and look at it")
}

// fleetHash changes with the tenants of a selection, and with where they are and
// in which wave.
func fleetHash(targets []frozen) string {
	targets = slices.Clone(targets)
	slices.SortFunc(targets, func(a, b frozen) int { return cmp.Compare(a.tenant.ID, b.tenant.ID) })
	h := sha256.New()
	for _, t := range targets {
		fmt.Fprintln(h, t.tenant.ID, t.tenant.Version, t.status, t.tenant.Placement.DatabaseID, t.tenant.Placement.Generation, t.place.wave)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// describe is the plan of a rollout over a frozen selection.
func describe(r *controlplane.Release, n controlplane.NewRollout, targets []frozen) *controlplane.RolloutPlan {
	plan := &controlplane.RolloutPlan{Release: r.Name, Version: n.Version, Strategy: *n.Strategy, Tenants: len(targets),
		From: map[string]int{}, Clusters: map[string]int{}, Versions: []controlplane.Version{}, Skipped: []controlplane.TenantResult{}}
	lowest := n.Version
	waves := make([][]frozen, len(n.Strategy.Waves))
	for _, t := range targets {
		switch t.status {
		case controlplane.TargetCurrent:
			plan.Current++
		case controlplane.TargetSkipped:
			plan.Skipped = append(plan.Skipped, controlplane.TenantResult{Slug: t.tenant.Slug,
				Error: controlplane.Errorf(controlplane.Refused, "%s", t.reason)})
		default:
			lowest = min(lowest, t.tenant.Version)
			waves[t.place.wave-1] = append(waves[t.place.wave-1], t)
		}
		plan.From[t.tenant.Version]++
		plan.Clusters[t.tenant.Cluster]++
	}
	for i, w := range n.Strategy.Waves {
		planned, batches := describeWave(w, waves[i], n.BatchSize)
		plan.Waves = append(plan.Waves, planned)
		plan.Batches += batches
	}
	plan.Versions = append(plan.Versions, between(r, lowest, n.Version)...)
	return plan
}

// shown is how many tenants of a wave a plan names.
const shown = 5

func describeWave(w controlplane.Wave, targets []frozen, batchSize int) (planned controlplane.PlannedWave, batches int) {
	planned = controlplane.PlannedWave{Name: w.Name, Tenants: len(targets), Clusters: map[string]int{}, First: []string{}, Soak: w.Soak}
	slices.SortFunc(targets, func(a, b frozen) int {
		return cmp.Or(cmp.Compare(a.place.rank, b.place.rank), cmp.Compare(a.tenant.Slug, b.tenant.Slug))
	})
	waiters := make([]waiter, len(targets))
	for i, t := range targets {
		planned.Clusters[t.tenant.Cluster]++
		if i < shown {
			planned.First = append(planned.First, t.tenant.Slug)
		}
		waiters[i] = waiter{ID: i, Slug: t.tenant.Slug, ClusterID: t.tenant.Placement.ClusterID, DatabaseID: t.tenant.Placement.DatabaseID,
			Rank: t.place.rank, Window: t.place.window, Shared: t.tenant.Isolation == controlplane.IsolationSchema}
	}
	return planned, len(planBatches(waiters, batchSize))
}
