package rollout

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/ent"
	entplan "github.com/manorhq/manor/ent/plan"
)

// Plan says what a rollout would do, and changes nothing. With n.Keep the plan
// gets an id by which it can be started later, if the fleet has not moved.
func (s *Service) Plan(ctx context.Context, by controlplane.Actor, n controlplane.NewRollout) (*controlplane.RolloutPlan, error) {
	if err := s.guard.See(by, "rollout.plan", n.Release); err != nil {
		return nil, err
	}
	if err := noClones(n); err != nil {
		return nil, err
	}
	r, targets, err := s.prepare(ctx, s.cat.Ent(), &n)
	if err != nil {
		return nil, err
	}
	if err := copyable(n, targets); err != nil {
		return nil, err
	}
	if err := s.ready(ctx, r, targets); err != nil {
		return nil, err
	}
	plan := describe(r, n, targets)
	if plan.Snapshots, err = s.snapshotsOf(ctx, n, targets); err != nil {
		return nil, err
	}
	if plan.ToChange() > 0 {
		if plan.Warnings, err = s.releases.Warnings(ctx, r.ID, lowestOf(targets, n.Version), n.Version); err != nil {
			return nil, err
		}
	}
	if !n.Keep {
		return plan, nil
	}
	if !n.NoRehearsal {
		if err := s.rehearse(ctx, r, n, targets, plan); err != nil {
			return nil, err
		}
		if err := s.onClones(ctx, by, r, n, targets, plan); err != nil {
			return nil, err
		}
	}
	return plan, s.keepPlan(ctx, by, n, plan, targets)
}

// lowestOf is the lowest version that a tenant to be changed is at.
func lowestOf(targets []frozen, version string) string {
	for _, t := range targets {
		if !t.status.Done() && t.tenant.State != controlplane.TenantProvisioning { // it will start where new ones do
			version = min(version, t.tenant.Version)
		}
	}
	return version
}

// rehearse adds to a plan what is seen when its versions run in a scratch
// database: on a cluster of each major version of PostgreSQL, from each version
// that tenants there are at.
func (s *Service) rehearse(ctx context.Context, r *controlplane.Release, n controlplane.NewRollout, targets []frozen, plan *controlplane.RolloutPlan) error {
	clusters, err := s.fleet.Clusters(ctx)
	if err != nil {
		return err
	}
	type scene struct {
		major int
		from  string
	}
	def, err := s.releases.Default(ctx)
	if err != nil {
		return err
	}
	on := map[scene]*controlplane.Cluster{}
	for _, t := range targets {
		i := slices.IndexFunc(clusters, func(c controlplane.Cluster) bool { return c.ID == t.tenant.Placement.ClusterID })
		from := t.tenant.Version
		if t.tenant.State == controlplane.TenantProvisioning {
			from = def.Version
		}
		if t.status.Done() || i < 0 || from >= n.Version {
			continue
		}
		on[scene{clusters[i].Version / 10000, from}] = &clusters[i]
	}
	scenes := slices.SortedFunc(maps.Keys(on), func(a, b scene) int { return cmp.Or(cmp.Compare(a.major, b.major), cmp.Compare(a.from, b.from)) })
	for _, at := range scenes {
		seen, err := s.releases.Rehearsed(ctx, r, controlplane.RehearsalRequest{From: at.from, To: n.Version}, on[at])
		if err != nil {
			return err
		}
		plan.Rehearsals = append(plan.Rehearsals, *seen)
		for _, v := range seen.Versions {
			if i := slices.IndexFunc(plan.Versions, func(p controlplane.Version) bool { return p.Version == v.Version }); i >= 0 && plan.Versions[i].Down == controlplane.DownUnknown {
				plan.Versions[i].Down = v.Down
			}
		}
	}
	return s.estimate(ctx, r, n, plan)
}

// estimate says about how long each wave takes: by what tenants took that went
// to this version before or, if there are none, by the rehearsal.
func (s *Service) estimate(ctx context.Context, r *controlplane.Release, n controlplane.NewRollout, plan *controlplane.RolloutPlan) error {
	var each float64 // ms
	err := s.cat.Pool().QueryRow(ctx, `SELECT coalesce(avg(t.duration_ms), 0)::float8 FROM targets t JOIN rollouts o ON o.id = t.rollout_id
		WHERE o.release_id = $1 AND o.version = $2 AND t.status = 'succeeded'`, r.ID, n.Version).Scan(&each)
	if err != nil {
		return fmt.Errorf("read what release %s took before: %w", r.Name, err)
	}
	if each == 0 {
		for _, seen := range plan.Rehearsals {
			sum := 0.0
			for _, v := range seen.Versions {
				for _, st := range v.Statements {
					sum += float64(st.DurationMS)
				}
			}
			each = max(each, sum, 1)
		}
	}
	for i := range plan.Waves {
		w := &plan.Waves[i]
		atOnce := min(n.Concurrency, w.Tenants)
		if n.PerCluster > 0 {
			atOnce = min(atOnce, n.PerCluster*len(w.Clusters))
		}
		w.TakesMS = int64(float64(w.Tenants) * each / float64(max(1, atOnce)))
	}
	return nil
}

