package tenant

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/access"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/controlplane/provision"
	"github.com/manorhq/manor/controlplane/release"
	"github.com/manorhq/manor/controlplane/secret"
	"github.com/manorhq/manor/controlplane/work"
	"github.com/manorhq/manor/ent"
)

// Service is the tenant room.
type Service struct {
	cat       *catalog.Catalog
	keys      *secret.Keyring
	guard     access.Guard
	fleet     *fleet.Service
	provision *provision.Service
	releases  *release.Service
	queue     *work.Queue
	worker    string
}

// New furnishes the room and registers its loop with the queue. worker is what
// this process is called in the catalog.
func New(cat *catalog.Catalog, keys *secret.Keyring, f *fleet.Service, p *provision.Service, r *release.Service, q *work.Queue, worker string) *Service {
	s := &Service{cat: cat, keys: keys, fleet: f, provision: p, releases: r, queue: q, worker: worker}
	work.Handle(q, convergeTimeout, func(ctx context.Context, job convergeJob) error { return s.Converge(ctx, job.Tenant) })
	work.Every(q, sweepInterval, "tenant sweep", s.Sweep)
	return s
}

// maxCreated is how many tenants one call creates at most: their placement
// locks the clusters.
const maxCreated = 1000

// Create places new tenants and starts making their homes. A tenant that
// cannot be made gets its own error; the others are not held up. The answer
// comes before the homes are ready: tenant.changed events say when they are.
func (s *Service) Create(ctx context.Context, by controlplane.Actor, wanted []controlplane.NewTenant, dryRun bool) ([]controlplane.TenantResult, error) {
	if err := s.guard.See(by, "tenant.create", ""); err != nil {
		return nil, err
	}
	if len(wanted) == 0 || len(wanted) > maxCreated {
		return nil, controlplane.Errorf(controlplane.Invalid, "%d tenants are not between 1 and %d", len(wanted), maxCreated).
			WithHint("create more in several calls")
	}
	clusters, err := s.fleet.Clusters(ctx)
	if err != nil {
		return nil, err
	}
	first, err := s.releases.First(ctx)
	if err != nil {
		return nil, err
	}
	down := s.fleet.Down(ctx, relevant(clusters, wanted))
	var results []controlplane.TenantResult
	attempt := func(tx *catalog.Tx) error {
		p := placing{Service: s, tx: tx, by: by, down: down, first: first, dryRun: dryRun}
		results, err = p.place(ctx, wanted)
		return err
	}
	if err = s.cat.InTx(ctx, attempt); catalog.IsUnique(err, "slug") || catalog.IsUnique(err, "external_id") {
		err = s.cat.InTx(ctx, attempt) // lost a race for a name; now it is seen as taken
	}
	if err != nil {
		return nil, err
	}
	return results, nil
}

// relevant are the clusters that the wishes may lead to.
func relevant(clusters []controlplane.Cluster, wanted []controlplane.NewTenant) []controlplane.Cluster {
	return slices.DeleteFunc(slices.Clone(clusters), func(c controlplane.Cluster) bool {
		return c.State != controlplane.ClusterActive || !slices.ContainsFunc(wanted, func(n controlplane.NewTenant) bool {
			return (n.Cluster == "" || n.Cluster == c.Name) && (n.Region == "" || n.Region == c.Region)
		})
	})
}

// Set changes what operators say about a tenant.
func (s *Service) Set(ctx context.Context, by controlplane.Actor, slug string, c controlplane.TenantChange) (*controlplane.Tenant, error) {
	if err := c.Validate(slug); err != nil {
		return nil, err
	}
	return s.change(ctx, by, slug, "tenant.set", c.DryRun, c, func(tx *catalog.Tx, row *ent.Tenant) error {
		return applyChange(ctx, row, c)
	})
}

// Pin keeps a tenant at its version: no rollout changes it, forwards or back,
// until it is unpinned or the pin expires.
func (s *Service) Pin(ctx context.Context, by controlplane.Actor, slug string, p controlplane.PinRequest) (*controlplane.Tenant, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return s.change(ctx, by, slug, "tenant.pin", p.DryRun, p, func(tx *catalog.Tx, row *ent.Tenant) error {
		if err := notInHand(ctx, tx, row.ID, slug); err != nil {
			return err
		}
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		pin := &controlplane.Pin{Reason: p.Reason, By: by.String(), At: now}
		if p.For > 0 {
			until := now.Add(time.Duration(p.For))
			pin.ExpiresAt = &until
		}
		return store(ctx, row.Update().SetPin(pin), slug)
	})
}

