package tenant_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/pgtest"
)

// creator creates tenants and returns what happened to each.
func creator(t *testing.T, p *controlplanetest.Plane, wanted ...controlplane.NewTenant) []controlplane.TenantResult {
	t.Helper()
	results, err := p.CreateTenants(t.Context(), wanted, false)
	if err != nil {
		t.Errorf("create: %v", err)
	}
	return results
}

func TestFiftyTenantsAtOnceOnOneClusterShowTheCallerNoError(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, like controlplane.NewTenant) {
		server := pgtest.NewServer(t, devpg.Config{Settings: map[string]string{"max_connections": "200"}})
		p := controlplanetest.Empty(t)
		p.Start() // a second process that makes the same databases
		p.AddServer("one", server)
		p.Push("v1", controlplanetest.First())
		const calls, each = 5, 10
		var group sync.WaitGroup
		for call := range calls {
			group.Go(func() {
				wanted := make([]controlplane.NewTenant, each)
				for i := range wanted {
					wanted[i] = like
					wanted[i].Slug = fmt.Sprintf("acme-%d-%02d", call, i)
				}
				for _, r := range creator(t, p, wanted...) {
					if r.Error != nil {
						t.Errorf("%s: %v", r.Slug, r.Error)
					}
				}
			})
		}
		group.Wait()
		page, err := p.ListTenants(t.Context(), controlplane.TenantQuery{})
		if err != nil || len(page.Items) != calls*each {
			t.Fatalf("%d tenants, %v", len(page.Items), err)
		}
		for _, listed := range page.Items {
			tenant := p.Settled(listed.Slug)
			if tenant.State != controlplane.TenantActive || tenant.Version != "2" || tenant.Failure != nil {
				t.Errorf("%s: %s at %s: %v", tenant.Slug, tenant.State, tenant.Version, tenant.Failure)
			}
		}
		conn := p.Catalog()
		rows, _ := conn.Query(t.Context(), "SELECT data->'failure'->>'message' FROM events WHERE kind = $1 AND data->'failure' IS NOT NULL", controlplane.EventTenantChanged)
		if troubles, err := pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || len(troubles) > 0 {
			t.Errorf("on their way they met %q, %v", troubles, err)
		}
		for _, difference := range p.Leftovers(server) {
			t.Error(difference)
		}
	})
}

func TestSameSlugCreatedAtOnceGivesOneTenantAndClearConflicts(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	const callers = 10
	var mu sync.Mutex
	var group sync.WaitGroup
	made, refused := 0, 0
	for i := range callers {
		group.Go(func() {
			r := creator(t, p, controlplane.NewTenant{Slug: "acme", ExternalID: fmt.Sprint("customer-", i)})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case len(r) != 1:
				t.Errorf("results: %v", r)
			case r[0].Error == nil:
				made++
			case r[0].Error.Code == controlplane.Conflict && strings.Contains(r[0].Error.Message, "slug acme is taken"):
				refused++
			default:
				t.Errorf("refused with %v", r[0].Error)
			}
		})
	}
	group.Wait()
	if made != 1 || refused != callers-1 {
		t.Fatalf("%d were made and %d refused", made, refused)
	}
	if tenant := p.Settled("acme"); tenant.State != controlplane.TenantActive {
		t.Fatalf("acme is %s: %v", tenant.State, tenant.Failure)
	}
}

func TestCapacityHoldsHoweverManyAreCreatedAtOnce(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	capacity := 6
	if _, err := p.SetCluster(t.Context(), "one", controlplane.ClusterChange{Capacity: &capacity}); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var group sync.WaitGroup
	made, full := 0, 0
	for i := range capacity + 5 {
		group.Go(func() {
			r := creator(t, p, controlplane.NewTenant{Slug: fmt.Sprintf("acme-%02d", i), Isolation: controlplane.Isolations[i%2]})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case len(r) == 1 && r[0].Error == nil:
				made++
			case len(r) == 1 && r[0].Error.Code == controlplane.Refused && strings.Contains(r[0].Error.Message, "full"):
				full++
			default:
				t.Errorf("results: %v", r)
			}
		})
	}
	group.Wait()
	cluster, err := p.ShowCluster(t.Context(), "one")
	if err != nil || made != capacity || full != 5 || cluster.Tenants != capacity {
		t.Fatalf("%d made, %d refused, the cluster holds %d: %v", made, full, cluster.Tenants, err)
	}
	for _, slug := range slugs(t, p, controlplane.TenantQuery{}) {
		p.Settled(slug)
	}
}

func slugs(t *testing.T, p *controlplanetest.Plane, q controlplane.TenantQuery) []string {
	t.Helper()
	page, err := p.ListTenants(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(page.Items))
	for i, tenant := range page.Items {
		names[i] = tenant.Slug
	}
	return names
}

func TestSuspensionEndsSessionsAndResumeLetsInAgain(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, like controlplane.NewTenant) {
		p := controlplanetest.New(t)
		p.Push("v1", controlplanetest.First())
		p.Create(like, "acme", "globex")
		session, neighbour := p.Connect("acme"), p.Connect("globex")
		dsn, err := p.TenantDSN(t.Context(), "acme", true)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.SuspendTenant(t.Context(), "acme", false); err != nil {
			t.Fatal(err)
		}
		if tenant := p.Settled("acme"); tenant.State != controlplane.TenantSuspended {
			t.Fatalf("acme is %s", tenant.State)
		}
		if err := session.Ping(t.Context()); err == nil {
			t.Error("the session goes on")
		}
		if conn, err := controlplanetest.Dial(t.Context(), dsn); err == nil {
			_ = conn.Close(t.Context())
			t.Error("the login is let in")
		}
		if _, err := p.TenantDSN(t.Context(), "acme", false); !errors.Is(err, &controlplane.Error{Code: controlplane.Refused}) || !strings.Contains(err.Error(), "suspended") {
			t.Errorf("the DSN of a suspended tenant: %v", err)
		}
		if err := neighbour.Ping(t.Context()); err != nil {
			t.Errorf("the neighbour's session: %v", err)
		}
		if _, err := p.ResumeTenant(t.Context(), "acme", false); err != nil {
			t.Fatal(err)
		}
		p.Settled("acme")
		p.Exec("acme", "INSERT INTO notes VALUES (1, 'back')")
	})
}

