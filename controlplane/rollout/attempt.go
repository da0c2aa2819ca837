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
	"github.com/manorhq/manor/ent"
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

// result is what happened to one target; those of a batch are stored together.
type result struct {
	ID       int
	Status   controlplane.TargetStatus
	Version  string // at which the tenant is now
	Failure  *controlplane.Failure
	Duration time.Duration
	Pause    time.Duration // before one that is not done comes back
	Tried    bool          // counts as an attempt
	waited   string        // what it had to wait for, and will again
	trouble  bool          // Failure is the cluster's and no tenant's
	halts    bool          // nothing more of its batch is to be started
}

// attempt works on one target. A panic fails that target and nothing else.
func (s *Service) attempt(ctx context.Context, l *lease, t leased) (r result) {
	began := time.Now()
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("panic while working on a target", "rollout", t.RolloutID, "tenant", t.Slug, "panic", p, "stack", string(debug.Stack()))
			r = result{Status: failedIn(l), Version: t.Version, Tried: true, Failure: &controlplane.Failure{Message: "Manor failed on this tenant (see its log)"}}
		}
		r.ID, r.Duration = t.ID, time.Since(began)
		r.halts = r.trouble || r.Status == controlplane.TargetFailed && l.rollout.OnError != controlplane.OnErrorContinue
	}()
	if known := known(l, t); known != nil {
		return *known
	}
	owner, err := s.fleet.Owner(ctx, t.placement.DatabaseID)
	if err != nil {
		return notReached(t, err)
	}
	r = s.try(ctx, l, t, owner)
	if r.waited == waitLocks {
		s.nameBlocker(ctx, t, r.Failure)
	}
	return r
}

// known judges a target by what the catalog knows of its tenant, if that is enough.
func known(l *lease, t leased) *result {
	upwards := l.batch.Direction == up && t.was != controlplane.TargetUnknown
	switch {
	case t.tenant != nil && t.tenant.State == controlplane.TenantProvisioning && t.Attempts+1 < maxAttempts:
		r := deferred(t, &controlplane.Failure{Message: "its home is being made"}, controlplane.TargetDeferred)
		return &r
	case t.tenant == nil || t.placement == nil || !t.tenant.State.Migratable():
		return skipped(t, "the tenant is "+stateOf(t.tenant))
	case upwards && t.Version > l.rollout.Version:
		return skipped(t, "it is at "+t.Version+", beyond the rollout's version")
	case upwards && t.Version == l.rollout.Version && t.Version == t.FromVersion:
		return &result{Status: controlplane.TargetCurrent, Version: t.Version}
	}
	return nil
}

func stateOf(t *ent.Tenant) string {
	if t == nil {
		return "gone"
	}
	return string(t.State)
}

func skipped(t leased, why string) *result {
	return &result{Status: controlplane.TargetSkipped, Version: t.Version, Failure: &controlplane.Failure{Message: why}}
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
		t.was = controlplane.TargetUnknown // until its revisions are read
		actual, err := readVersion(ctx, owner, t.placement.Schema)
		if err != nil {
			return notReached(t, err)
		}
		if actual == goal(l, t) {
			return result{Status: arrived(l), Version: actual, Tried: true}
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
// about it before is not known now. That nothing answers is the cluster's
// trouble, and counts as no attempt.
func notReached(t leased, err error) result {
	status := controlplane.TargetDeferred
	if t.was == controlplane.TargetUnknown {
		status = t.was
	}
	r := deferred(t, &controlplane.Failure{Message: err.Error(), SQLState: stateIn(err)}, status)
	switch {
	case errors.Is(err, fleet.ErrNoConnection), pg.TroubleOf(err) == pg.Connections:
		return r.free(t, status, waitConnections)
	case pg.TroubleOf(err) == pg.Cluster:
		return r.troubled(t, status)
	}
	return r
}

// free makes a result one that counts as no attempt.
func (r result) free(t leased, status controlplane.TargetStatus, waited string) result {
	r.Status, r.Tried, r.waited, r.Pause = status, false, waited, pauseBefore(t.Attempts)
	return r
}

// troubled makes a result one that the cluster is to blame for: it comes back
// as soon as something is started there again.
func (r result) troubled(t leased, status controlplane.TargetStatus) result {
	r.Status, r.Tried, r.trouble, r.Pause = status, false, true, 0
	return r
}

func stateIn(err error) string {
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		return refused.Code
	}
	return ""
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
		ctx, rest := s.watched(ctx, owner, conn)
		defer rest()
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
	r := result{Version: done.Version, Failure: done.Failure, Tried: true}
	switch done.Outcome {
	case migrator.Applied, migrator.Current:
		r.Status = arrived(l)
		return r
	case migrator.Failed:
		r.Status = failedIn(l)
		return r
	case migrator.Stopped:
		return r.troubled(t, controlplane.TargetDeferred)
	}
	if r.Failure == nil && done.Err != nil {
		r.Failure = &controlplane.Failure{Message: done.Err.Error()}
	}
	r = deferred(t, r.Failure, controlplane.TargetDeferred)
	r.Version = done.Version
	switch stateOfFailure(r.Failure) {
	case "55P03":
		r.waited = waitLocks
	case "53300":
		return r.free(t, controlplane.TargetDeferred, waitConnections)
	case pg.StateBuilding:
		return r.free(t, controlplane.TargetDeferred, "")
	}
	return r
}

func stateOfFailure(f *controlplane.Failure) string {
	if f == nil {
		return ""
	}
	return f.SQLState
}

// deferred lets a target come back later, unless it has come back too often.
func deferred(t leased, failure *controlplane.Failure, status controlplane.TargetStatus) result {
	r := result{Status: status, Version: t.Version, Failure: failure, Tried: true}
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
		r.Pause = pauseBefore(t.Attempts)
	}
	return r
}

// pauseBefore is how long a target waits after so many attempts, with jitter.
func pauseBefore(attempts int) time.Duration {
	pause := min(firstPause<<min(attempts, maxAttempts), maxPause)
	return pause/2 + rand.N(pause)
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
