package rollout

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/controlplane/pg"
)

const (
	// maxAttempts is how often a target that is deferred comes back before it
	// counts as failed: after some three minutes.
	maxAttempts = 12
	// firstPause doubles with every attempt, up to maxPause.
	firstPause = 500 * time.Millisecond
	maxPause   = 30 * time.Second
)

// limits bound what a rollout may do to a tenant's users: nobody waits longer
// than Lock behind us, and no statement holds a lock longer than Statement.
var limits = migrator.Limits{Lock: 500 * time.Millisecond, Statement: 30 * time.Second}

// result is what happened to one target; a batch's results are stored together.
type result struct {
	ID        int
	Status    controlplane.TargetStatus
	Version   string // at which the tenant is now
	Failure   *controlplane.Failure
	Duration  time.Duration
	NotBefore *time.Time // for those that come back
	Tried     bool       // counts as an attempt
	halts     bool       // nothing more of its batch is to be started
}

// attempt works on one target. A panic fails that target and nothing else.
func (s *Service) attempt(ctx context.Context, l *lease, t leased) (r result) {
	began := time.Now()
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("panic while working on a target", "rollout", t.RolloutID, "tenant", t.Slug, "panic", p, "stack", string(debug.Stack()))
			r = result{Status: failedIn(l), Version: t.Version, Failure: &controlplane.Failure{Message: "Manor failed on this tenant (see its log)"}}
		}
		r.ID, r.Duration, r.Tried = t.ID, time.Since(began), !r.halts
		r.halts = r.halts || r.Status == controlplane.TargetFailed && l.rollout.OnError != controlplane.OnErrorContinue
	}()
	if t.placement == nil || !t.tenant.State.Migratable() {
		return result{Status: controlplane.TargetSkipped, Version: t.Version, Failure: &controlplane.Failure{Message: "the tenant is " + string(t.tenant.State)}}
	}
	owner, err := s.fleet.Owner(ctx, t.placement.DatabaseID)
	if err != nil {
		return notReached(t, err)
	}
	return s.try(ctx, l, t, owner)
}

// try sends the migration and, when the tenant turns out to be elsewhere than
// the catalog thinks or the answer was lost, reads where it is.
func (s *Service) try(ctx context.Context, l *lease, t leased, owner *fleet.Way) result {
	expected := t.Version
	for range 2 {
		done, err := s.send(ctx, l, t, owner, expected)
		if err != nil {
			return notReached(t, err)
		}
		if done.Outcome != migrator.Unknown && !elsewhere(done.Err) {
			return judge(l, t, done)
		}
		actual, err := readVersion(ctx, owner, t.placement.Schema)
		if err != nil {
			return deferred(t, &controlplane.Failure{Message: err.Error()}, controlplane.TargetUnknown)
		}
		if actual == goal(l, t) {
			return result{Status: arrived(l), Version: actual}
		}
		if astray := strayed(l, t, actual); astray != nil {
			return *astray
		}
		expected = actual
	}
	return deferred(t, &controlplane.Failure{Message: "the tenant's version keeps changing: another tool is at work on it"}, controlplane.TargetDeferred)
}

// strayed judges a tenant that turned out to be where this rollout does not
// take tenants: somebody else has moved it.
func strayed(l *lease, t leased, actual string) *result {
	switch {
	case l.batch.Direction == up && actual > l.rollout.Version:
		return &result{Status: controlplane.TargetSkipped, Version: actual,
			Failure: &controlplane.Failure{Message: "it is at " + actual + ", beyond the rollout's version"}}
	case l.batch.Direction == down && (actual < t.FromVersion || actual > ceiling(l, t)):
		return &result{Status: controlplane.TargetNeedsAttention, Version: actual,
			Failure: &controlplane.Failure{Message: "the tenant is at " + actual + ", not where the rollout left it (" + t.Version + ")"}}
	}
	return nil
}

// ceiling is the version above which a rollback undoes nothing: where the
// rollout left the tenant or, when that is not known, where it was going.
func ceiling(l *lease, t leased) string {
	if t.was == controlplane.TargetUnknown {
		return l.rollout.Version
	}
	return t.Version
}

// notReached is a target whose tenant could not be asked. What was not known
// about it before is not known now.
func notReached(t leased, err error) result {
	status := controlplane.TargetDeferred
	if t.was == controlplane.TargetUnknown {
		status = t.was
	}
	return deferred(t, &controlplane.Failure{Message: err.Error()}, status)
}

// elsewhere reports whether a tenant's revisions say another version than expected.
func elsewhere(err error) bool {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	return ok && refused.Code == pg.StateOtherAt
}

// send is one message to one tenant.
func (s *Service) send(ctx context.Context, l *lease, t leased, owner *fleet.Way, expected string) (done migrator.Result, err error) {
	to := migrator.Target{
		Marker: pg.Marker{TenantID: t.TenantID, Slug: t.Slug, Schema: t.placement.Schema, Incarnation: l.incarnation,
			Generation: t.placement.Generation, Epoch: l.batch.Epoch},
		Isolation: t.tenant.Isolation, From: expected,
	}
	err = owner.Do(ctx, func(conn *pgx.Conn) error {
		if l.batch.Direction == down {
			done = l.release.Revert(ctx, conn, to, t.FromVersion, l.reverses, limits)
		} else {
			done = l.release.Apply(ctx, conn, to, l.rollout.Version, limits)
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

// judge turns what the migrator says into what happened to the target.
func judge(l *lease, t leased, done migrator.Result) result {
	switch done.Outcome {
	case migrator.Applied, migrator.Current:
		return result{Status: arrived(l), Version: done.Version}
	case migrator.Failed:
		return result{Status: failedIn(l), Version: done.Version, Failure: done.Failure}
	case migrator.Stopped: // the cluster's trouble, not the tenant's: it is not counted as an attempt
		at := time.Now().Add(maxPause)
		return result{Status: controlplane.TargetDeferred, Version: done.Version, Failure: done.Failure, NotBefore: &at, halts: true}
	default:
		r := deferred(t, done.Failure, controlplane.TargetDeferred)
		r.Version = done.Version
		return r
	}
}

// deferred lets a target come back later, with jitter, unless it has come back
// too often.
func deferred(t leased, failure *controlplane.Failure, status controlplane.TargetStatus) result {
	r := result{Status: status, Version: t.Version, Failure: failure}
	if t.Attempts+1 >= maxAttempts {
		switch {
		case status == controlplane.TargetUnknown: // stays so until its revisions are read
		case t.Direction == down:
			r.Status = controlplane.TargetNeedsAttention
		default:
			r.Status = controlplane.TargetFailed
		}
	}
	if !r.Status.Done() {
		pause := min(firstPause<<min(t.Attempts, maxAttempts), maxPause)
		at := time.Now().Add(pause/2 + rand.N(pause))
		r.NotBefore = &at
	}
	return r
}

// goal is the version a target is to arrive at.
func goal(l *lease, t leased) string {
	if l.batch.Direction == down {
		return t.FromVersion
	}
	return l.rollout.Version
}

func arrived(l *lease) controlplane.TargetStatus {
	if l.batch.Direction == down {
		return controlplane.TargetRolledBack
	}
	return controlplane.TargetSucceeded
}

func failedIn(l *lease) controlplane.TargetStatus {
	if l.batch.Direction == down {
		return controlplane.TargetNeedsAttention
	}
	return controlplane.TargetFailed
}
