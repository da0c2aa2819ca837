package tenant

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/credential"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/controlplane/provision"
	"github.com/manorhq/manor/controlplane/release"
	"github.com/manorhq/manor/controlplane/work"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/placement"
	"github.com/manorhq/manor/ent/tenant"
	"github.com/manorhq/manor/internal/failpoint"
)

const (
	convergeTimeout = 30 * time.Minute
	sweepInterval   = 5 * time.Second
	// forgotten is how long an unsettled tenant that nobody has in hand rests
	// before the sweep has it worked on: its job may be lost.
	forgotten = 20 * time.Second
	// tryAgain is how long a tenant waits whose cluster did not let us finish.
	tryAgain = 3 * time.Second
)

// convergeJob brings one tenant's cluster to the tenant's state.
type convergeJob struct {
	Tenant string `json:"tenant"`
}

func (convergeJob) Kind() string { return "tenant.converge" }
func (convergeJob) Lane() string { return Lane }

// Lane is where the jobs wait that work on one tenant.
const Lane = "tenant"

// Converge brings the cluster to what a tenant's state wants, however far an
// earlier attempt came, and settles the tenant. One process works on a tenant
// at a time, by a lock on the catalog that ends with the connection of whoever
// dies; it goes on until the state that it worked for is the one wanted, since
// those who found the lock taken have gone away.
func (s *Service) Converge(ctx context.Context, id string) error {
	for {
		worked, err := s.convergeAlone(ctx, id)
		if worked == nil || err != nil {
			return err
		}
		now, err := s.cat.Ent().Tenant.Get(ctx, id)
		if err != nil {
			return fmt.Errorf("read tenant %s: %w", worked.Slug, err)
		}
		if now.Settled || now.State == worked.State {
			return nil
		}
	}
}

// convergeAlone returns the row that it worked for, or nil when there was
// nothing to do, somebody else is doing it, or it is to be tried again later.
func (s *Service) convergeAlone(ctx context.Context, id string) (worked *ent.Tenant, err error) {
	_, err = s.cat.Alone(ctx, LockName(id), func(ctx context.Context) (err error) {
		failpoint.Reach("tenant.locked")
		worked, err = s.convergeLocked(ctx, id)
		return err
	})
	return worked, err
}

func (s *Service) convergeLocked(ctx context.Context, id string) (*ent.Tenant, error) {
	row, err := s.cat.Ent().Tenant.Get(ctx, id)
	if ent.IsNotFound(err) || err == nil && row.Settled {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read tenant %s: %w", id, err)
	}
	if err := row.Update().SetWorker(s.worker).SetTakenAt(time.Now()).Exec(ctx); err != nil {
		return nil, fmt.Errorf("take tenant %s: %w", row.Slug, err)
	}
	err = s.converge(ctx, row)
	if err != nil && ctx.Err() == nil {
		return nil, s.comeBack(ctx, row, err)
	}
	return row, err
}

func (s *Service) converge(ctx context.Context, row *ent.Tenant) error {
	site, err := s.site(ctx, row)
	if ent.IsNotFound(err) { // razed before: only the tombstone is left
		return s.settle(ctx, row, func(*ent.TenantUpdateOne) {})
	}
	if err != nil {
		return err
	}
	switch row.State {
	case controlplane.TenantProvisioning:
		return s.build(ctx, row, site)
	case controlplane.TenantActive:
		return s.admit(ctx, row, site, true)
	case controlplane.TenantSuspended, controlplane.TenantDeleting:
		return s.admit(ctx, row, site, false)
	default: // failed, deleted: nothing may be left
		return s.raze(ctx, row, site)
	}
}

func (s *Service) site(ctx context.Context, row *ent.Tenant) (provision.Site, error) {
	p, err := s.cat.Ent().Placement.Query().Where(placement.TenantID(row.ID)).Only(ctx)
	if err != nil {
		return provision.Site{}, fmt.Errorf("read the placement of tenant %s: %w", row.Slug, err)
	}
	names := &lookup{}
	if err := names.read(ctx, s.cat.Ent(), []*ent.Placement{p}); err != nil {
		return provision.Site{}, err
	}
	t := noun(row, p, names)
	return provision.Site{TenantID: t.ID, Slug: t.Slug, Isolation: t.Isolation, Placement: t.Placement}, nil
}

