package daemon_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/pgtest"
)

// traces are the first n versions of files that each write into their home
// where they ran. The last of twenty runs outside of a transaction.
func traces(n int) map[string]string {
	files := map[string]string{"00_trace.sql": "CREATE TABLE whoami (tenant text);\nCREATE TABLE trace (at text, tenant text, version int);\nCREATE SEQUENCE touched;\n"}
	for v := 1; v <= n; v++ {
		text := fmt.Sprintf("SELECT nextval('touched');\nINSERT INTO trace SELECT current_schema(), tenant, %d FROM whoami;\n", v)
		if v == 20 {
			text = "-- atlas:txmode none\n\n" + text
		}
		files[fmt.Sprintf("%02d_trace.sql", v)] = text
	}
	return files
}

// named is a query for Across that writes into a home whose it is.
const named = `INSERT INTO home.whoami SELECT tenant_id FROM manor.marker
	WHERE schema::regnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'home.whoami'::regclass) RETURNING tenant`

// traced is a query for Across: where the files of a home ran, for whom, and how many.
const traced = `SELECT concat_ws(' ', string_agg(DISTINCT at, ','), string_agg(DISTINCT tenant, ','), count(*), count(DISTINCT version)) FROM home.trace`

// crowd is a plane of four processes, with n schema tenants in four databases
// of a server of their own, and room for 64 tenants at a time.
func crowd(t *testing.T, n int) (*controlplanetest.Plane, controlplanetest.Server, []*controlplane.Tenant) {
	t.Helper()
	server := pgtest.NewServer(t, devpg.Config{Settings: map[string]string{"max_connections": "400"}})
	p := controlplanetest.Open(t, controlplanetest.Options{Catalog: pgtest.Database(t, server)})
	p.AddServer("one", server)
	connections, density := 100, n/4
	if _, err := p.SetCluster(t.Context(), "one", controlplane.ClusterChange{Connections: &connections, Density: &density}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		p.Start()
	}
	p.Push("v0", traces(0))
	tenants := p.Create(controlplane.NewTenant{}, controlplanetest.Slugs("acme", n)...)
	controlplanetest.Across[string](p, server, tenants, named)
	return p, server, tenants
}

// TestRequirement08NoMigrationRunsInAnotherTenant: 64 sessions at a time, 20 versions.
func TestRequirement08NoMigrationRunsInAnotherTenant(t *testing.T) {
	t.Parallel()
	n := sized(64, 500)
	p, server, tenants := crowd(t, n)
	for v := 4; v <= 20; v += 4 {
		name := fmt.Sprintf("v%d", v)
		p.Push(name, traces(v))
		r := p.Rollout(controlplane.NewRollout{Release: name, Concurrency: 64, PerDatabase: 16, BatchSize: 4})
		if r.State != controlplane.RolloutSucceeded || r.Counts[controlplane.TargetSucceeded] != n {
			t.Fatalf("the rollout to %d is %s: %s", v, r.State, r.Counts)
		}
	}
	found := controlplanetest.Across[string](p, server, tenants, traced)
	for _, tenant := range tenants {
		if want := fmt.Sprintf("%s %s 20 20", tenant.Placement.Schema, tenant.ID); found[tenant.Slug] != want {
			t.Errorf("the files of %s ran in %s, not in %s", tenant.Slug, found[tenant.Slug], want)
		}
	}
}

// TestRequirement08MarkerThatDoesNotMatchAbortsBeforeTheFirstStatement: the
// catalog believes what is not so of three tenants, as after a restore.
func TestRequirement08MarkerThatDoesNotMatchAbortsBeforeTheFirstStatement(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	density := 2
	if _, err := p.SetCluster(t.Context(), "one", controlplane.ClusterChange{Density: &density}); err != nil {
		t.Fatal(err)
	}
	p.Push("v0", traces(0))
	tenants := p.Create(controlplane.NewTenant{}, controlplanetest.Slugs("acme", 8)...)
	controlplanetest.Across[string](p, pgtest.Server(t), tenants, named)
	catalog := p.Catalog()
	believe := func(i int, column string, value any) {
		if _, err := catalog.Exec(t.Context(), "UPDATE placements SET "+column+" = $2 WHERE tenant_id = $1", tenants[i].ID, value); err != nil {
			t.Fatal(err)
		}
	}
	believe(1, "schema", "t_nowhere")
	believe(0, "schema", tenants[1].Placement.Schema)
	believe(3, "generation", 2)
	believe(5, "database_id", tenants[6].Placement.DatabaseID)

	p.Push("v2", traces(2))
	r := p.Rollout(controlplane.NewRollout{Release: "v2"})
	failed, err := p.Targets(t.Context(), r.ID, controlplane.TargetQuery{Status: controlplane.TargetFailed})
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]string{}
	for _, target := range failed.Items {
		states[target.Tenant] = fmt.Sprintf("%s at statement %d", target.Failure.SQLState, target.Failure.Statement)
	}
	want := map[string]string{"acme-001": "MN003 at statement 0", "acme-002": "MN003 at statement 0",
		"acme-004": "MN003 at statement 0", "acme-006": "MN002 at statement 0"}
	if diff := cmp.Diff(want, states); diff != "" {
		t.Errorf("failed (-want +got):\n%s", diff)
	}
	// A sequence keeps what a transaction that was rolled back took from it.
	ran := controlplanetest.Across[int](p, pgtest.Server(t), tenants, "SELECT (SELECT count(*) FROM home.trace) + coalesce((SELECT last_value FROM home.touched WHERE is_called), 0)")
	for slug, n := range ran {
		if _, mistaken := want[slug]; mistaken && n != 0 || !mistaken && n != 4 {
			t.Errorf("of what was meant for %s, %d ran", slug, n)
		}
	}
}
