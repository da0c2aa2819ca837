package api

import (
	"context"

	"github.com/manorhq/manor/controlplane"
)

func (s *server) addCluster(ctx context.Context, by controlplane.Actor, in *body[controlplane.NewCluster]) (*controlplane.Cluster, error) {
	return s.Fleet.Add(ctx, by, in.Body)
}

func (s *server) listClusters(ctx context.Context, by controlplane.Actor, _ *none) (controlplane.Page[controlplane.Cluster], error) {
	return list(s.Fleet.List(ctx, by))
}

func (s *server) showCluster(ctx context.Context, by controlplane.Actor, in *named) (*controlplane.Cluster, error) {
	return s.Fleet.Show(ctx, by, in.Name)
}

func (s *server) setCluster(ctx context.Context, by controlplane.Actor, in *namedBody[controlplane.ClusterChange]) (*controlplane.Cluster, error) {
	return s.Fleet.Set(ctx, by, in.Name, in.Body)
}

func (s *server) removeCluster(ctx context.Context, by controlplane.Actor, in *namedDryRun) error {
	return s.Fleet.Remove(ctx, by, in.Name, in.DryRun)
}

func (s *server) createTenants(ctx context.Context, by controlplane.Actor, in *body[newTenants]) (controlplane.Page[controlplane.TenantResult], error) {
	results, err := s.Tenants.Create(ctx, by, in.Body.Tenants, in.Body.DryRun)
	return list(s.masked(ctx, "create-tenants", results), err)
}

func (s *server) listTenants(ctx context.Context, by controlplane.Actor, in *tenantQuery) (controlplane.Page[controlplane.Tenant], error) {
	return full(s.Tenants.List(ctx, by, controlplane.TenantQuery(*in)))
}

func (s *server) showTenant(ctx context.Context, by controlplane.Actor, in *slugged) (*controlplane.Tenant, error) {
	return s.Tenants.Show(ctx, by, in.Slug)
}

func (s *server) setTenant(ctx context.Context, by controlplane.Actor, in *sluggedBody[controlplane.TenantChange]) (*controlplane.Tenant, error) {
	return s.Tenants.Set(ctx, by, in.Slug, in.Body)
}

func (s *server) pinTenant(ctx context.Context, by controlplane.Actor, in *sluggedBody[controlplane.PinRequest]) (*controlplane.Tenant, error) {
	return s.Tenants.Pin(ctx, by, in.Slug, in.Body)
}

func (s *server) unpinTenant(ctx context.Context, by controlplane.Actor, in *sluggedDryRun) (*controlplane.Tenant, error) {
	return s.Tenants.Unpin(ctx, by, in.Slug, in.DryRun)
}

func (s *server) suspendTenant(ctx context.Context, by controlplane.Actor, in *sluggedDryRun) (*controlplane.Tenant, error) {
	return s.Tenants.Suspend(ctx, by, in.Slug, in.DryRun)
}

func (s *server) resumeTenant(ctx context.Context, by controlplane.Actor, in *sluggedDryRun) (*controlplane.Tenant, error) {
	return s.Tenants.Resume(ctx, by, in.Slug, in.DryRun)
}

func (s *server) deleteTenant(ctx context.Context, by controlplane.Actor, in *sluggedDryRun) (*controlplane.Tenant, error) {
	return s.Tenants.Delete(ctx, by, in.Slug, in.DryRun)
}

func (s *server) purgeTenant(ctx context.Context, by controlplane.Actor, in *sluggedBody[purge]) (*controlplane.Tenant, error) {
	return s.Tenants.Purge(ctx, by, in.Slug, in.Body.Confirm, in.Body.DryRun)
}

// tenantDSN answers without the password even if the room were to give one.
func (s *server) tenantDSN(ctx context.Context, by controlplane.Actor, in *slugged) (*controlplane.DSN, error) {
	dsn, err := s.Tenants.DSN(ctx, by, in.Slug, false)
	if err != nil {
		return nil, err
	}
	bare := *dsn
	bare.Password = ""
	return &bare, nil
}

