package rollout

import (
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/controlplane/pg"
)

// result is what happened to one target; those of a batch are stored together.
type result struct {
	ID          int
	Status      controlplane.TargetStatus
	Version     string // at which the tenant is now
	Failure     *controlplane.Failure
	Duration    time.Duration
	Fingerprint string        // of its schema; empty: not looked at
	Pause       time.Duration // before one that is not done comes back
	Tried       bool          // counts as an attempt
	Origin      *string       // the version it starts from, if not the one it was thought to
	answered    bool          // the tenant was asked and answered
	waited      string        // what it had to wait for, and will again
	trouble     bool          // Failure is the cluster's and no tenant's
	halts       bool          // nothing more of its batch is to be started
	urgent      bool          // others must know of it before they start anything
}

// known judges a target by what the catalog knows of its tenant, if that is enough.
func known(l *lease, t leased) *result {
	sure := t.was != controlplane.TargetUnknown
	upwards := l.batch.Direction == up && (sure || t.FromVersion >= l.rollout.Version) // the rollout cannot have touched the latter
	switch {
	case t.tenant != nil && t.tenant.State == controlplane.TenantFailed:
		return skipped(t, "the tenant is failed: "+t.tenant.Failure.String())
	case t.tenant == nil || t.placement == nil:
		return skipped(t, "the tenant is gone")
	case !t.tenant.State.Migratable() && sure:
		return closed(l, t)
	case sure && t.tenant.Pin.Holds(time.Now()) && l.batch.Direction == down:
		return astray(t, controlplane.TargetNeedsAttention, "the tenant is pinned: "+t.tenant.Pin.String())
	case sure && t.tenant.Pin.Holds(time.Now()) && t.Version == t.FromVersion:
		return skipped(t, "the tenant is pinned: "+t.tenant.Pin.String())
	case upwards && t.Version > l.rollout.Version:
		return skipped(t, "it is at "+t.Version+", beyond the rollout's version")
	case upwards && t.Version == l.rollout.Version && t.Version == t.FromVersion:
		return &result{Status: controlplane.TargetCurrent, Version: t.Version}
	}
	return nil
}

// closed is a target whose tenant is not worked on any more. Where the rollout
// has changed it, that stays.
func closed(l *lease, t leased) *result {
	r := skipped(t, "the tenant is "+string(t.tenant.State))
	if l.batch.Direction == down || t.Version != t.FromVersion {
		r.Status = controlplane.TargetNeedsAttention
	}
	return r
}

func skipped(t leased, why string) *result {
	return &result{Status: controlplane.TargetSkipped, Version: t.Version, Failure: &controlplane.Failure{Message: why}}
}

// fencedAt notes where a target is that nobody else can be at any more. nil:
// there is work to do from there.
func (t *leased) fencedAt(l *lease, actual string) *result {
	if r := locate(l, *t, actual, false); r != nil {
		return r
	}
	row := *t.Target
	row.Version = actual
	t.Target, t.was, t.fenced = &row, controlplane.TargetPending, true
	switch {
	case !t.tenant.State.Migratable():
		r := closed(l, *t)
		r.answered = true
		return r
	case t.Attempts >= retryOf(l.rollout).attempts: // or it would take one worker after the other with it
		return &result{Status: failedIn(l), Version: actual, answered: true, Failure: &controlplane.Failure{
			Message: fmt.Sprintf("given up after %d attempts: in the last one its worker or its connection was lost (see the logs of the workers)", t.Attempts)}}
	}
	return nil
}

// locate judges a tenant by the version that its revisions say. moved says that
// it was not this rollout that took it there: what this one did stays written
// down as it was. nil: there is work to do from there.
func locate(l *lease, t leased, actual string, moved bool) *result {
	upwards, changed := l.batch.Direction == up, t.Version != t.FromVersion
	r := &result{Version: actual, Tried: true, answered: true}
	switch {
	case upwards && changed && (moved || actual > l.rollout.Version):
		return astray(t, controlplane.TargetSkipped, "another tool has taken it from "+t.Version+" to "+actual)
	case upwards && actual > l.rollout.Version:
		r.Status, r.Origin, r.Failure = controlplane.TargetSkipped, &actual, &controlplane.Failure{Message: "it is at " + actual + ", beyond the rollout's version"}
	case upwards && moved && actual == l.rollout.Version:
		r.Status, r.Origin = controlplane.TargetCurrent, &actual
	case actual == goal(l, t):
		r.Status = arrived(l)
	case !upwards && (actual < t.FromVersion || actual > ceiling(l, t)):
		return astray(t, controlplane.TargetNeedsAttention, "the tenant is at "+actual+", not where the rollout left it ("+t.Version+")")
	default:
		return nil
	}
	return r
}