// planLife is for how long a plan can be started.
const planLife = 30 * 24 * time.Hour

func (s *Service) keepPlan(ctx context.Context, by controlplane.Actor, n controlplane.NewRollout, plan *controlplane.RolloutPlan, targets []frozen) error {
	plan.ID = "p_" + pg.NewName("")[:8]
	n.Keep = false
	return s.cat.InTx(ctx, func(tx *catalog.Tx) error {
		if err := s.guard.Permit(ctx, tx, by, "rollout.plan", plan.ID, n); err != nil {
			return err
		}
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		if _, err := tx.Plan.Delete().Where(entplan.CreatedAtLT(now.Add(-planLife))).Exec(ctx); err != nil {
			return fmt.Errorf("drop old plans: %w", err)
		}
		err = tx.Plan.Create().SetID(plan.ID).SetRequest(n).SetPlan(*plan).SetFleet(fleetHash(targets)).SetCreatedBy(by.String()).Exec(ctx)
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
	if *n != (controlplane.NewRollout{Plan: n.Plan, AllowUnproved: n.AllowUnproved}) {
		return nil, controlplane.Errorf(controlplane.Invalid, "a plan says itself what is to be rolled out, and how").
			WithHint("leave everything but --plan and --allow-unproved out")
	}
	kept, err := s.cat.Ent().Plan.Get(ctx, n.Plan)
	if ent.IsNotFound(err) {
		return nil, controlplane.Errorf(controlplane.NotFound, "there is no plan %s", n.Plan).WithHint("`manor rollout plan` makes one; it is kept for 30 days")
	}
	if err != nil {
		return nil, fmt.Errorf("read plan %s: %w", n.Plan, err)
	}
	if err := provedIn(&kept.Plan, n.AllowUnproved); err != nil {
		return nil, err
	}
	id, allow := n.Plan, n.AllowUnproved
	*n = kept.Request
	n.Plan, n.AllowUnproved = id, allow
	return kept, nil
}

// proved refuses a rollout without a kept plan whose way back is not proved:
// that is rehearsed now, as far as it was not before.
func (s *Service) proved(ctx context.Context, r *controlplane.Release, n controlplane.NewRollout, targets []frozen) error {
	plan := describe(r, n, targets)
	if n.AllowUnproved || plan.ToChange() == 0 {
		return nil
	}
	if err := s.rehearse(ctx, r, n, targets, plan); err != nil {
		return err
	}
	return provedIn(plan, false)
}

// provedIn refuses a plan in which the way back is not proved, unless that is
// allowed.
func provedIn(plan *controlplane.RolloutPlan, allowed bool) error {
	unproved := plan.Unproved()
	if allowed || len(unproved) == 0 {
		return nil
	}
	return controlplane.Errorf(controlplane.Refused, "the way back is not proved of %s", strings.Join(unproved, "; ")).
		WithHint("write a down file that brings the data back, or start it with --allow-unproved; `manor rollout plan` shows what was seen")
}

// stillProved refuses tenants at versions that were not rehearsed, which have
// come into the selection since.
func stillProved(before, now []frozen, n controlplane.NewRollout) error {
	if n.AllowUnproved || n.Plan != "" || lowestOf(now, n.Version) >= lowestOf(before, n.Version) {
		return nil
	}
	return controlplane.Errorf(controlplane.Conflict, "a tenant at version %q came into the selection while the rollout was rehearsed", lowestOf(now, n.Version)).
		WithHint("try again")
}

// stillPlanned refuses a plan of a fleet that has moved since.
func stillPlanned(kept *ent.Plan, r *controlplane.Release, n controlplane.NewRollout, targets []frozen) error {
	if kept == nil || kept.Fleet == fleetHash(targets) {
		return nil
	}
	was, now := kept.Plan, describe(r, n, targets)
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
	waves := make([][]frozen, len(n.Strategy.Waves))
	for _, t := range targets {
		switch t.status {
		case controlplane.TargetCurrent:
			plan.Current++
		case controlplane.TargetSkipped:
			plan.Skipped = append(plan.Skipped, controlplane.TenantResult{Slug: t.tenant.Slug,
				Error: controlplane.Errorf(controlplane.Refused, "%s", t.reason)})
		default:
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
	plan.Versions = append(plan.Versions, between(r, lowestOf(targets, n.Version), n.Version)...)
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
