package tenant_test

import (
	"testing"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/pgtest"
)

// gatedPlane has its doors in one process and its worker, behind a gate, in
// another: doors ask clusters too whether they answer.
func gatedPlane(t *testing.T) (*controlplanetest.Plane, *controlplanetest.Gate) {
	t.Helper()
	g := &controlplanetest.Gate{}
	p := controlplanetest.Open(t, controlplanetest.Options{Idle: true})
	p.AddServer("one", pgtest.Server(t))
	p.Config.Workers, p.Config.Dial = true, g.Dial
	p.Start()
	return p, g
}

// converging counts the jobs that bring tenants to their state.
func converging(t *testing.T, p *controlplanetest.Plane, states ...string) (n int) {
	t.Helper()
	conn := p.Catalog()
	defer conn.Close(t.Context())
	err := conn.QueryRow(t.Context(), "SELECT count(*) FROM river.river_job WHERE kind = 'tenant.converge' AND state::text = ANY($1)", states).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// overtake holds up the work on a tenant, changes the tenant's state, waits
// until the job for that has come and gone, and lets the work go on to its end.
func overtake(t *testing.T, p *controlplanetest.Plane, g *controlplanetest.Gate, begin, overtaking func() error) {
	t.Helper()
	knocked, release := g.Shut()
	if err := begin(); err != nil {
		t.Fatal(err)
	}
	<-knocked
	done := converging(t, p, "completed")
	if err := overtaking(); err != nil {
		t.Fatal(err)
	}
	p.Eventually("the job that overtakes has come", func() (bool, error) { return converging(t, p, "completed") > done, nil })
	release()
	p.Eventually("no job is left", func() (bool, error) {
		return converging(t, p, "available", "running", "scheduled", "retryable", "pending") == 0, nil
	})
}

func TestResumeDuringASuspensionLetsInWithoutWaitingForASweep(t *testing.T) {
	t.Parallel()
	p, g := gatedPlane(t)
	p.Create(controlplane.NewTenant{}, "acme")
	overtake(t, p, g, func() error { _, err := p.SuspendTenant(t.Context(), "acme", false); return err },
		func() error { _, err := p.ResumeTenant(t.Context(), "acme", false); return err })
	tenant, err := p.ShowTenant(t.Context(), "acme")
	if err != nil || tenant.State != controlplane.TenantActive || !tenant.Settled {
		t.Fatalf("%+v, %v", tenant, err)
	}
	p.Connect("acme")
}

func TestPurgeDuringAFailingProvisioningIsNotForgotten(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, like controlplane.NewTenant) {
		p, g := gatedPlane(t)
		p.Push("broken", map[string]string{"1_broken.sql": "SELECT 1/0;\n"})
		var id string
		overtake(t, p, g, func() error {
			like.Slug = "acme"
			made, err := p.CreateTenants(t.Context(), []controlplane.NewTenant{like}, false)
			id = made[0].Tenant.ID
			return err
		}, func() error { _, err := p.PurgeTenant(t.Context(), "acme", "acme", false); return err })
		var gone bool
		err := p.Catalog().QueryRow(t.Context(), "SELECT state = 'deleted' AND settled FROM tenants WHERE id = $1", id).Scan(&gone)
		if err != nil || !gone {
			t.Fatalf("the tenant is there: %v", err)
		}
	})
}