// build makes the home at the default release. A home that cannot be built is
// razed again, so that a failed tenant has nothing on the cluster.
func (s *Service) build(ctx context.Context, row *ent.Tenant, site provision.Site) error {
	def, err := s.releases.Default(ctx)
	if err != nil {
		return err
	}
	err = s.buildAt(ctx, site, def)
	var refusal *provision.Refusal
	if !errors.As(err, &refusal) {
		if err != nil {
			return err
		}
		return s.settleAt(ctx, row, site, def)
	}
	// Unless it has been purged meanwhile.
	failed, err := s.cat.Ent().Tenant.Update().Where(tenant.ID(row.ID), tenant.State(row.State)).
		SetState(controlplane.TenantFailed).SetFailure(refusal.Failure).Save(ctx)
	if err != nil {
		return fmt.Errorf("store the failure of tenant %s: %w", row.Slug, err)
	}
	if failed == 0 {
		return nil
	}
	failpoint.Reach("tenant.refused")
	row.State, row.Failure = controlplane.TenantFailed, refusal.Failure
	return s.raze(ctx, row, site)
}

// errDefaultMoved says that new tenants start elsewhere than when a home was built.
var errDefaultMoved = errors.New("the default has moved")

// settleAt opens a tenant whose home is built at the default, unless that has
// moved meanwhile: then the home follows.
func (s *Service) settleAt(ctx context.Context, row *ent.Tenant, site provision.Site, def release.Default) error {
	err := s.cat.InTx(ctx, func(tx *catalog.Tx) error {
		now, err := release.HoldDefault(ctx, tx)
		if err != nil {
			return err
		}
		if now != def {
			return errDefaultMoved
		}
		return settleIn(ctx, tx, row, func(up *ent.TenantUpdateOne) {
			up.SetState(controlplane.TenantActive).SetReleaseID(def.ReleaseID).SetVersion(def.Version)
		})
	})
	if errors.Is(err, errDefaultMoved) {
		return s.build(ctx, row, site)
	}
	return err
}

func (s *Service) buildAt(ctx context.Context, site provision.Site, def release.Default) error {
	if def.ReleaseID == "" {
		return s.provision.Build(ctx, site, nil, "")
	}
	parsed, err := s.releases.Load(ctx, def.ReleaseID)
	if err != nil {
		return err
	}
	return s.provision.Build(ctx, site, parsed, def.Version)
}

func (s *Service) admit(ctx context.Context, row *ent.Tenant, site provision.Site, allowed bool) error {
	if err := s.provision.Admit(ctx, site, allowed); err != nil {
		return err
	}
	return s.settle(ctx, row, func(*ent.TenantUpdateOne) {})
}

// raze removes the home and what the catalog keeps of it; the tenant's row
// stays as its tombstone.
func (s *Service) raze(ctx context.Context, row *ent.Tenant, site provision.Site) error {
	if err := s.provision.Raze(ctx, site); err != nil {
		return err
	}
	err := s.cat.InTx(ctx, func(tx *catalog.Tx) error {
		if _, err := tx.Placement.Delete().Where(placement.TenantID(row.ID)).Exec(ctx); err != nil {
			return fmt.Errorf("remove the placement of tenant %s: %w", row.Slug, err)
		}
		if err := credential.Forget(ctx, tx, row.ID); err != nil {
			return err
		}
		if err := fleet.Unreserve(ctx, tx, site.Placement.DatabaseID); err != nil {
			return err
		}
		return settleIn(ctx, tx, row, func(*ent.TenantUpdateOne) {})
	})
	return err
}

// settle says that the cluster is where the tenant's state wants it.
func (s *Service) settle(ctx context.Context, row *ent.Tenant, more func(*ent.TenantUpdateOne)) error {
	return s.cat.InTx(ctx, func(tx *catalog.Tx) error { return settleIn(ctx, tx, row, more) })
}