// astray is a target whose tenant somebody else has moved.
func astray(t leased, status controlplane.TargetStatus, why string) *result {
	return &result{Status: status, Version: t.Version, Tried: true, Failure: &controlplane.Failure{Message: why}}
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
func notReached(l *lease, t leased, err error) result {
	status := controlplane.TargetDeferred
	if t.was == controlplane.TargetUnknown {
		status = t.was
	}
	r := deferred(l, t, &controlplane.Failure{Message: err.Error(), SQLState: stateIn(err)}, status)
	switch {
	case stateIn(err) == pg.StateBusy: // what a lost worker had begun still runs, and has its own limits
		return r.free(l, t, status, "")
	case errors.Is(err, fleet.ErrNoConnection), pg.TroubleOf(err) == pg.Connections:
		return r.free(l, t, status, waitConnections)
	case pg.TroubleOf(err) == pg.Cluster:
		return r.troubled(l, t, status)
	}
	return r
}

// free makes a result one that counts as no attempt. Who waits for the same as
// the last time waits longer, and others are not slowed down for it: that nobody
// else may have what it waits for is for them to tell.
func (r result) free(l *lease, t leased, status controlplane.TargetStatus, waited string) result {
	r.Status, r.Tried, r.waited, r.Pause = status, false, waited, retryOf(l.rollout).pause(t.Attempts)
	if t.Failure != nil && t.Failure.SQLState == stateOfFailure(r.Failure) {
		r.waited, r.Pause = "", retryOf(l.rollout).pause(t.Attempts+4)
	}
	return r
}

// troubled makes a result one that the cluster is to blame for: it comes back
// as soon as something is started there again. It counts as an attempt where
// nobody but this tenant has met the trouble: it may be its own.
func (r result) troubled(l *lease, t leased, status controlplane.TargetStatus) result {
	if l.accused == t.Slug && mayBeItsOwn(r.Failure) {
		r = deferred(l, t, r.Failure, status)
		r.Pause, r.trouble = 0, !r.Status.Done()
		r.answered = !r.trouble // it is not the cluster
		return r
	}
	r.Status, r.Tried, r.trouble, r.Pause = status, false, true, 0
	return r
}

// mayBeItsOwn reports whether a cluster's trouble may be that of one of its
// databases or tenants: a login that is refused, an index that is corrupt, more
// objects than there are locks for, the marker of another catalog.
func mayBeItsOwn(trouble *controlplane.Failure) bool {
	switch stateOfFailure(trouble) {
	case "28000", "28P01", "53200", "XX001", "XX002", pg.StateForeign:
		return true
	}
	return false
}

func stateIn(err error) string {
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		return refused.Code
	}
	return ""
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
		return r.troubled(l, t, controlplane.TargetDeferred)
	}
	if r.Failure == nil && done.Err != nil {
		r.Failure = &controlplane.Failure{Message: done.Err.Error()}
	}
	r = deferred(l, t, r.Failure, controlplane.TargetDeferred)
	r.Version = done.Version
	switch stateOfFailure(r.Failure) {
	case "55P03":
		r.waited = waitLocks
	case "53300":
		return r.free(l, t, controlplane.TargetDeferred, waitConnections)
	case pg.StateBuilding:
		return r.free(l, t, controlplane.TargetDeferred, "")
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
func deferred(l *lease, t leased, failure *controlplane.Failure, status controlplane.TargetStatus) result {
	r := result{Status: status, Version: t.Version, Failure: failure, Tried: true}
	if t.Attempts+1 >= retryOf(l.rollout).attempts {
		switch {
		case status == controlplane.TargetUnknown: // stays so until its revisions are read
		case t.Direction == down:
			r.Status = controlplane.TargetNeedsAttention
		default:
			r.Status = controlplane.TargetFailed
		}
	}
	if !r.Status.Done() {
		r.Pause = retryOf(l.rollout).pause(t.Attempts)
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
