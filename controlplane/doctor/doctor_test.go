package doctor_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
)

// stranger is a name of Manor's kind that nobody has.
const stranger = "zzzzzzzzzzzzzzzz"

// litter leaves on the cluster what the catalog does not know: a home with a
// marker, one without, a marker without a home, a database, roles.
func (f *fixture) litter(shared string) {
	f.t.Helper()
	owner := f.strings(f.Catalog(), `SELECT owner FROM databases WHERE name = $1`, shared)[0]
	f.onCluster(shared, fmt.Sprintf(`
		CREATE SCHEMA t_%[1]sa AUTHORIZATION %[2]s; CREATE TABLE t_%[1]sa.kept (); INSERT INTO manor.marker (tenant_id, slug, schema, generation, epoch, incarnation)
			SELECT 'ten_lost', 'lost', 't_%[1]sa', 1, 1, incarnation FROM manor.marker LIMIT 1;
		CREATE SCHEMA t_%[1]sb AUTHORIZATION %[2]s;
		INSERT INTO manor.marker (tenant_id, slug, schema, generation, epoch, incarnation) VALUES ('ten_gone', 'gone', 't_%[1]sc', 1, 1, 'x')`, stranger[1:], owner))
	for _, role := range []string{"o_" + stranger, "t_" + stranger + "_app", "t_" + stranger + "_a"} {
		of := strings.TrimSuffix(strings.TrimSuffix(role, "_app"), "_a")
		f.onCluster("postgres", fmt.Sprintf("CREATE ROLE %s; COMMENT ON ROLE %s IS 'Manor: %s'; GRANT %s TO %s WITH ADMIN OPTION", role, role, of, role, f.Control.Login))
	}
	f.onCluster("postgres", "CREATE ROLE o_"+stranger[1:]+"y; COMMENT ON ROLE o_"+stranger[1:]+"y IS 'Manor: o_"+stranger[1:]+"y'")
	f.onCluster("postgres", "CREATE DATABASE manor_shared_777 OWNER o_"+stranger[1:]+"y")
}

// everything lists what is on the cluster: databases, schemas, markers and roles.
func (f *fixture) everything() []string {
	f.t.Helper()
	conn := controlplanetest.Superuser(f.t, f.server, "postgres")
	defer conn.Close(context.WithoutCancel(f.t.Context()))
	all := f.strings(conn, `SELECT 'role ' || rolname FROM pg_roles`)
	for _, name := range f.strings(conn, `SELECT datname::text FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1`) {
		inside := controlplanetest.Superuser(f.t, f.server, name)
		all = append(all, "database "+name)
		for _, s := range f.strings(inside, `SELECT nspname || '.' || coalesce(relname, '') FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid WHERE nspname ~ '^t_'`) {
			all = append(all, name+" "+s)
		}
		_ = inside.Close(f.t.Context())
	}
	slices.Sort(all)
	return all
}

