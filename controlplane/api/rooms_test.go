package api_test

import (
	"context"
	"sync"

	"github.com/manorhq/manor/controlplane"
)

// script stands for the rooms, which are above this package: it answers every
// door with one value or error and keeps what it was called with.
type script struct {
	mu     sync.Mutex
	answer any
	err    error
	panics any
	door   string
	by     controlplane.Actor
	args   []any
}

// say sets what the doors answer next.
func (s *script) say(answer any, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer, s.err, s.door, s.args = answer, err, "", nil
}

// heard is the last call.
func (s *script) heard() (door string, by controlplane.Actor, args []any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.door, s.by, s.args
}

func play[O any](s *script, door string, by controlplane.Actor, args ...any) (O, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.door, s.by, s.args = door, by, args
	if s.panics != nil {
		panic(s.panics)
	}
	out, _ := s.answer.(O)
	return out, s.err
}

type (
	fleet    struct{ *script }
	tenants  struct{ *script }
	releases struct{ *script }
	rollouts struct{ *script }
	doctor   struct{ *script }
)

type (
	ctx   = context.Context
	actor = controlplane.Actor
)

func (f fleet) Add(_ ctx, by actor, n controlplane.NewCluster) (*controlplane.Cluster, error) {
	return play[*controlplane.Cluster](f.script, "Fleet.Add", by, n)
}
func (f fleet) List(_ ctx, by actor) ([]controlplane.Cluster, error) {
	return play[[]controlplane.Cluster](f.script, "Fleet.List", by)
}
func (f fleet) Show(_ ctx, by actor, name string) (*controlplane.Cluster, error) {
	return play[*controlplane.Cluster](f.script, "Fleet.Show", by, name)
}
func (f fleet) Set(_ ctx, by actor, name string, c controlplane.ClusterChange) (*controlplane.Cluster, error) {
	return play[*controlplane.Cluster](f.script, "Fleet.Set", by, name, c)
}
func (f fleet) Remove(_ ctx, by actor, name string, dryRun bool) error {
	_, err := play[any](f.script, "Fleet.Remove", by, name, dryRun)
	return err
}

func (t tenants) Create(_ ctx, by actor, n []controlplane.NewTenant, dryRun bool) ([]controlplane.TenantResult, error) {
	return play[[]controlplane.TenantResult](t.script, "Tenants.Create", by, n, dryRun)
}
func (t tenants) List(_ ctx, by actor, q controlplane.TenantQuery) (controlplane.Page[controlplane.Tenant], error) {
	return play[controlplane.Page[controlplane.Tenant]](t.script, "Tenants.List", by, q)
}
func (t tenants) Show(_ ctx, by actor, slug string) (*controlplane.Tenant, error) {
	return play[*controlplane.Tenant](t.script, "Tenants.Show", by, slug)
}
func (t tenants) Set(_ ctx, by actor, slug string, c controlplane.TenantChange) (*controlplane.Tenant, error) {
	return play[*controlplane.Tenant](t.script, "Tenants.Set", by, slug, c)
}
func (t tenants) Pin(_ ctx, by actor, slug string, p controlplane.PinRequest) (*controlplane.Tenant, error) {
	return play[*controlplane.Tenant](t.script, "Tenants.Pin", by, slug, p)
}
func (t tenants) SetVersion(_ ctx, by actor, r controlplane.VersionRequest) ([]controlplane.VersionResult, error) {
	return play[[]controlplane.VersionResult](t.script, "Tenants.SetVersion", by, r)
}
func (t tenants) Unpin(_ ctx, by actor, slug string, dryRun bool) (*controlplane.Tenant, error) {
	return play[*controlplane.Tenant](t.script, "Tenants.Unpin", by, slug, dryRun)
}
func (t tenants) Suspend(_ ctx, by actor, slug string, dryRun bool) (*controlplane.Tenant, error) {
	return play[*controlplane.Tenant](t.script, "Tenants.Suspend", by, slug, dryRun)
}
func (t tenants) Resume(_ ctx, by actor, slug string, dryRun bool) (*controlplane.Tenant, error) {
	return play[*controlplane.Tenant](t.script, "Tenants.Resume", by, slug, dryRun)
}
func (t tenants) Delete(_ ctx, by actor, slug string, dryRun bool) (*controlplane.Tenant, error) {
	return play[*controlplane.Tenant](t.script, "Tenants.Delete", by, slug, dryRun)
}
func (t tenants) Purge(_ ctx, by actor, slug, confirm string, dryRun bool) (*controlplane.Tenant, error) {
	return play[*controlplane.Tenant](t.script, "Tenants.Purge", by, slug, confirm, dryRun)
}
func (t tenants) DSN(_ ctx, by actor, slug string, reveal bool) (*controlplane.DSN, error) {
	return play[*controlplane.DSN](t.script, "Tenants.DSN", by, slug, reveal)
}
func (t tenants) Fingerprints(_ ctx, by actor, q controlplane.TenantQuery) ([]controlplane.FingerprintGroup, error) {
	return play[[]controlplane.FingerprintGroup](t.script, "Tenants.Fingerprints", by, q)
}

