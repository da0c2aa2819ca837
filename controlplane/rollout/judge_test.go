package rollout

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/ent"
)

// towards is a lease of a rollout to version 5.
func towards(direction string) *lease {
	return &lease{batch: &ent.Batch{Direction: direction}, rollout: &ent.Rollout{Version: "5"}}
}

// aTarget is one of a tenant that is active, which the rollout has taken from one
// version to another.
func aTarget(direction, from, version string, changes ...func(*leased)) leased {
	t := leased{Target: &ent.Target{Slug: "acme", Direction: direction, FromVersion: from, Version: version}, was: controlplane.TargetPending,
		tenant: &ent.Tenant{State: controlplane.TenantActive}, placement: &ent.Placement{}}
	for _, change := range changes {
		change(&t)
	}
	return t
}

func unheard(t *leased)  { t.was = controlplane.TargetUnknown }
func deleting(t *leased) { t.tenant.State = controlplane.TenantDeleting }
func tiring(t *leased)   { t.Attempts = maxAttempts - 1 }
func tired(t *leased)    { t.Attempts = maxAttempts }

// said is a verdict as a table writes it down: status, version, and what else is so.
func said(r *result) string {
	if r == nil {
		return "work to do"
	}
	s := fmt.Sprintf("%s at %s", r.Status, r.Version)
	if r.Origin != nil {
		s += " from " + *r.Origin
	}
	for _, fact := range []struct {
		name string
		is   bool
	}{{"tried", r.Tried}, {"answered", r.answered}, {"trouble", r.trouble}} {
		if fact.is {
			s += ", " + fact.name
		}
	}
	if r.waited != "" {
		s += ", waited for " + r.waited
	}
	return s
}

func TestKnownBeforeATenantIsAsked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		direction string
		target    leased
		want      string
	}{
		"behind":                             {up, aTarget(up, "2", "2"), "work to do"},
		"there already":                      {up, aTarget(up, "5", "5"), "current at 5"},
		"there by this rollout":              {up, aTarget(up, "2", "5"), "work to do"},
		"beyond":                             {up, aTarget(up, "6", "6"), "skipped at 6"},
		"gone":                               {up, aTarget(up, "2", "2", func(t *leased) { t.tenant = nil }), "skipped at 2"},
		"being deleted":                      {up, aTarget(up, "2", "2", deleting), "skipped at 2"},
		"being deleted, half-way":            {up, aTarget(up, "2", "4", deleting), "needs_attention at 4"},
		"being deleted, nobody knows where":  {up, aTarget(up, "2", "2", deleting, unheard), "work to do"},
		"failed, nobody knows where":         {up, aTarget(up, "2", "2", unheard, func(t *leased) { t.tenant.State = controlplane.TenantFailed }), "skipped at 2"},
		"there before, nobody knows where":   {up, aTarget(up, "5", "5", unheard), "current at 5"},
		"back, being deleted":                {down, aTarget(down, "2", "5", deleting), "needs_attention at 5"},
		"back, beyond what the rollout does": {down, aTarget(down, "2", "6"), "work to do"},
	} {
		if got := said(known(towards(c.direction), c.target)); got != c.want {
			t.Errorf("%s: %s; want %s", name, got, c.want)
		}
	}
}