func TestRequirement19DoctorListsWhatIsOnOneSideOnlyInBothDirections(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.Create(controlplane.NewTenant{}, "acme", "globex", "hooli", "initech", "umbrella")
	f.Create(controlplane.NewTenant{Isolation: controlplane.IsolationDatabase}, "soylent", "tyrell")
	if got := f.examine(false); len(got) > 0 {
		t.Fatalf("of a healthy fleet:\n%s", strings.Join(told(got), "\n"))
	}
	f.litter(f.placement("acme").Database)
	acme, hooli, tyrell := f.placement("acme"), f.placement("hooli"), f.placement("tyrell")
	f.inHome("acme", `DROP SCHEMA %s CASCADE`)
	f.inHome("globex", `DELETE FROM manor.marker WHERE schema = '%s'`)
	f.inHome("initech", `UPDATE manor.marker SET generation = 9 WHERE schema = '%s'`)
	f.inHome("umbrella", `UPDATE manor.marker SET incarnation = 'another' WHERE schema = '%s'`)
	f.onCluster("postgres", "DROP ROLE "+hooli.Logins[1])
	f.onCluster("postgres", "DROP DATABASE "+tyrell.Database+" WITH (FORCE)")

	want := []string{
		"foreign_marker initech " + f.placement("initech").Schema, "foreign_marker umbrella " + f.placement("umbrella").Schema,
		"home_without_tenant lost t_" + stranger[1:] + "a", "home_without_tenant  t_" + stranger[1:] + "b",
		"leftover_role  o_" + stranger, "leftover_role  t_" + stranger + "_a", "leftover_role  t_" + stranger + "_app",
		"marker_without_home gone t_" + stranger[1:] + "c", "missing_database", "missing_marker globex " + f.placement("globex").Schema,
		"missing_role hooli " + hooli.Logins[1], "tenant_without_home acme " + acme.Schema, "unknown_database",
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, told(f.examine(false))); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}

	// What --fix drops is roles on which nothing hangs.
	before := f.everything()
	f.examine(true)
	gone := differ(before, f.everything())
	if diff := cmp.Diff([]string{"role o_" + stranger, "role t_" + stranger + "_a", "role t_" + stranger + "_app"}, gone); diff != "" {
		t.Errorf("--fix took away (-want +got):\n%s", diff)
	}
	want = slices.DeleteFunc(want, func(line string) bool { return strings.HasPrefix(line, "leftover_role") })
	if diff := cmp.Diff(want, told(f.examine(true))); diff != "" {
		t.Errorf("findings afterwards (-want +got):\n%s", diff)
	}
}

// differ lists what is in before and not in after.
func differ(before, after []string) []string {
	return slices.DeleteFunc(slices.Clone(before), func(s string) bool { return slices.Contains(after, s) })
}

func TestDoctorMendsWhatIsSafe(t *testing.T) {
	t.Parallel()
	// Nobody works meanwhile: workers mend most of this by themselves.
	bothWith(t, controlplanetest.Options{Idle: true}, func(t *testing.T, f *fixture, like controlplane.NewTenant) {
		f.Working(func() { f.Create(like, "acme", "globex", "hooli", "initech") })
		f.inCatalog(`UPDATE tenants SET version = '1' WHERE slug = 'acme'`)
		f.stamp("globex", "1")
		f.Exec("hooli", `INSERT INTO notes VALUES (1, 'a', 1), (2, 'a', 2)`)
		f.buildInvalid("hooli")
		f.inCatalog(`UPDATE tenants SET settled = false, updated_at = now() - interval '1 hour', wanted_at = now() - interval '1 hour' WHERE slug = 'initech'`)
		f.inCatalog(`INSERT INTO rollouts (id, state, release_id, version, batch_size, concurrency, created_by) VALUES ('r_x', 'running', $1, '2', 1, 1, 'x')`, f.releaseID("v1"))
		f.inCatalog(`INSERT INTO batches (rollout_id, number, cluster_id, direction, state, worker, epoch, lease_until)
			SELECT 'r_x', 1, id, 'up', 'running', 'dead/1', 1, now() - interval '1 hour' FROM clusters`)
		want := []string{
			"expired_lease  r_x/1", "invalid_index hooli " + f.placement("hooli").Schema + ".twice",
			"stale_stamp globex " + f.placement("globex").Schema, "unsettled_tenant initech " + f.placement("initech").Schema, "version_differs acme " + f.placement("acme").Schema,
		}
		if diff := cmp.Diff(want, told(f.examine(false))); diff != "" {
			t.Fatalf("findings (-want +got):\n%s", diff)
		}
		for _, finding := range f.examine(true) {
			if !finding.Fixed || finding.Error != nil {
				t.Errorf("not mended: %+v, %v", finding, finding.Error)
			}
		}
		f.Working(func() { f.Settled("initech") })
		if got := f.examine(true); len(got) > 0 {
			t.Errorf("afterwards:\n%s", strings.Join(told(got), "\n"))
		}
		if v := f.verify(true); v.Agree != 4 {
			t.Errorf("afterwards the stamps say %+v", v.Differences)
		}
		audited := f.strings(f.Catalog(), `SELECT action || ' ' || subject FROM audit_records WHERE action IN ('doctor.fix', 'tenant.correct') ORDER BY 1`)
		if diff := cmp.Diff([]string{"doctor.fix globex", "doctor.fix hooli", "doctor.fix initech", "doctor.fix r_x/1", "tenant.correct acme"}, audited); diff != "" {
			t.Errorf("audit records (-want +got):\n%s", diff)
		}
	})
}