// Unpin lets rollouts change a tenant again.
func (s *Service) Unpin(ctx context.Context, by controlplane.Actor, slug string, dryRun bool) (*controlplane.Tenant, error) {
	return s.change(ctx, by, slug, "tenant.unpin", dryRun, nil, func(tx *catalog.Tx, row *ent.Tenant) error {
		if row.Pin == nil {
			return controlplane.Errorf(controlplane.Refused, "tenant %s is not pinned", slug)
		}
		return store(ctx, row.Update().ClearPin(), slug)
	})
}

func store(ctx context.Context, change *ent.TenantUpdateOne, slug string) error {
	if err := change.SetUpdatedAt(time.Now()).Exec(ctx); err != nil {
		return fmt.Errorf("store tenant %s: %w", slug, err)
	}
	return nil
}

// Suspend keeps the tenant's logins out and ends their sessions.
func (s *Service) Suspend(ctx context.Context, by controlplane.Actor, slug string, dryRun bool) (*controlplane.Tenant, error) {
	return s.move(ctx, by, slug, "tenant.suspend", controlplane.TenantSuspended, dryRun)
}

// Resume lets a suspended or deleted (not purged) tenant in again.
func (s *Service) Resume(ctx context.Context, by controlplane.Actor, slug string, dryRun bool) (*controlplane.Tenant, error) {
	return s.move(ctx, by, slug, "tenant.resume", controlplane.TenantActive, dryRun)
}

// Delete keeps the tenant out as Suspend does and marks it for purging. Its
// data stays until then.
func (s *Service) Delete(ctx context.Context, by controlplane.Actor, slug string, dryRun bool) (*controlplane.Tenant, error) {
	return s.move(ctx, by, slug, "tenant.delete", controlplane.TenantDeleting, dryRun)
}

// Purge drops the home of a deleted or failed tenant for good. confirm must be
// its slug.
func (s *Service) Purge(ctx context.Context, by controlplane.Actor, slug, confirm string, dryRun bool) (*controlplane.Tenant, error) {
	if confirm != slug {
		return nil, controlplane.Errorf(controlplane.Refused, "purging %s drops its data for good and was not confirmed", slug).
			WithHint("repeat the slug: --confirm %s", slug)
	}
	return s.move(ctx, by, slug, "tenant.purge", controlplane.TenantDeleted, dryRun)
}

// move takes a tenant to a state and leaves the cluster to Converge.
func (s *Service) move(ctx context.Context, by controlplane.Actor, slug, action string, to controlplane.TenantState, dryRun bool) (*controlplane.Tenant, error) {
	return s.change(ctx, by, slug, action, dryRun, nil, func(tx *catalog.Tx, row *ent.Tenant) error {
		from := row.State
		if from == to {
			return nil
		}
		if !from.CanBecome(to) {
			return illegal(slug, from, to)
		}
		if err := unengaged(ctx, tx, row.ID, slug, to); err != nil {
			return err
		}
		return s.settleLater(ctx, tx, row, to)
	})
}

func illegal(slug string, from, to controlplane.TenantState) error {
	err := controlplane.Errorf(controlplane.Refused, "tenant %s is %s and cannot become %s", slug, from, to)
	switch {
	case to == controlplane.TenantDeleted:
		return err.WithHint("`manor tenant delete %s` comes first", slug)
	case from == controlplane.TenantFailed:
		return err.WithHint("`manor tenant purge %s --confirm %s` frees its slug; then create it again", slug, slug)
	}
	return err
}

// change locks a tenant, lets f change its row and answers the tenant as it is
// then. A dry run rolls everything back.
func (s *Service) change(ctx context.Context, by controlplane.Actor, slug, action string, dryRun bool, detail any,
	f func(tx *catalog.Tx, row *ent.Tenant) error) (*controlplane.Tenant, error) {
	if err := s.guard.See(by, action, slug); err != nil {
		return nil, err
	}
	var after *controlplane.Tenant
	err := s.cat.InTx(ctx, func(tx *catalog.Tx) error {
		row, err := lockBySlug(ctx, tx, slug)
		if err != nil {
			return err
		}
		if err := s.guard.Permit(ctx, tx, by, action, slug, detail); err != nil {
			return err
		}
		if err := f(tx, row); err != nil {
			return err
		}
		if row, err = tx.Tenant.Get(ctx, row.ID); err != nil {
			return fmt.Errorf("read tenant %s: %w", slug, err)
		}
		nouns, err := assemble(ctx, tx.Client(), []*ent.Tenant{row})
		if err != nil {
			return err
		}
		after = &nouns[0]
		if dryRun {
			return errDryRun
		}
		return announce(ctx, tx, row)
	})
	if errors.Is(err, errDryRun) {
		err = nil
	}
	return after, err
}