// revealTenantDSN is a POST: a secret leaves, and an audit record is written.
func (s *server) revealTenantDSN(ctx context.Context, by controlplane.Actor, in *slugged) (*controlplane.DSN, error) {
	return s.Tenants.DSN(ctx, by, in.Slug, true)
}

func (s *server) fingerprints(ctx context.Context, by controlplane.Actor, in *tenantQuery) (controlplane.Page[controlplane.FingerprintGroup], error) {
	return list(s.Tenants.Fingerprints(ctx, by, controlplane.TenantQuery(*in)))
}

func (s *server) setVersions(ctx context.Context, by controlplane.Actor, in *body[controlplane.VersionRequest]) (controlplane.Page[controlplane.VersionResult], error) {
	return list(s.Tenants.SetVersion(ctx, by, in.Body))
}

func (s *server) pushRelease(ctx context.Context, by controlplane.Actor, in *body[controlplane.NewRelease]) (*controlplane.Release, error) {
	return s.Releases.Push(ctx, by, in.Body)
}

func (s *server) listReleases(ctx context.Context, by controlplane.Actor, _ *none) (controlplane.Page[controlplane.Release], error) {
	return list(s.Releases.List(ctx, by))
}

func (s *server) showRelease(ctx context.Context, by controlplane.Actor, in *named) (*controlplane.Release, error) {
	return s.Releases.Show(ctx, by, in.Name)
}

func (s *server) setDefaultRelease(ctx context.Context, by controlplane.Actor, in *namedBody[newDefault]) (*controlplane.Release, error) {
	return s.Releases.SetDefault(ctx, by, in.Name, in.Body.Version, in.Body.DryRun)
}

func (s *server) diffRelease(ctx context.Context, by controlplane.Actor, in *body[controlplane.NewDiff]) (*controlplane.Diff, error) {
	return s.Releases.Diff(ctx, by, in.Body)
}

func (s *server) rehearseRelease(ctx context.Context, by controlplane.Actor, in *namedBody[controlplane.RehearsalRequest]) (*controlplane.Rehearsal, error) {
	return s.Releases.Rehearse(ctx, by, in.Name, in.Body)
}

func (s *server) startRollout(ctx context.Context, by controlplane.Actor, in *body[controlplane.NewRollout]) (*controlplane.Rollout, error) {
	if in.Body.DryRun {
		return nil, dryRunHere("/v1/rollouts")
	}
	return s.Rollouts.Start(ctx, by, in.Body)
}

func (s *server) planRollout(ctx context.Context, by controlplane.Actor, in *body[controlplane.NewRollout]) (*controlplane.RolloutPlan, error) {
	plan, err := s.Rollouts.Plan(ctx, by, in.Body)
	if err == nil {
		plan.Skipped = s.masked(ctx, "plan-rollout", plan.Skipped)
	}
	return plan, err
}

func (s *server) listRollouts(ctx context.Context, by controlplane.Actor, _ *none) (controlplane.Page[controlplane.Rollout], error) {
	return list(s.Rollouts.List(ctx, by))
}

func (s *server) showRollout(ctx context.Context, by controlplane.Actor, in *identified) (*controlplane.Rollout, error) {
	return s.Rollouts.Show(ctx, by, in.ID)
}

func (s *server) targets(ctx context.Context, by controlplane.Actor, in *targetQuery) (controlplane.Page[controlplane.Target], error) {
	q := controlplane.TargetQuery{Status: controlplane.TargetStatus(in.Status), Cursor: in.Cursor, Limit: in.Limit}
	return full(s.Rollouts.Targets(ctx, by, in.ID, q))
}

func (s *server) resumeRollout(ctx context.Context, by controlplane.Actor, in *identified) (*controlplane.Rollout, error) {
	return s.Rollouts.Resume(ctx, by, in.ID)
}

func (s *server) retryRollout(ctx context.Context, by controlplane.Actor, in *identified) (*controlplane.Rollout, error) {
	return s.Rollouts.Retry(ctx, by, in.ID)
}

