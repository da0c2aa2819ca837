package chaos_test

import (
	"fmt"
	"testing"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
)

// nursery is an estate whose every schema tenant needs a new shared database:
// the whole way, each time.
func nursery(t *testing.T) *estate {
	e := newEstate(t, "one")
	density := 1
	if _, err := e.SetCluster(t.Context(), "one", controlplane.ClusterChange{Density: &density}); err != nil {
		t.Fatal(err)
	}
	return e
}

// provisioning makes a tenant; its slug is free again when purging has ended.
func (e *estate) provisioning(like controlplane.NewTenant) drill {
	used := map[string]bool{}
	return drill{
		name:  "provisioning",
		start: func() { e.create(like, "acme") },
		ended: e.settled("acme"),
		check: func(when string) {
			tenant, err := e.ShowTenant(e.t.Context(), "acme")
			if err != nil || tenant.State != controlplane.TenantActive || tenant.Failure != nil {
				e.t.Fatalf("%s: %+v, %v", when, tenant, err)
			}
			if used[tenant.Placement.Schema] {
				e.t.Fatalf("%s: the name %s is used again", when, tenant.Placement.Schema)
			}
			used[tenant.Placement.Schema] = true
			e.isAt(when, "acme", "2")
			e.lives(when)
		},
	}
}

// lives proves that a tenant's login can do what it is for.
func (e *estate) lives(when string) {
	e.t.Helper()
	dsn, err := e.TenantDSN(e.t.Context(), "acme", true)
	if err != nil {
		e.t.Fatal(err)
	}
	conn, err := controlplanetest.Dial(e.t.Context(), dsn)
	if err != nil {
		e.t.Fatalf("%s: the login is not let in: %v", when, err)
	}
	defer conn.Close(e.t.Context())
	if _, err := conn.Exec(e.t.Context(), "INSERT INTO notes VALUES ((SELECT max(id) + 1 FROM notes), 'kept', 1)"); err != nil {
		e.t.Fatalf("%s: through the login: %v", when, err)
	}
}

// deletion keeps a tenant's data and shuts it out.
func (e *estate) deletion() drill {
	return drill{
		name: "deletion",
		start: func() {
			if _, err := e.DeleteTenant(e.t.Context(), "acme", false); err != nil {
				e.t.Fatal(err)
			}
		},
		ended: e.settled("acme"),
		check: func(when string) { e.isAt(when, "acme", "2"); e.shutOut(when) },
	}
}

// shutOut proves that a tenant's login is not let in.
func (e *estate) shutOut(when string) {
	e.t.Helper()
	var open int
	err := e.askOn("one", "postgres", "SELECT count(*) FROM pg_roles WHERE rolcanlogin AND rolname ~ '^t_'").Scan(&open)
	if err != nil || open > 0 {
		e.t.Errorf("%s: %d logins of a tenant that is shut out are open, %v", when, open, err)
	}
	if err := e.askOn("one", "postgres", "SELECT count(*) FROM pg_stat_activity WHERE usename ~ '^t_'").Scan(&open); err != nil || open > 0 {
		e.t.Errorf("%s: %d sessions of a tenant that is shut out are open, %v", when, open, err)
	}
}

func (e *estate) purging() drill {
	id := ""
	return drill{
		name: "purging",
		start: func() {
			tenant, err := e.PurgeTenant(e.t.Context(), "acme", "acme", false)
			if err != nil {
				e.t.Fatal(err)
			}
			id = tenant.ID
		},
		ended: func() (bool, error) { return e.gone(id)() },
		check: func(when string) {
			if n := len(e.ask("SELECT schema FROM placements").lines()); n > 0 {
				e.t.Errorf("%s: %d placements are left", when, n)
			}
		},
	}
}

// suspension shuts a tenant out who has a session open.
func (e *estate) suspension() drill {
	return drill{
		name: "suspension",
		start: func() {
			_ = e.Connect("acme") // a session, to be ended
			if _, err := e.SuspendTenant(e.t.Context(), "acme", false); err != nil {
				e.t.Fatal(err)
			}
		},
		ended: e.settled("acme"),
		check: func(when string) { e.isAt(when, "acme", "2"); e.shutOut(when) },
	}
}

func (e *estate) resumption() drill {
	return drill{
		name: "resumption",
		start: func() {
			if _, err := e.ResumeTenant(e.t.Context(), "acme", false); err != nil {
				e.t.Fatal(err)
			}
		},
		ended: e.settled("acme"),
		check: func(when string) { e.isAt(when, "acme", "2"); e.lives(when) },
	}
}

// failing makes a tenant whose first migration fails, under another slug each time.
func (e *estate) failing(like controlplane.NewTenant) drill {
	n, slug := 0, ""
	return drill{
		name:  "failing provisioning",
		start: func() { n++; slug = fmt.Sprintf("acme-%d", n); e.create(like, slug) },
		ended: func() (bool, error) { return e.settled(slug)() },
		check: func(when string) {
			tenant, err := e.ShowTenant(e.t.Context(), slug)
			if err != nil || tenant.State != controlplane.TenantFailed || tenant.Failure == nil || tenant.Failure.SQLState != "22012" {
				e.t.Fatalf("%s: %+v, %v", when, tenant, err)
			}
		},
	}
}