func TestWhereAFenceFoundATenant(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		direction string
		target    leased
		actual    string
		want      string
	}{
		"where it started":             {up, aTarget(up, "2", "2", unheard), "2", "work to do"},
		"on the way":                   {up, aTarget(up, "2", "2", unheard), "4", "work to do"},
		"at its goal":                  {up, aTarget(up, "2", "2", unheard), "5", "succeeded at 5, tried, answered"},
		"beyond":                       {up, aTarget(up, "2", "2", unheard), "6", "skipped at 6 from 6, tried, answered"},
		"beyond what was done":         {up, aTarget(up, "2", "4", unheard), "6", "skipped at 4, tried"},
		"being deleted":                {up, aTarget(up, "2", "2", unheard, deleting), "4", "needs_attention at 4, answered"},
		"being deleted, untouched":     {up, aTarget(up, "2", "2", unheard, deleting), "2", "skipped at 2, answered"},
		"after too many attempts":      {up, aTarget(up, "2", "2", unheard, tired), "4", "failed at 4, answered"},
		"at its goal after too many":   {up, aTarget(up, "2", "2", unheard, tired), "5", "succeeded at 5, tried, answered"},
		"back on the way":              {down, aTarget(down, "2", "5", unheard), "3", "work to do"},
		"back at its origin":           {down, aTarget(down, "2", "5", unheard), "2", "rolled_back at 2, tried, answered"},
		"back below its origin":        {down, aTarget(down, "2", "5", unheard), "1", "needs_attention at 5, tried"},
		"back above the rollout":       {down, aTarget(down, "2", "5", unheard), "6", "needs_attention at 5, tried"},
		"back, after too many":         {down, aTarget(down, "2", "5", unheard, tired), "4", "needs_attention at 4, answered"},
		"back, being deleted half-way": {down, aTarget(down, "2", "5", unheard, deleting), "3", "needs_attention at 3, answered"},
	} {
		was := *c.target.Target
		got := c.target.fencedAt(towards(c.direction), c.actual)
		if said(got) != c.want {
			t.Errorf("%s: %s; want %s", name, said(got), c.want)
		}
		if got == nil && (!c.target.fenced || c.target.Version != c.actual || c.target.was != controlplane.TargetPending) {
			t.Errorf("%s: the work does not go on from %s: %+v", name, c.actual, c.target)
		}
		if c.target.FromVersion != was.FromVersion {
			t.Errorf("%s: it now starts from %s", name, c.target.FromVersion)
		}
	}
}

func TestTenantThatCannotBeAskedStaysAsItWas(t *testing.T) {
	t.Parallel()
	_, err := pgconn.Connect(t.Context(), "host=127.0.0.1 port=1 user=nobody dbname=none sslmode=disable") // nobody listens there
	silent := pg.ConnectError("", err)
	refused := func(code string) error { return fmt.Errorf("reach it: %w", &pgconn.PgError{Code: code}) }
	for name, c := range map[string]struct {
		target leased
		err    error
		want   string
	}{
		"nothing answers":                 {aTarget(up, "2", "2"), silent, "deferred at 2, trouble"},
		"nothing answers, and was lost":   {aTarget(up, "2", "2", unheard), silent, "unknown at 2, trouble"},
		"nothing answers, long since":     {aTarget(up, "2", "2", tiring), silent, "deferred at 2, trouble"},
		"no connection is free":           {aTarget(up, "2", "2", tiring), fmt.Errorf("log in: %w", fleet.ErrNoConnection), "deferred at 2, waited for " + waitConnections},
		"the server has none left":        {aTarget(up, "2", "2"), refused("53300"), "deferred at 2, waited for " + waitConnections},
		"what was lost still runs":        {aTarget(up, "2", "2", unheard, tiring), refused(pg.StateBusy), "unknown at 2"},
		"a lock is not to be had":         {aTarget(up, "2", "2"), refused("55P03"), "deferred at 2, tried"},
		"a lock is not to be had at last": {aTarget(up, "2", "2", tiring), refused("55P03"), "failed at 2, tried"},
		"nobody knows, at last":           {aTarget(up, "2", "2", unheard, tiring), refused("55P03"), "unknown at 2, tried"},
		"a lock on the way back, at last": {aTarget(down, "2", "5", tiring), refused("55P03"), "needs_attention at 5, tried"},
	} {
		r := notReached(towards(c.target.Direction), c.target, c.err)
		if said(&r) != c.want {
			t.Errorf("%s: %s; want %s", name, said(&r), c.want)
		}
		if !r.Status.Done() && r.Pause == 0 && !r.trouble {
			t.Errorf("%s: it comes back at once", name)
		}
	}
}

func TestWhoWaitsForTheSameAgainWaitsLongerAndSlowsNobodyDown(t *testing.T) {
	t.Parallel()
	full := &pgconn.PgError{Code: "53300"}
	first := notReached(towards(up), aTarget(up, "2", "2"), full)
	again := notReached(towards(up), aTarget(up, "2", "2", func(t *leased) { t.Failure = first.Failure }), full)
	if first.waited != waitConnections || again.waited != "" {
		t.Errorf("waited for %q, then for %q", first.waited, again.waited)
	}
	if first.Pause > 2*firstPause || again.Pause < 4*firstPause {
		t.Errorf("paused for %s, then for %s", first.Pause, again.Pause)
	}
}