func (r releases) Push(_ ctx, by actor, n controlplane.NewRelease) (*controlplane.Release, error) {
	return play[*controlplane.Release](r.script, "Releases.Push", by, n)
}
func (r releases) List(_ ctx, by actor) ([]controlplane.Release, error) {
	return play[[]controlplane.Release](r.script, "Releases.List", by)
}
func (r releases) Show(_ ctx, by actor, name string) (*controlplane.Release, error) {
	return play[*controlplane.Release](r.script, "Releases.Show", by, name)
}
func (r releases) Rehearse(_ ctx, by actor, name string, ask controlplane.RehearsalRequest) (*controlplane.Rehearsal, error) {
	return play[*controlplane.Rehearsal](r.script, "Releases.Rehearse", by, name, ask)
}

func (r releases) SetDefault(_ ctx, by actor, name, version string, dryRun bool) (*controlplane.Release, error) {
	return play[*controlplane.Release](r.script, "Releases.SetDefault", by, name, version, dryRun)
}
func (r releases) Diff(_ ctx, by actor, n controlplane.NewDiff) (*controlplane.Diff, error) {
	return play[*controlplane.Diff](r.script, "Releases.Diff", by, n)
}

func (r rollouts) Start(_ ctx, by actor, n controlplane.NewRollout) (*controlplane.Rollout, error) {
	return play[*controlplane.Rollout](r.script, "Rollouts.Start", by, n)
}
func (r rollouts) Plan(_ ctx, by actor, n controlplane.NewRollout) (*controlplane.RolloutPlan, error) {
	return play[*controlplane.RolloutPlan](r.script, "Rollouts.Plan", by, n)
}
func (r rollouts) List(_ ctx, by actor) ([]controlplane.Rollout, error) {
	return play[[]controlplane.Rollout](r.script, "Rollouts.List", by)
}
func (r rollouts) Show(_ ctx, by actor, id string) (*controlplane.Rollout, error) {
	return play[*controlplane.Rollout](r.script, "Rollouts.Show", by, id)
}
func (r rollouts) Targets(_ ctx, by actor, id string, q controlplane.TargetQuery) (controlplane.Page[controlplane.Target], error) {
	return play[controlplane.Page[controlplane.Target]](r.script, "Rollouts.Targets", by, id, q)
}
func (r rollouts) Resume(_ ctx, by actor, id string) (*controlplane.Rollout, error) {
	return play[*controlplane.Rollout](r.script, "Rollouts.Resume", by, id)
}
func (r rollouts) Retry(_ ctx, by actor, id string) (*controlplane.Rollout, error) {
	return play[*controlplane.Rollout](r.script, "Rollouts.Retry", by, id)
}
func (r rollouts) Pause(_ ctx, by actor, id string, c controlplane.RolloutCommand) (*controlplane.Rollout, error) {
	return play[*controlplane.Rollout](r.script, "Rollouts.Pause", by, id, c)
}
func (r rollouts) Abort(_ ctx, by actor, id string, c controlplane.RolloutCommand) (*controlplane.Rollout, error) {
	return play[*controlplane.Rollout](r.script, "Rollouts.Abort", by, id, c)
}
func (r rollouts) Approve(_ ctx, by actor, id string, c controlplane.RolloutCommand) (*controlplane.Rollout, error) {
	return play[*controlplane.Rollout](r.script, "Rollouts.Approve", by, id, c)
}
func (r rollouts) Skip(_ ctx, by actor, id string, c controlplane.RolloutCommand) (*controlplane.Rollout, error) {
	return play[*controlplane.Rollout](r.script, "Rollouts.Skip", by, id, c)
}
func (r rollouts) ApplyStrategy(_ ctx, by actor, s controlplane.Strategy, dryRun bool) (*controlplane.Strategy, error) {
	return play[*controlplane.Strategy](r.script, "Rollouts.ApplyStrategy", by, s, dryRun)
}
func (r rollouts) Strategies(_ ctx, by actor) ([]controlplane.Strategy, error) {
	return play[[]controlplane.Strategy](r.script, "Rollouts.Strategies", by)
}
func (r rollouts) Strategy(_ ctx, by actor, name string) (*controlplane.Strategy, error) {
	return play[*controlplane.Strategy](r.script, "Rollouts.Strategy", by, name)
}
func (r rollouts) Rollback(_ ctx, by actor, id string, q controlplane.RollbackRequest) (*controlplane.Rollout, error) {
	return play[*controlplane.Rollout](r.script, "Rollouts.Rollback", by, id, q)
}
func (r rollouts) PlanRollback(_ ctx, by actor, id string, q controlplane.RollbackRequest) (*controlplane.RollbackPlan, error) {
	return play[*controlplane.RollbackPlan](r.script, "Rollouts.PlanRollback", by, id, q)
}
func (r rollouts) Workers(_ ctx, by actor) ([]controlplane.Worker, error) {
	return play[[]controlplane.Worker](r.script, "Rollouts.Workers", by)
}
func (r rollouts) Status(_ ctx, by actor) (*controlplane.FleetStatus, error) {
	return play[*controlplane.FleetStatus](r.script, "Rollouts.Status", by)
}

func (d doctor) Verify(_ ctx, by actor, dryRun bool) (*controlplane.Verification, error) {
	return play[*controlplane.Verification](d.script, "Doctor.Verify", by, dryRun)
}

func (d doctor) Examine(_ ctx, by actor, fix bool) (*controlplane.Checkup, error) {
	return play[*controlplane.Checkup](d.script, "Doctor.Examine", by, fix)
}
