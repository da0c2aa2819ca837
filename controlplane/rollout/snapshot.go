package rollout

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/controlplane/tenant"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/batch"
)

// copyFirst makes sure, where the rollout wants that, that there is a copy of a
// target's database before the first statement reaches it. One that was taken
// before is it, whoever took it: a later one would hold a part of what the
// rollout did. nil: go on.
func (s *Service) copyFirst(ctx context.Context, l *lease, t leased) *result {
	wanted := l.rollout.Strategy.Snapshot
	if wanted == nil || l.batch.Direction == down {
		return nil
	}
	row, err := fleet.SnapshotOf(ctx, s.cat.Ent(), l.rollout.ID, t.TenantID)
	if err == nil && row != nil && row.State == fleet.SnapshotMade {
		return nil
	}
	switch {
	case err != nil:
	case row != nil && row.TakenAt != nil:
		return &result{Status: controlplane.TargetFailed, Version: t.Version, Tried: true, answered: t.fenced,
			Failure: &controlplane.Failure{Message: "the copy that was taken of it is " + row.State + ", and a later one would hold what the rollout did",
				Hint: "abort the rollout, and start another one"}}
	case t.tenant.Isolation != controlplane.IsolationDatabase:
		return skipped(t, noSnapshot)
	case row == nil && t.Version != t.FromVersion:
		return &result{Status: controlplane.TargetFailed, Version: t.Version, Tried: true, answered: t.fenced,
			Failure: &controlplane.Failure{Message: "it was changed before a copy was taken"}}
	default:
		err = s.onHome(ctx, l, t, func(ctx context.Context, still func(context.Context) error) error {
			return s.fleet.TakeSnapshot(ctx, fleet.NewSnapshot{Rollout: l.rollout.ID, Tenant: t.TenantID,
				ClusterID: t.placement.ClusterID, DatabaseID: t.placement.DatabaseID,
				Keep: time.Duration(wanted.Keep), Within: time.Duration(wanted.Timeout)}, still)
		})
	}
	if err == nil {
		return nil
	}
	if refusal(err) != nil { // another try would close the database once more
		return &result{Status: controlplane.TargetFailed, Version: t.Version, Tried: true, answered: t.fenced,
			Failure: &controlplane.Failure{Message: "take a copy before the rollout changes it: " + refusal(err).Error(), Hint: refusal(err).Hint}}
	}
	r := s.notCopied(l, t, fmt.Errorf("take a copy before the rollout changes it: %w", err))
	return &r
}

// refusal is an error that the next try would meet as well; nil: it may pass.
func refusal(err error) *controlplane.Error {
	if refused, ok := errors.AsType[*controlplane.Error](err); ok && refused.Code == controlplane.Refused && pg.TroubleOf(err) == pg.NoTrouble {
		return refused
	}
	return nil
}

// noSnapshot is why a tenant is not in a rollout that takes copies.
const noSnapshot = "no copy can be taken of it: it has no database of its own"

// errAttended says that somebody else has a tenant's home in hand.
var errAttended = controlplane.Errorf(controlplane.Conflict, "somebody else is at work on the tenant's home")

// notCopied is a target whose database could not be copied, or put back.
func (s *Service) notCopied(l *lease, t leased, err error) result {
	r := notReached(l, t, err)
	if errors.Is(err, errAttended) {
		r = r.free(l, t, controlplane.TargetDeferred, "")
	}
	r.answered = t.fenced // then
	return r
}

// onHome runs f while nobody else works on the home of a target: neither what
// brings tenants to their states nor the worker that this one took the target
// over from. still, which f asks once it is ready, fails for a worker that has
// lost the batch meanwhile.
func (s *Service) onHome(ctx context.Context, l *lease, t leased, f func(ctx context.Context, still func(context.Context) error) error) error {
	alone, err := s.cat.Alone(ctx, tenant.LockName(t.TenantID), func(ctx context.Context) error {
		return f(ctx, func(ctx context.Context) error { return s.stillHeld(ctx, l) })
	})
	if err == nil && !alone {
		return errAttended
	}
	return err
}