// buildInvalid leaves an index invalid, as a build does that meets duplicates.
func (f *fixture) buildInvalid(slug string) {
	f.t.Helper()
	p := f.placement(slug)
	conn := controlplanetest.Superuser(f.t, f.server, p.Database)
	defer conn.Close(context.WithoutCancel(f.t.Context()))
	if _, err := conn.Exec(f.t.Context(), "CREATE UNIQUE INDEX CONCURRENTLY twice ON "+p.Schema+".notes (body)"); err == nil {
		f.t.Fatal("the index could be built")
	}
}

// TestDoctorStampsADatabaseThatLostItsComment: verify names it, and says that
// doctor says more.
func TestDoctorStampsADatabaseThatLostItsComment(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.Create(controlplane.NewTenant{Isolation: controlplane.IsolationDatabase}, "acme", "globex")
	f.onCluster("postgres", "COMMENT ON DATABASE "+f.placement("acme").Database+" IS NULL")
	f.onCluster("postgres", "COMMENT ON DATABASE "+f.placement("globex").Database+" IS 'ask Ada'")
	if v := f.verify(false); len(v.Differences) != 2 {
		t.Errorf("before: %+v", v)
	}
	checkup, err := f.Doctor(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	fixed := 0
	for _, finding := range checkup.Findings {
		if finding.Kind == controlplane.FindingStaleStamp && finding.Fixed {
			fixed++
		}
	}
	if v := f.verify(false); fixed != 2 || v.Agree != 2 {
		t.Errorf("fixed %d, then %+v", fixed, v)
	}
}

func TestDoctorDropsNoIndexThatSomebodyIsAtWorkOn(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.Create(controlplane.NewTenant{}, "acme", "globex")
	for _, slug := range []string{"acme", "globex"} {
		f.Exec(slug, `INSERT INTO notes VALUES (1, 'a', 1), (2, 'a', 2)`)
		f.buildInvalid(slug)
	}
	// A session that vacuums, alters or builds has this lock; a migration holds the marker.
	busy := func(slug, sql string) *pgx.Conn {
		p := f.placement(slug)
		conn := controlplanetest.Superuser(t, f.server, p.Database)
		if _, err := conn.Exec(t.Context(), "BEGIN; "+strings.ReplaceAll(sql, "%s", p.Schema)); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	builder := busy("acme", "LOCK TABLE %s.notes IN SHARE UPDATE EXCLUSIVE MODE")
	migration := busy("globex", "SELECT FROM manor.marker WHERE schema = '%s' FOR UPDATE")
	findings := f.examine(true)
	if len(findings) != 1 || findings[0].Tenant != "globex" || findings[0].Fixed || findings[0].Error == nil || findings[0].Error.Code != controlplane.Conflict {
		t.Errorf("while somebody is at work: %+v", findings)
	}
	for _, conn := range []*pgx.Conn{builder, migration} {
		if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
	}
	if findings = f.examine(true); len(findings) != 2 || !findings[0].Fixed || !findings[1].Fixed {
		t.Errorf("when they are gone: %+v", findings)
	}
}

func TestWhatIsBeingMadeOrUnmadeIsNoFinding(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, f *fixture, like controlplane.NewTenant) {
		f.Create(like, "stays")
		var living sync.WaitGroup
		living.Go(func() {
			f.Create(like, controlplanetest.Slugs("goes", 5)...)
			for _, slug := range controlplanetest.Slugs("goes", 5) {
				f.purge(slug)
			}
		})
		over := make(chan struct{})
		go func() { living.Wait(); close(over) }()
		for looks := 0; ; looks++ {
			if got := f.examine(false); len(got) > 0 {
				t.Errorf("look %d:\n%s", looks, strings.Join(told(got), "\n"))
			}
			select {
			case <-over:
				return
			default:
			}
		}
	})
}

