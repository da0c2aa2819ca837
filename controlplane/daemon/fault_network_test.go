package daemon_test

import (
	"testing"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/faultproxy"
	"github.com/manorhq/manor/internal/pgtest"
)

// The server's side of a half-open connection stays open here, as behind a
// firewall that has forgotten it: no side hears anything of the other.
func TestConnectionsThatGoHalfOpenAreGivenUp(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		isolation controlplane.Isolation
		files     map[string]string
		on        string // a word of one message to each tenant
	}{
		"at a COMMIT":                   {controlplane.IsolationSchema, wrapped(), "COMMIT"},
		"in a file without transaction": {controlplane.IsolationDatabase, unwrapped(), "CONCURRENTLY"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := controlplanetest.Proxy(t, pgtest.Server(t))
			f := newFleetFor(t, c.files, controlplanetest.Options{}, server, controlplane.NewTenant{Isolation: c.isolation}, 3)
			for i, when := range faultproxy.Moments {
				struck := server.Proxy.Arm(faultproxy.Strike{On: c.on, Nth: i + 1, When: when, Silent: true})
				defer func() { <-struck }()
			}
			id := f.begin(controlplane.NewRollout{})
			f.Working(func() { f.finishes(id); server.Proxy.Cut() })
			f.proves(id, controlplane.RolloutSucceeded, controlplane.TargetSucceeded, "4", 1, 0)
		})
	}
}

// Whoever waits for a server: a home being made is no rollout's.
func TestHomeWhoseDatabaseWasMadeOverAHalfOpenConnectionIsSettled(t *testing.T) {
	t.Parallel()
	server := controlplanetest.Proxy(t, pgtest.Server(t))
	p := controlplanetest.Open(t, controlplanetest.Options{})
	p.AddServer("one", server)
	struck := server.Proxy.Arm(faultproxy.Strike{On: "CREATE DATABASE", When: faultproxy.After, Silent: true})
	create(t, p, "own", 1)
	slug := controlplanetest.Slugs("own", 1)[0]
	p.Working(func() {
		defer server.Proxy.Cut() // or what is half-open would hold up the end of the test
		<-struck
		if tenant := p.Settled(slug); tenant.State != controlplane.TenantActive {
			t.Errorf("the tenant is %s: %v", tenant.State, tenant.Failure)
		}
	})
}

// Nothing is sent over an idle connection before it has been asked whether it
// is alive, and that is not to be waited for either.
func TestIdleConnectionsThatHaveGoneHalfOpenHoldNobodyUp(t *testing.T) {
	t.Parallel()
	server := controlplanetest.Proxy(t, pgtest.Server(t))
	f := newFleet(t, controlplanetest.Options{}, server, controlplane.NewTenant{}, 3)
	superuser := controlplanetest.Superuser(t, f.server, "postgres")
	f.Working(func() {
		id := f.begin(controlplane.NewRollout{})
		f.finishes(id)
		f.Eventually("the connections have been idle for longer than pgx trusts them", func() (idle bool, err error) {
			err = superuser.QueryRow(t.Context(), `SELECT count(*) > 0 AND bool_and(state_change < clock_timestamp() - interval '1.1 s')
				FROM pg_stat_activity WHERE datname = $1`, f.tenants[0].Placement.Database).Scan(&idle)
			return idle, err
		})
		server.Proxy.HalfOpen(faultproxy.BothWays)
		if _, err := f.RollbackRollout(t.Context(), id, controlplane.RollbackRequest{}); err != nil {
			t.Fatal(err)
		}
		f.finishes(id)
		server.Proxy.Cut()
		f.proves(id, controlplane.RolloutRolledBack, controlplane.TargetRolledBack, "2", 1, 1)
	})
}
