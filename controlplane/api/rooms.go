package api

import (
	"context"

	"github.com/manorhq/manor/controlplane"
)

// Fleet is what the API asks of the room that owns clusters.
type Fleet interface {
	Add(ctx context.Context, by controlplane.Actor, n controlplane.NewCluster) (*controlplane.Cluster, error)
	List(ctx context.Context, by controlplane.Actor) ([]controlplane.Cluster, error)
	Show(ctx context.Context, by controlplane.Actor, name string) (*controlplane.Cluster, error)
	Set(ctx context.Context, by controlplane.Actor, name string, c controlplane.ClusterChange) (*controlplane.Cluster, error)
	Remove(ctx context.Context, by controlplane.Actor, name string, dryRun bool) error
}

// Tenants is what the API asks of the room that owns tenants.
type Tenants interface {
	Create(ctx context.Context, by controlplane.Actor, tenants []controlplane.NewTenant, dryRun bool) ([]controlplane.TenantResult, error)
	List(ctx context.Context, by controlplane.Actor, q controlplane.TenantQuery) (controlplane.Page[controlplane.Tenant], error)
	Show(ctx context.Context, by controlplane.Actor, slug string) (*controlplane.Tenant, error)
	Set(ctx context.Context, by controlplane.Actor, slug string, c controlplane.TenantChange) (*controlplane.Tenant, error)
	Pin(ctx context.Context, by controlplane.Actor, slug string, p controlplane.PinRequest) (*controlplane.Tenant, error)
	SetVersion(ctx context.Context, by controlplane.Actor, r controlplane.VersionRequest) ([]controlplane.VersionResult, error)
	Unpin(ctx context.Context, by controlplane.Actor, slug string, dryRun bool) (*controlplane.Tenant, error)
	Suspend(ctx context.Context, by controlplane.Actor, slug string, dryRun bool) (*controlplane.Tenant, error)
	Resume(ctx context.Context, by controlplane.Actor, slug string, dryRun bool) (*controlplane.Tenant, error)
	Delete(ctx context.Context, by controlplane.Actor, slug string, dryRun bool) (*controlplane.Tenant, error)
	Purge(ctx context.Context, by controlplane.Actor, slug, confirm string, dryRun bool) (*controlplane.Tenant, error)
	DSN(ctx context.Context, by controlplane.Actor, slug string, reveal bool) (*controlplane.DSN, error)
	Fingerprints(ctx context.Context, by controlplane.Actor, q controlplane.TenantQuery) ([]controlplane.FingerprintGroup, error)
}

// Releases is what the API asks of the room that owns releases.
type Releases interface {
	Push(ctx context.Context, by controlplane.Actor, n controlplane.NewRelease) (*controlplane.Release, error)
	List(ctx context.Context, by controlplane.Actor) ([]controlplane.Release, error)
	Show(ctx context.Context, by controlplane.Actor, name string) (*controlplane.Release, error)
	SetDefault(ctx context.Context, by controlplane.Actor, name, version string, dryRun bool) (*controlplane.Release, error)
	Diff(ctx context.Context, by controlplane.Actor, n controlplane.NewDiff) (*controlplane.Diff, error)
	Rehearse(ctx context.Context, by controlplane.Actor, name string, ask controlplane.RehearsalRequest) (*controlplane.Rehearsal, error)
}

// Rollouts is what the API asks of the room that owns rollouts and their targets.
type Rollouts interface {
	Start(ctx context.Context, by controlplane.Actor, n controlplane.NewRollout) (*controlplane.Rollout, error)
	Plan(ctx context.Context, by controlplane.Actor, n controlplane.NewRollout) (*controlplane.RolloutPlan, error)
	List(ctx context.Context, by controlplane.Actor) ([]controlplane.Rollout, error)
	Show(ctx context.Context, by controlplane.Actor, id string) (*controlplane.Rollout, error)
	Targets(ctx context.Context, by controlplane.Actor, id string, q controlplane.TargetQuery) (controlplane.Page[controlplane.Target], error)
	Resume(ctx context.Context, by controlplane.Actor, id string) (*controlplane.Rollout, error)
	Retry(ctx context.Context, by controlplane.Actor, id string) (*controlplane.Rollout, error)
	Pause(ctx context.Context, by controlplane.Actor, id string, c controlplane.RolloutCommand) (*controlplane.Rollout, error)
	Abort(ctx context.Context, by controlplane.Actor, id string, c controlplane.RolloutCommand) (*controlplane.Rollout, error)
	Approve(ctx context.Context, by controlplane.Actor, id string, c controlplane.RolloutCommand) (*controlplane.Rollout, error)
	Skip(ctx context.Context, by controlplane.Actor, id string, c controlplane.RolloutCommand) (*controlplane.Rollout, error)
	ApplyStrategy(ctx context.Context, by controlplane.Actor, s controlplane.Strategy, dryRun bool) (*controlplane.Strategy, error)
	Strategies(ctx context.Context, by controlplane.Actor) ([]controlplane.Strategy, error)
	Strategy(ctx context.Context, by controlplane.Actor, name string) (*controlplane.Strategy, error)
	Rollback(ctx context.Context, by controlplane.Actor, id string, r controlplane.RollbackRequest) (*controlplane.Rollout, error)
	PlanRollback(ctx context.Context, by controlplane.Actor, id string, r controlplane.RollbackRequest) (*controlplane.RollbackPlan, error)
	Workers(ctx context.Context, by controlplane.Actor) ([]controlplane.Worker, error)
	Status(ctx context.Context, by controlplane.Actor) (*controlplane.FleetStatus, error)
}

// Doctor is what the API asks of the room that compares the catalog with what there is.
type Doctor interface {
	Verify(ctx context.Context, by controlplane.Actor, dryRun bool) (*controlplane.Verification, error)
	Examine(ctx context.Context, by controlplane.Actor, fix bool) (*controlplane.Checkup, error)
}

// Events is what the API asks of the event log.
type Events interface {
	// Head is the cursor that all events readers may see lie before, never empty.
	Head(ctx context.Context) (string, error)
	// Watch calls f with every event after a cursor, one at a time and in
	// order, until ctx ends or f answers an error, which it returns.
	Watch(ctx context.Context, after string, f func(controlplane.Event) error) error
}