// purge ends a tenant for good.
func (f *fixture) purge(slug string) {
	f.t.Helper()
	if _, err := f.DeleteTenant(f.t.Context(), slug, false); err != nil {
		f.t.Error(err)
	}
	f.Settled(slug)
	if _, err := f.PurgeTenant(f.t.Context(), slug, slug, false); err != nil {
		f.t.Error(err)
	}
	f.Eventually(slug+" is gone", func() (bool, error) {
		page, err := f.ListTenants(f.t.Context(), controlplane.TenantQuery{Search: slug, IncludeDeleted: true})
		return err == nil && page.Items[0].State == controlplane.TenantDeleted && page.Items[0].Settled, err
	})
}

// The catalog is read, then the clusters are looked at: whatever comes and goes
// in between is in one of the two readings of the catalog.
func TestWhatComesAndGoesDuringTheLookIsNoFinding(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, f *fixture, like controlplane.NewTenant) {
		f.Create(like, "stays", "goes")
		var gate controlplanetest.Gate
		config := f.Config
		config.Workers, config.Dial = false, gate.Dial
		slow := f.on(config)
		knocked, release := gate.Shut()
		seen := make(chan []controlplane.Finding, 1)
		go func() { seen <- slow.examine(false) }()
		<-knocked
		f.Create(like, "comes")
		f.purge("goes")
		release()
		if got := <-seen; len(got) > 0 {
			t.Errorf("findings:\n%s", strings.Join(told(got), "\n"))
		}
	})
}

func TestDoctorNamesWhatIsWrongInTheCatalogItself(t *testing.T) {
	t.Parallel()
	p := controlplanetest.Open(t, controlplanetest.Options{Idle: true})
	f := &fixture{Plane: p, t: t}
	f.inCatalog(`INSERT INTO tenants (id, slug, state, settled, isolation, wanted_at, updated_at, failure) VALUES
		('ten_1', 'stuck', 'provisioning', false, 'schema', now() - interval '1 hour', now(), '{"message": "no room"}'),
		('ten_2', 'idle', 'suspended', false, 'schema', now() - interval '1 hour', now() - interval '1 hour', NULL),
		('ten_3', 'fresh', 'provisioning', false, 'schema', now(), now(), NULL),
		('ten_4', 'worked-on', 'suspended', false, 'schema', now() - interval '8 minutes', now() - interval '8 minutes', NULL)`)
	f.inCatalog(`INSERT INTO workers (id, seen_at) VALUES ('host/1', now() - interval '1 minute'), ('host/2', now())`)
	if _, err := f.Catalog().Exec(t.Context(), `SELECT pg_advisory_lock(hashtextextended('tenant ten_4', 0))`); err != nil {
		t.Fatal(err)
	}
	findings := f.examine(true)
	if diff := cmp.Diff([]string{"silent_worker  host/1", "stuck_tenant stuck", "unsettled_tenant idle"}, told(findings)); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	for _, finding := range findings {
		if finding.Tenant == "stuck" && (!strings.Contains(finding.Message, "no room") || finding.Fixed) || finding.Tenant == "idle" && !finding.Fixed {
			t.Errorf("got %+v", finding)
		}
	}
	if n := f.strings(f.Catalog(), `SELECT args ->> 'tenant' FROM river.river_job WHERE kind = 'tenant.converge'`); !slices.Equal(n, []string{"ten_2"}) {
		t.Errorf("jobs for %v", n)
	}
}

func TestDoctorSeesThatTheCatalogIsOlderThanItsTenants(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.Create(controlplane.NewTenant{}, "acme")
	f.inCatalog(`SELECT setval('epoch', 1)`)
	f.inHome("acme", `UPDATE manor.marker SET epoch = 99 WHERE schema = '%s'`)
	if diff := cmp.Diff([]string{"epoch_ahead acme " + f.placement("acme").Schema}, told(f.examine(false))); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}