func (s *server) pauseRollout(ctx context.Context, by controlplane.Actor, in *identifiedBody[controlplane.RolloutCommand]) (*controlplane.Rollout, error) {
	return s.Rollouts.Pause(ctx, by, in.ID, in.Body)
}

func (s *server) abortRollout(ctx context.Context, by controlplane.Actor, in *identifiedBody[controlplane.RolloutCommand]) (*controlplane.Rollout, error) {
	return s.Rollouts.Abort(ctx, by, in.ID, in.Body)
}

func (s *server) approveRollout(ctx context.Context, by controlplane.Actor, in *identifiedBody[controlplane.RolloutCommand]) (*controlplane.Rollout, error) {
	return s.Rollouts.Approve(ctx, by, in.ID, in.Body)
}

func (s *server) skipTargets(ctx context.Context, by controlplane.Actor, in *identifiedBody[controlplane.RolloutCommand]) (*controlplane.Rollout, error) {
	return s.Rollouts.Skip(ctx, by, in.ID, in.Body)
}

func (s *server) applyStrategy(ctx context.Context, by controlplane.Actor, in *identifiedBody[strategyChange]) (*controlplane.Strategy, error) {
	in.Body.Strategy.Name = in.ID
	return s.Rollouts.ApplyStrategy(ctx, by, in.Body.Strategy, in.Body.DryRun)
}

func (s *server) listStrategies(ctx context.Context, by controlplane.Actor, _ *none) (controlplane.Page[controlplane.Strategy], error) {
	return list(s.Rollouts.Strategies(ctx, by))
}

func (s *server) showStrategy(ctx context.Context, by controlplane.Actor, in *identified) (*controlplane.Strategy, error) {
	return s.Rollouts.Strategy(ctx, by, in.ID)
}

func (s *server) rollbackRollout(ctx context.Context, by controlplane.Actor, in *identifiedBody[controlplane.RollbackRequest]) (*controlplane.Rollout, error) {
	if in.Body.DryRun {
		return nil, dryRunHere("/v1/rollouts/" + in.ID + "/rollback")
	}
	return s.Rollouts.Rollback(ctx, by, in.ID, in.Body)
}

func (s *server) planRollback(ctx context.Context, by controlplane.Actor, in *identifiedBody[controlplane.RollbackRequest]) (*controlplane.RollbackPlan, error) {
	plan, err := s.Rollouts.PlanRollback(ctx, by, in.ID, in.Body)
	if err == nil {
		plan.Irreversible = s.masked(ctx, "plan-rollback", plan.Irreversible)
	}
	return plan, err
}

func (s *server) listWorkers(ctx context.Context, by controlplane.Actor, _ *none) (controlplane.Page[controlplane.Worker], error) {
	return list(s.Rollouts.Workers(ctx, by))
}

func (s *server) status(ctx context.Context, by controlplane.Actor, _ *none) (*controlplane.FleetStatus, error) {
	return s.Rollouts.Status(ctx, by)
}

func (s *server) verifyStatus(ctx context.Context, by controlplane.Actor, in *body[verify]) (*controlplane.Verification, error) {
	return s.Doctor.Verify(ctx, by, in.Body.DryRun)
}

func (s *server) doctor(ctx context.Context, by controlplane.Actor, in *body[examine]) (*controlplane.Checkup, error) {
	return s.Doctor.Examine(ctx, by, in.Body.Fix)
}

func (s *server) health(ctx context.Context, _ controlplane.Actor, _ *none) (*controlplane.Health, error) {
	h := &controlplane.Health{Version: s.Version}
	if s.Schema == nil {
		return h, nil
	}
	var err error
	h.Schema, err = s.Schema(ctx)
	return h, err
}

// dryRunHere refuses a dry run of a route whose answer cannot be one, rather
// than do what was only asked about.
func dryRunHere(path string) error {
	return controlplane.Errorf(controlplane.Invalid, "POST %s takes no dry_run", path).
		WithHint("POST %s/plan says what it is going to do", path)
}