// settleIn is a no-op when the state has changed since the row was read: then
// another job is on its way.
func settleIn(ctx context.Context, tx *catalog.Tx, row *ent.Tenant, more func(*ent.TenantUpdateOne)) error {
	now, err := tx.Tenant.Query().Where(tenant.ID(row.ID)).ForUpdate().Only(ctx)
	if err != nil {
		return fmt.Errorf("lock tenant %s: %w", row.Slug, err)
	}
	if now.State != row.State {
		return nil
	}
	up := now.Update().SetSettled(true).SetWorker("").ClearTakenAt().SetUpdatedAt(time.Now())
	if now.State != controlplane.TenantFailed {
		up.ClearFailure()
	}
	more(up)
	settled, err := up.Save(ctx)
	if err != nil {
		return fmt.Errorf("settle tenant %s: %w", row.Slug, err)
	}
	return announce(ctx, tx, settled)
}

// comeBack notes why a tenant is not settled yet and tries again later.
func (s *Service) comeBack(ctx context.Context, row *ent.Tenant, cause error) error {
	return s.cat.InTx(ctx, func(tx *catalog.Tx) error {
		now, err := tx.Tenant.Query().Where(tenant.ID(row.ID)).ForUpdate().Only(ctx)
		if err != nil {
			return fmt.Errorf("lock tenant %s: %w", row.Slug, err)
		}
		if now.Settled {
			return nil
		}
		failure := &controlplane.Failure{Message: cause.Error(), Hint: "Manor tries again by itself"}
		if e, ok := errors.AsType[*controlplane.Error](cause); ok && e.Code == controlplane.Refused && e.Hint != "" {
			failure.Hint = e.Hint // trying again will not help alone
		}
		if now.State == controlplane.TenantFailed {
			failure = now.Failure // why it failed says more than why it is not razed yet
		}
		now, err = now.Update().SetFailure(failure).SetWorker("").ClearTakenAt().SetUpdatedAt(time.Now()).Save(ctx)
		if err != nil {
			return fmt.Errorf("store tenant %s: %w", row.Slug, err)
		}
		if err := announce(ctx, tx, now); err != nil {
			return err
		}
		at := time.Now().Add(tryAgain + rand.N(tryAgain))
		return s.queue.EnqueueAt(ctx, tx, at, convergeJob{Tenant: row.ID})
	})
}

// Sweep has the tenants worked on whose worker is gone, and those that have
// been unsettled for a while with nobody at work: their job may be lost. All
// processes sweep; each takes what no other one has taken just now.
func (s *Service) Sweep(ctx context.Context) error {
	left, err := s.leftBehind(ctx)
	if err != nil {
		return err
	}
	return s.cat.InTx(ctx, func(tx *catalog.Tx) error {
		ids, err := takeAbandoned(ctx, tx, left)
		if err != nil {
			return err
		}
		jobs := make([]work.Job, len(ids))
		for i, id := range ids {
			jobs[i] = convergeJob{Tenant: id}
		}
		return s.queue.Enqueue(ctx, tx, jobs...)
	})
}

// leftBehind are the tenants that count as in hand, and that nobody has locked.
func (s *Service) leftBehind(ctx context.Context) (left []string, err error) {
	held, err := s.cat.Ent().Tenant.Query().Where(tenant.Settled(false), tenant.WorkerNEQ("")).IDs(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for tenants in hand: %w", err)
	}
	names := make([]string, len(held))
	for i, id := range held {
		names[i] = LockName(id)
	}
	locked, err := s.cat.Locked(ctx, names)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(held, func(id string) bool { return locked[LockName(id)] }), nil
}

// LockName is the name of the lock on the catalog that whoever works on a
// tenant's home holds.
func LockName(id string) string { return "tenant " + id }

// takeAbandoned touches the tenants that were left behind or forgotten, so that
// no other sweep takes them as well.
func takeAbandoned(ctx context.Context, tx *catalog.Tx, left []string) (ids []string, err error) {
	err = tx.Conn(func(conn *pgx.Conn) error {
		rows, _ := conn.Query(ctx, `UPDATE tenants SET worker = '', taken_at = NULL, updated_at = clock_timestamp() WHERE id IN (
				SELECT id FROM tenants WHERE NOT settled AND (worker <> '' AND id = ANY($3)
					OR worker = '' AND updated_at < clock_timestamp() - make_interval(secs => $1))
				ORDER BY updated_at LIMIT $2 FOR UPDATE SKIP LOCKED)
			RETURNING id`, forgotten.Seconds(), pageSize, left)
		ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for unsettled tenants: %w", err)
	}
	return ids, nil
}