func TestPurgeLeavesNothingAndFreesTheSlugForOtherNames(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, like controlplane.NewTenant) {
		server := pgtest.NewServer(t, devpg.Config{})
		p := controlplanetest.Empty(t)
		p.AddServer("one", server)
		p.Push("v1", controlplanetest.First())
		like.ExternalID = "customer-1"
		first := p.Create(like, "acme")[0]
		p.Exec("acme", "INSERT INTO notes VALUES (1, 'to be forgotten')")

		_, err := p.PurgeTenant(t.Context(), "acme", "acme", false)
		refusedWith(t, "purge of an active tenant", err, controlplane.Refused, "`manor tenant delete acme` comes first")
		if _, err := p.DeleteTenant(t.Context(), "acme", false); err != nil {
			t.Fatal(err)
		}
		p.Settled("acme")
		for _, confirm := range []string{"", "globex"} {
			_, err = p.PurgeTenant(t.Context(), "acme", confirm, false)
			refusedWith(t, "purge without confirmation", err, controlplane.Refused, "--confirm acme")
		}
		if version := p.Settled("acme").Version; version != "2" {
			t.Fatalf("the refused purge left acme at %s", version)
		}
		purge(t, p, "acme")
		for _, difference := range p.Leftovers(server) {
			t.Error(difference)
		}

		second := p.Create(like, "acme")[0]
		if second.ID == first.ID || second.Placement.Schema == first.Placement.Schema || second.Placement.Logins == first.Placement.Logins {
			t.Errorf("names are used again: %+v, %+v", first.Placement, second.Placement)
		}
		var left int
		if err := p.Connect("acme").QueryRow(t.Context(), "SELECT count(*) FROM notes").Scan(&left); err != nil || left != 0 {
			t.Errorf("%d old rows, %v", left, err)
		}
	})
}

// purge drops a tenant that may be dropped and waits until it is gone.
func purge(t *testing.T, p *controlplanetest.Plane, slug string) {
	t.Helper()
	tenant, err := p.PurgeTenant(t.Context(), slug, slug, false)
	if err != nil {
		t.Fatal(err)
	}
	conn := p.Catalog()
	defer conn.Close(t.Context())
	p.Eventually(slug+" is gone", func() (gone bool, err error) {
		err = conn.QueryRow(t.Context(), "SELECT state = 'deleted' AND settled FROM tenants WHERE id = $1", tenant.ID).Scan(&gone)
		return gone, err
	})
}

// refusedWith checks the code of an error and what its sentence or hint says.
func refusedWith(t *testing.T, what string, err error, code controlplane.Code, says string) {
	t.Helper()
	var refused *controlplane.Error
	if !errors.As(err, &refused) || refused.Code != code || !strings.Contains(refused.Message+"\n"+refused.Hint, says) {
		t.Errorf("%s: got %v (%+v), want %s: …%s…", what, err, refused, code, says)
	}
}

func TestFailedProvisioningLeavesTheFailureAndNothingElse(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, like controlplane.NewTenant) {
		server := pgtest.NewServer(t, devpg.Config{})
		p := controlplanetest.Empty(t)
		p.AddServer("one", server)
		p.Push("broken", map[string]string{"1_notes.sql": "CREATE TABLE notes (id int);\n", "2_broken.sql": "CREATE INDEX ON notes (id);\nSELECT nobody FROM notes;\n"})
		tenant := p.Create(like, "acme")[0]
		want := &controlplane.Failure{Version: "2", File: "2_broken.sql", Statement: 2, SQLState: "42703", Position: 8}
		if tenant.State != controlplane.TenantFailed || tenant.Failure == nil {
			t.Fatalf("acme is %s: %v", tenant.State, tenant.Failure)
		}
		got := &controlplane.Failure{Version: tenant.Failure.Version, File: tenant.Failure.File, Statement: tenant.Failure.Statement,
			SQLState: tenant.Failure.SQLState, Position: tenant.Failure.Position}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the failure (-want +got):\n%s", diff)
		}
		for _, difference := range p.Leftovers(server) {
			t.Error(difference)
		}
		_, err := p.ResumeTenant(t.Context(), "acme", false)
		refusedWith(t, "resume", err, controlplane.Refused, "manor tenant purge acme --confirm acme")
		_, err = p.TenantDSN(t.Context(), "acme", true)
		refusedWith(t, "DSN", err, controlplane.Refused, "failed")
		taken := creator(t, p, controlplane.NewTenant{Slug: "acme"})[0]
		if taken.Error == nil || taken.Error.Code != controlplane.Conflict {
			t.Errorf("the slug of a failed tenant: %v", taken.Error)
		}
		purge(t, p, "acme")
		p.Push("mended", map[string]string{"1_notes.sql": "CREATE TABLE notes (id int);\n", "2_index.sql": "CREATE INDEX ON notes (id);\n"})
		if _, err := p.SetDefaultRelease(t.Context(), "mended", "", false); err != nil {
			t.Fatal(err)
		}
		if tenant := p.Create(like, "acme")[0]; tenant.State != controlplane.TenantActive {
			t.Errorf("acme is %s: %v", tenant.State, tenant.Failure)
		}
	})
}