func TestTroubleThatOneTenantAloneHasMetIsItsOwn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		accused string
		state   string
		target  leased
		want    string
	}{
		"of the cluster":              {"", "28P01", aTarget(up, "2", "2", tiring), "deferred at 2, trouble"},
		"of another tenant":           {"other", "28P01", aTarget(up, "2", "2", tiring), "deferred at 2, trouble"},
		"of its own":                  {"acme", "28P01", aTarget(up, "2", "2"), "deferred at 2, tried, trouble"},
		"of its own, for the last":    {"acme", "28P01", aTarget(up, "2", "2", tiring), "failed at 2, tried, answered"},
		"that no tenant has alone":    {"acme", "53100", aTarget(up, "2", "2", tiring), "deferred at 2, trouble"},
		"of its own, back, for last":  {"acme", "28000", aTarget(down, "2", "5", tiring), "needs_attention at 5, tried, answered"},
		"of its own, but of who lost": {"acme", "XX001", aTarget(up, "2", "2", unheard, tiring), "unknown at 2, tried, trouble"},
	} {
		l := towards(c.target.Direction)
		l.accused = c.accused
		r := notReached(l, c.target, &pgconn.PgError{Code: c.state})
		if said(&r) != c.want {
			t.Errorf("%s: %s; want %s", name, said(&r), c.want)
		}
	}
}

func TestWhatTheMigratorSaysIsJudged(t *testing.T) {
	t.Parallel()
	failure := func(state string) *controlplane.Failure {
		return &controlplane.Failure{Message: "refused", SQLState: state}
	}
	for name, c := range map[string]struct {
		target leased
		done   migrator.Result
		want   string
	}{
		"applied":                    {aTarget(up, "2", "2"), migrator.Result{Outcome: migrator.Applied, Version: "5"}, "succeeded at 5, tried"},
		"reverted":                   {aTarget(down, "2", "5"), migrator.Result{Outcome: migrator.Applied, Version: "2"}, "rolled_back at 2, tried"},
		"refused on the way":         {aTarget(up, "2", "2"), migrator.Result{Outcome: migrator.Failed, Version: "4", Failure: failure("23514")}, "failed at 4, tried"},
		"refused on the way back":    {aTarget(down, "2", "5"), migrator.Result{Outcome: migrator.Failed, Version: "4", Failure: failure("23514")}, "needs_attention at 4, tried"},
		"a full disk":                {aTarget(up, "2", "2", tiring), migrator.Result{Outcome: migrator.Stopped, Version: "3", Failure: failure("53100")}, "deferred at 3, trouble"},
		"a lock, half-way":           {aTarget(up, "2", "2"), migrator.Result{Outcome: migrator.Deferred, Version: "4", Failure: failure("55P03")}, "deferred at 4, tried, waited for " + waitLocks},
		"a lock, at last":            {aTarget(up, "2", "2", tiring), migrator.Result{Outcome: migrator.Deferred, Version: "4", Failure: failure("55P03")}, "failed at 4, tried, waited for " + waitLocks},
		"another builds in its home": {aTarget(up, "2", "2", tiring), migrator.Result{Outcome: migrator.Deferred, Version: "2", Failure: failure(pg.StateBuilding)}, "deferred at 2"},
		"a deadlock":                 {aTarget(up, "2", "2"), migrator.Result{Outcome: migrator.Deferred, Version: "2", Failure: failure("40P01")}, "deferred at 2, tried"},
	} {
		r := judge(towards(c.target.Direction), c.target, c.done)
		if said(&r) != c.want {
			t.Errorf("%s: %s; want %s", name, said(&r), c.want)
		}
		if r.Failure == nil && !r.Status.Done() {
			t.Errorf("%s: nobody is told why", name)
		}
	}
}

func TestPausesDoubleWithJitterUpToTheLongest(t *testing.T) {
	t.Parallel()
	policy := retryOf(&ent.Rollout{})
	var seen []time.Duration
	for attempts := range maxAttempts {
		most := min(firstPause<<attempts, maxPause)
		pause := policy.pause(attempts)
		if pause < most/2 || pause > most*3/2 {
			t.Errorf("after %d attempts: %s, not about %s", attempts, pause, most)
		}
		seen = append(seen, pause)
	}
	if again := policy.pause(maxAttempts - 1); again == seen[maxAttempts-1] {
		t.Errorf("two pauses are both %s: those deferred together come back together", again)
	}
}
