package tenant_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/pgtest"
)

// ward is a control plane that works no jobs itself, so that a process which is
// going to be killed gets them, on a server of its own that can be counted.
type ward struct {
	*controlplanetest.Plane
	t      *testing.T
	server *devpg.Server
	like   controlplane.NewTenant
}

func newWard(t *testing.T, like controlplane.NewTenant) *ward {
	w := &ward{controlplanetest.Open(t, controlplanetest.Options{Idle: true}), t, pgtest.NewServer(t, devpg.Config{}), like}
	w.AddServer("one", w.server)
	density := 1 // every schema tenant needs a new shared database: the whole way, each time
	if _, err := w.SetCluster(t.Context(), "one", controlplane.ClusterChange{Density: &density}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *ward) create(slug string) {
	w.t.Helper()
	n := w.like
	n.Slug = slug
	results, err := w.CreateTenants(w.t.Context(), []controlplane.NewTenant{n}, false)
	if err != nil || results[0].Error != nil {
		w.t.Fatalf("create %s: %v, %v", slug, err, results)
	}
}

func (w *ward) settled(slug string) func() (bool, error) {
	return func() (bool, error) {
		tenant, err := w.ShowTenant(w.t.Context(), slug)
		return err == nil && tenant.Settled, err
	}
}

// gone asks whether a purged tenant has been settled; no door shows it any more.
func (w *ward) gone(id string) func() (bool, error) {
	return func() (gone bool, err error) {
		conn := w.Catalog()
		defer conn.Close(w.t.Context())
		err = conn.QueryRow(w.t.Context(), "SELECT state = 'deleted' AND settled FROM tenants WHERE id = $1", id).Scan(&gone)
		return gone, err
	}
}

// nothingLeftOver compares the cluster with the catalog.
func (w *ward) nothingLeftOver(when string) {
	w.t.Helper()
	for _, difference := range w.Leftovers(w.server) {
		w.t.Errorf("%s: %s", when, difference)
	}
}

func TestProvisioningKilledAtAnyStepEndsInAnActiveTenant(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, like controlplane.NewTenant) {
		w := newWard(t, like)
		w.Push("v1", controlplanetest.First())
		used := map[string]string{}
		began := time.Now()
		points := controlplanetest.Deaths(t, func(d controlplanetest.Death) (died bool) {
			slug := fmt.Sprintf("acme-%03d-%v", d.Write, d.Sent)
			w.create(slug)
			died = w.Crash(d, w.settled(slug))
			w.Recover(slug+" settles", w.settled(slug))
			w.works(slug, used, d)
			return died
		})
		w.nothingLeftOver("in the end")
		t.Logf("%d points in %s", points, time.Since(began))
	})
}

// works proves that a tenant is what a caller asked for.
func (w *ward) works(slug string, used map[string]string, d controlplanetest.Death) {
	w.t.Helper()
	tenant, err := w.ShowTenant(w.t.Context(), slug)
	if err != nil || tenant.State != controlplane.TenantActive || tenant.Version != "2" || tenant.Failure != nil {
		w.t.Fatalf("%s: %+v, %v", d, tenant, err)
	}
	if other := used[tenant.Placement.Schema]; other != "" {
		w.t.Fatalf("%s: %s has the name of %s", d, slug, other)
	}
	used[tenant.Placement.Schema] = slug
	conn := w.Connect(slug)
	defer conn.Close(w.t.Context())
	var body string
	err = conn.QueryRow(w.t.Context(), "INSERT INTO notes VALUES (1, 'kept') RETURNING body").Scan(&body)
	if err != nil || body != "kept" {
		w.t.Fatalf("%s: through the login of %s: %q, %v", d, slug, body, err)
	}
	if version := w.revision(tenant); version != "2" {
		w.t.Fatalf("%s: the revisions of %s say %s", d, slug, version)
	}
}

// revision is the last version that a tenant's own revision table names, as a
// superuser reads it.
func (w *ward) revision(tenant *controlplane.Tenant) (version string) {
	w.t.Helper()
	conn := controlplanetest.Superuser(w.t, w.server, tenant.Placement.Database)
	defer conn.Close(w.t.Context())
	err := conn.QueryRow(w.t.Context(), "SELECT max(version) FROM "+tenant.Placement.Schema+".atlas_schema_revisions WHERE applied = total").Scan(&version)
	if err != nil {
		w.t.Fatal(err)
	}
	return version
}

func TestFailingProvisioningKilledAtAnyStepLeavesNothing(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, like controlplane.NewTenant) {
		w := newWard(t, like)
		w.Push("v1", map[string]string{"1_notes.sql": "CREATE TABLE notes (id int);\n", "2_broken.sql": "SELECT 1/0;\n"})
		controlplanetest.Deaths(t, func(d controlplanetest.Death) (died bool) {
			slug := fmt.Sprintf("acme-%03d-%v", d.Write, d.Sent)
			w.create(slug)
			died = w.Crash(d, w.settled(slug))
			w.Recover(slug+" settles", w.settled(slug))
			tenant, err := w.ShowTenant(t.Context(), slug)
			if err != nil || tenant.State != controlplane.TenantFailed || tenant.Failure == nil || tenant.Failure.SQLState != "22012" {
				t.Fatalf("%s: %+v, %v", d, tenant, err)
			}
			w.nothingLeftOver(d.String())
			return died
		})
	})
}

func TestPurgeKilledAtAnyStepLeavesNothing(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, like controlplane.NewTenant) {
		w := newWard(t, like)
		w.Push("v1", controlplanetest.First())
		controlplanetest.Deaths(t, func(d controlplanetest.Death) (died bool) {
			w.create("acme") // the same slug each time: a purge frees it
			w.Recover("acme settles", w.settled("acme"))
			tenant, err := w.DeleteTenant(t.Context(), "acme", false)
			if err != nil {
				t.Fatal(err)
			}
			w.Recover("acme settles", w.settled("acme"))
			if _, err := w.PurgeTenant(t.Context(), "acme", "acme", false); err != nil {
				t.Fatal(err)
			}
			died = w.Crash(d, w.gone(tenant.ID))
			w.Recover("acme is gone", w.gone(tenant.ID))
			w.nothingLeftOver(d.String())
			return died
		})
	})
}

func TestSuspensionKilledAtAnyStepEndsInASuspendedTenant(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, like controlplane.NewTenant) {
		w := newWard(t, like)
		w.Push("v1", controlplanetest.First())
		w.create("acme")
		w.Recover("acme settles", w.settled("acme"))
		dsn, err := w.TenantDSN(t.Context(), "acme", true)
		if err != nil {
			t.Fatal(err)
		}
		controlplanetest.Deaths(t, func(d controlplanetest.Death) (died bool) {
			session := w.Connect("acme")
			if _, err := w.SuspendTenant(t.Context(), "acme", false); err != nil {
				t.Fatal(err)
			}
			died = w.Crash(d, w.settled("acme"))
			w.Recover("acme is suspended", w.settled("acme"))
			if err := session.Ping(t.Context()); err == nil {
				t.Fatalf("%s: a session outlived the suspension", d)
			}
			if conn, err := controlplanetest.Dial(t.Context(), dsn); err == nil {
				_ = conn.Close(t.Context())
				t.Fatalf("%s: the login of a suspended tenant is let in", d)
			}
			if _, err := w.ResumeTenant(t.Context(), "acme", false); err != nil {
				t.Fatal(err)
			}
			w.Recover("acme is active", w.settled("acme"))
			_ = w.Connect("acme").Close(t.Context())
			return died
		})
	})
}