func (s *Service) stillHeld(ctx context.Context, l *lease) error {
	held, err := s.cat.Ent().Batch.Query().Where(batch.ID(l.batch.ID), batch.Epoch(l.batch.Epoch), batch.State(batchRunning)).Exist(ctx)
	if err != nil {
		return fmt.Errorf("ask whether the lease is held: %w", err)
	}
	if !held {
		return controlplane.Errorf(controlplane.Conflict, "the batch was taken over")
	}
	return nil
}

// openLeft opens the database of a target that a worker left closed when it
// died. Where that fails, nobody gets in, and what follows says so.
func (s *Service) openLeft(ctx context.Context, l *lease, t leased) {
	if l.rollout.Strategy.Snapshot == nil {
		return
	}
	row, err := fleet.SnapshotOf(ctx, s.cat.Ent(), l.rollout.ID, t.TenantID)
	if err == nil && row != nil && row.State == fleet.SnapshotTaking {
		err = s.onHome(ctx, l, t, func(ctx context.Context, _ func(context.Context) error) error { return s.fleet.ReopenFor(ctx, row) })
	}
	if err != nil {
		s.log.Warn("cannot see to it that the database of a tenant is open", "rollout", l.rollout.ID, "tenant", t.Slug, "err", err)
	}
}

// restored puts the copy of a target's database in its place, where the rollback
// is to. It needs nothing to be known of how far the target came. nil: the
// target goes back by the reverses.
func (s *Service) restored(ctx context.Context, l *lease, t leased) *result {
	if l.rollout.Strategy.Snapshot == nil || l.batch.Direction == up {
		return nil
	}
	lost := t.was == controlplane.TargetUnknown
	t.was = controlplane.TargetPending
	row, err := fleet.SnapshotOf(ctx, s.cat.Ent(), l.rollout.ID, t.TenantID)
	if err == nil && (row == nil || row.State != fleet.SnapshotRestoring) {
		return nil
	}
	r := known(l, t)
	if r == nil && err == nil {
		err = s.onHome(ctx, l, t, func(ctx context.Context, still func(context.Context) error) error {
			return s.restore(ctx, l, t, row, still)
		})
	}
	switch {
	case r != nil:
	case err == nil:
		return &result{Status: arrived(l), Version: t.FromVersion, Tried: true, answered: true}
	case refusal(err) != nil:
		r = &result{Status: failedIn(l), Version: t.Version, Tried: true, Failure: &controlplane.Failure{Message: "not restored: " + refusal(err).Error(), Hint: refusal(err).Hint}}
	default:
		late := s.notCopied(l, t, fmt.Errorf("put the copy back: %w", err))
		r = &late
	}
	r.Failure = stillToldOf(t.Failure, lost, r.Failure)
	return r
}

// stillToldOf is a failure of a target that was to get its copy back, with what
// was known before of how far it had come: another rollback asks for that.
func stillToldOf(had *controlplane.Failure, lost bool, failure *controlplane.Failure) *controlplane.Failure {
	if failure == nil {
		return nil
	}
	told := *failure
	told.Unknown = lost || had != nil && had.Unknown
	if had != nil && had.Statement > 0 && told.Statement == 0 {
		told.File, told.Version, told.Statement = had.File, had.Version, had.Statement
	}
	return &told
}

// restore puts a copy back and drops what it took the place of. Whoever worked
// on the tenant before is shut out of the copy before it has the name by which
// he would find it.
func (s *Service) restore(ctx context.Context, l *lease, t leased, row *ent.Snapshot, still func(context.Context) error) error {
	home := pg.Home{Schema: t.placement.Schema, Logins: t.placement.Logins}
	err := s.fleet.Restore(ctx, row, home, still, func(ctx context.Context, owner *pgx.Conn) error {
		at, err := migrator.Fence(ctx, owner, l.home(t, ""))
		if err != nil {
			return err
		}
		if at != t.FromVersion {
			return controlplane.Errorf(controlplane.Refused, "the copy is at version %q, not at %q", at, t.FromVersion).
				WithHint("another tool moved the tenant when the rollout began; go back by the down files, without --restore")
		}
		return pg.WriteComment(ctx, owner, t.TenantID)
	})
	if err != nil {
		return err
	}
	if err := s.fleet.DropSnapshot(ctx, row); err != nil { // the sweep tries again
		s.log.Warn("the database that a copy took the place of is not dropped yet", "rollout", l.rollout.ID, "tenant", t.Slug, "err", err)
	}
	return nil
}
