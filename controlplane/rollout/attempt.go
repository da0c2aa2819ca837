package rollout

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/controlplane/pg"
)

// attempt works on one target. A panic fails that target and nothing else.
func (s *Service) attempt(ctx context.Context, l *lease, t leased) (r result) {
	began := time.Now()
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("panic while working on a target", "rollout", t.RolloutID, "tenant", t.Slug, "panic", p, "stack", string(debug.Stack()))
			r = result{Status: failedIn(l), Version: t.Version, Tried: true, Failure: &controlplane.Failure{Message: "Manor failed on this tenant (see its log)"}}
		}
		r.ID, r.Duration = t.ID, time.Since(began)
		failed := r.Status == controlplane.TargetFailed && l.rollout.OnError != controlplane.OnErrorContinue
		r.halts, r.urgent = r.trouble || failed && orFirst(l.rollout.Strategy.Budget).Failures == 1, r.trouble || failed
	}()
	if known := known(l, t); known != nil {
		return *known
	}
	if restored := s.restored(ctx, l, t); restored != nil {
		return *restored
	}
	owner, err := s.fleet.Owner(ctx, t.placement.DatabaseID)
	if err != nil {
		return notReached(l, t, err)
	}
	if r = s.try(ctx, l, t, owner); r.Status == controlplane.TargetSucceeded {
		r = s.checked(ctx, l, t, owner, r)
	}
	if r.waited == waitLocks {
		s.nameBlocker(ctx, t, r.Failure)
	}
	return r
}

// try sends the migration and, when the tenant turns out to be elsewhere than
// the catalog thinks, looks where it is and goes on from there.
func (s *Service) try(ctx context.Context, l *lease, t leased, owner *fleet.Way) result {
	if t.was == controlplane.TargetUnknown {
		s.openLeft(ctx, l, t)
		if r := s.fence(ctx, l, &t, owner); r != nil {
			return *r
		}
	}
	if r := s.copyFirst(ctx, l, t); r != nil {
		return *r
	}
	expected := t.Version
	var origin *string
	for range 2 {
		done, err := s.send(ctx, l, t, owner, expected)
		switch {
		case err != nil:
			r := notReached(l, t, err)
			r.answered = t.fenced // then
			return r
		case elsewhere(done.Err) && l.batch.Direction == down && done.Version == expected:
			return s.halfBack(ctx, l, t, owner, expected)
		case elsewhere(done.Err): // somebody else has moved it; done.Version is where to
		case done.Outcome == migrator.Unknown:
			r := s.afterLoss(ctx, l, t, owner, done)
			r.Origin = origin
			if origin != nil && !r.Status.Done() {
				r.Version = *origin
			}
			return r
		default:
			r := judge(l, t, done)
			r.answered, r.Origin = true, origin
			return r
		}
		if r := locate(l, t, done.Version, true); r != nil {
			return *r
		}
		if expected = done.Version; l.batch.Direction == up {
			origin = &done.Version
		}
	}
	return deferred(l, t, &controlplane.Failure{Message: "the tenant's version keeps changing: another tool is at work on it"}, controlplane.TargetDeferred)
}

// fence finds out how far a target came of which nobody knows, after shutting
// out whoever may still be at it. nil: it is known now, and there is work to do.
func (s *Service) fence(ctx context.Context, l *lease, t *leased, owner *fleet.Way) *result {
	var actual string
	err := owner.Do(ctx, func(conn *pgx.Conn) (err error) {
		actual, err = migrator.Fence(ctx, conn, l.home(*t, ""))
		return err
	})
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok && migrator.OutcomeOf(refused) == migrator.Failed {
		return &result{Status: failedIn(l), Version: t.Version, Failure: &controlplane.Failure{Message: refused.Message, SQLState: refused.Code}, Tried: true, answered: true}
	}
	if err != nil {
		r := notReached(l, *t, err)
		return &r
	}
	r := t.fencedAt(l, actual)
	if r != nil && r.Status == controlplane.TargetRolledBack { // unless it began a file that no version tells of
		back := s.halfBack(ctx, l, *t, owner, actual)
		r = &back
	}
	return r
}

// halfBack judges a target whose version says that it is back, or is to go back
// from there, by what its revisions say of a file without transaction: what of
// it ran, nothing takes back.
func (s *Service) halfBack(ctx context.Context, l *lease, t leased, owner *fleet.Way, actual string) result {
	var how string
	err := owner.Do(ctx, func(conn *pgx.Conn) (err error) {
		how, err = migrator.HalfApplied(ctx, conn, t.placement.Schema)
		return err
	})
	switch {
	case err != nil:
		return notReached(l, t, err)
	case how == "" && actual == goal(l, t):
		return result{Status: arrived(l), Version: actual, Tried: true, answered: true}
	case how == "":
		return deferred(l, t, &controlplane.Failure{Message: "the tenant's version keeps changing: another tool is at work on it"}, controlplane.TargetDeferred)
	}
	return result{Status: controlplane.TargetNeedsAttention, Version: actual, Tried: true, answered: true, Failure: &controlplane.Failure{
		Message: "not rolled back: " + how + ", which stay", Hint: "mend it by hand, then `manor tenant set-version` says where it is"}}
}

// afterLoss reads where a tenant is after the answer to a COMMIT was lost. What
// was sent may still arrive: unless the tenant is there already, it is for the
// next epoch to shut that out.
func (s *Service) afterLoss(ctx context.Context, l *lease, t leased, owner *fleet.Way, done migrator.Result) result {
	t.was = controlplane.TargetUnknown
	actual, err := readVersion(ctx, owner, t.placement.Schema)
	if err != nil {
		return notReached(l, t, err)
	}
	if actual == goal(l, t) {
		return result{Status: arrived(l), Version: actual, Tried: true, answered: true}
	}
	failure := &controlplane.Failure{Message: "the connection was lost before the answer"}
	if done.Err != nil {
		failure.Message += ": " + done.Err.Error()
	}
	return deferred(l, t, failure, controlplane.TargetUnknown)
}

// elsewhere reports whether a tenant's revisions say another version than expected.
func elsewhere(err error) bool {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	return ok && refused.Code == pg.StateOtherAt
}

// home is the home of a target's tenant as the catalog believes it to be, at a version.
func (l *lease) home(t leased, version string) migrator.Target {
	return migrator.Target{
		Marker: pg.Marker{TenantID: t.TenantID, Slug: t.Slug, Schema: t.placement.Schema, Incarnation: l.incarnation,
			Generation: t.placement.Generation, Epoch: l.batch.Epoch},
		Isolation: t.tenant.Isolation, From: version,
	}
}

// send is one message to one tenant.
func (s *Service) send(ctx context.Context, l *lease, t leased, owner *fleet.Way, expected string) (done migrator.Result, err error) {
	to := l.home(t, expected)
	err = owner.Do(ctx, func(conn *pgx.Conn) error {
		if limit := time.Duration(l.rollout.Strategy.Timeouts.Tenant); limit > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, limit)
			defer cancel()
		}
		if l.batch.Direction == down {
			done = l.release.Revert(ctx, conn, to, t.FromVersion, l.reverses, limitsOf(l.rollout))
		} else {
			done = l.release.Apply(ctx, conn, to, l.rollout.Version, limitsOf(l.rollout))
		}
		return nil
	})
	return done, err
}

func readVersion(ctx context.Context, owner *fleet.Way, schema string) (version string, err error) {
	err = owner.Do(ctx, func(conn *pgx.Conn) error {
		version, err = migrator.CurrentVersion(ctx, conn, schema)
		return err
	})
	return version, err
}
