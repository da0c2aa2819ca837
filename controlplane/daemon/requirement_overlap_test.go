package daemon_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/pgtest"
)

// A span is when a migration of a tenant ran, in seconds since 1970: both ends.
type span = []float64

const (
	spanTable = "CREATE TABLE span (began timestamptz, ended timestamptz);\nCREATE TABLE notes (id int PRIMARY KEY, body text);\n"
	// spanning takes a while and writes down when it did.
	spanning = "INSERT INTO span VALUES (clock_timestamp());\nSELECT pg_sleep(0.2);\nUPDATE span SET ended = clock_timestamp() WHERE ended IS NULL;\n"
	// spanned is a query for Across.
	spanned = "SELECT array[extract(epoch FROM min(began)), extract(epoch FROM max(ended))]::float8[] FROM home.span"
)

// most is how many spans there were at a time at most.
func most(spans []span) int {
	at, n := 0, 0
	type edge struct {
		when float64
		by   int
	}
	var edges []edge
	for _, s := range spans {
		edges = append(edges, edge{s[0], 1}, edge{s[1], -1})
	}
	slices.SortFunc(edges, func(a, b edge) int {
		if a.when < b.when {
			return -1
		}
		return 1
	})
	for _, e := range edges {
		at += e.by
		n = max(n, at)
	}
	return n
}

// rings are the tenants of a plane by ring, "a" and "b" in turns.
type rings struct {
	*controlplanetest.Plane
	t       *testing.T
	servers map[string]controlplanetest.Server
	tenants []*controlplane.Tenant
}

// newRings makes n tenants on each of the clusters, in shared databases of half
// as many, and lets two processes work.
func newRings(t *testing.T, n int, servers map[string]controlplanetest.Server) *rings {
	t.Helper()
	f := &rings{Plane: controlplanetest.Empty(t), t: t, servers: servers}
	density := n / 2
	f.Push("v1", map[string]string{"1_span.sql": spanTable})
	for _, cluster := range slices.Sorted(maps.Keys(servers)) {
		f.AddServer(cluster, servers[cluster])
		if _, err := f.SetCluster(t.Context(), cluster, controlplane.ClusterChange{Density: &density}); err != nil {
			t.Fatal(err)
		}
		var wanted []controlplane.NewTenant
		for i, slug := range controlplanetest.Slugs(cluster, n) {
			wanted = append(wanted, controlplane.NewTenant{Slug: slug, Cluster: cluster, Labels: controlplane.Labels{"ring": string("ab"[i%2])}})
		}
		if _, err := f.CreateTenants(t.Context(), wanted, false); err != nil {
			t.Fatal(err)
		}
		for _, one := range wanted {
			f.tenants = append(f.tenants, f.Settled(one.Slug))
		}
	}
	f.Start()
	return f
}

// both rolls a release out to ring "a" and to ring "b" at once, and returns
// when every tenant was worked on, by ring, cluster and database, and all together.
func (f *rings) both(like controlplane.NewRollout) map[string][]span {
	f.t.Helper()
	var ids []string
	for _, ring := range []string{"a", "b"} {
		n := like
		n.Select = `tenant.labels.ring == "` + ring + `"`
		ids = append(ids, begin(f.t, f.Plane, n))
	}
	for _, id := range ids {
		if r := f.Rested(id); r.State != controlplane.RolloutSucceeded {
			f.t.Fatalf("rollout %s is %s: %s", id, r.State, r.Counts)
		}
	}
	found := map[string][]span{}
	for cluster, server := range f.servers {
		there := slices.DeleteFunc(slices.Clone(f.tenants), func(t *controlplane.Tenant) bool { return t.Cluster != cluster })
		spans := controlplanetest.Across[span](f.Plane, server, there, spanned)
		for _, tenant := range there {
			for _, key := range []string{"all", "ring " + tenant.Labels["ring"], "cluster " + cluster, "database " + cluster + " " + tenant.Placement.Database} {
				found[key] = append(found[key], spans[tenant.Slug])
			}
		}
	}
	return found
}

// extent is the first beginning and the last end.
func extent(spans []span) span {
	whole := slices.Clone(spans[0])
	for _, s := range spans {
		whole[0], whole[1] = min(whole[0], s[0]), max(whole[1], s[1])
	}
	return whole
}

// TestRequirement12RolloutsOnDisjointSchemasOfOneDatabaseOverlap, and the limits
// hold over both of them and over both processes.
func TestRequirement12RolloutsOnDisjointSchemasOfOneDatabaseOverlap(t *testing.T) {
	t.Parallel()
	f := newRings(t, 12, map[string]controlplanetest.Server{"one": pgtest.Server(t), "two": pgtest.NewServer(t, devpg.Config{})})
	f.Push("v2", map[string]string{"1_span.sql": spanTable, "2_span.sql": spanning})
	spans := f.both(controlplane.NewRollout{Release: "v2", BatchSize: 3, Concurrency: 6, PerCluster: 4, PerDatabase: 3})
	if a, b := extent(spans["ring a"]), extent(spans["ring b"]); a[1] < b[0] || b[1] < a[0] {
		t.Errorf("one rollout ran from %.1f to %.1f, the other from %.1f to %.1f", a[0], a[1], b[0], b[1])
	}
	for key, these := range spans {
		limit := map[byte]int{'a': 6, 'r': 6, 'c': 4, 'd': 3}[key[0]]
		if n := most(these); n > limit {
			t.Errorf("%s: %d tenants at a time, and the limit is %d", key, n, limit)
		}
	}
	if n := most(spans["all"]); n < 4 {
		t.Errorf("no more than %d tenants at a time", n)
	}
}

// TestOneIndexIsBuiltConcurrentlyPerDatabaseAtATime: of two rollouts, too.
func TestOneIndexIsBuiltConcurrentlyPerDatabaseAtATime(t *testing.T) {
	t.Parallel()
	f := newRings(t, 6, map[string]controlplanetest.Server{"one": pgtest.Server(t)})
	f.Push("v2", map[string]string{"1_span.sql": spanTable,
		"2_span.sql": "-- atlas:txmode none\n\n" + spanning + "CREATE INDEX CONCURRENTLY notes_body_idx ON notes (body);\nUPDATE span SET ended = clock_timestamp();\n"})
	plan, err := f.PlanRollout(t.Context(), controlplane.NewRollout{Release: "v2"})
	if err != nil || plan.Versions[0].TxMode != "none" {
		t.Fatalf("the plan is %+v, %v", plan, err)
	}
	spans := f.both(controlplane.NewRollout{Release: "v2", BatchSize: 3, Concurrency: 8, PerDatabase: 8})
	rollouts, err := f.ListRollouts(t.Context())
	if err != nil || rollouts[0].PerDatabase != 1 || rollouts[1].PerDatabase != 1 {
		t.Errorf("rollouts %+v, %v", rollouts, err)
	}
	databases := 0
	for key, these := range spans {
		if key[0] == 'd' && len(these) > 1 {
			databases++
			if n := most(these); n != 1 {
				t.Errorf("%s: %d at a time", key, n)
			}
		}
	}
	if n := most(spans["all"]); databases != 2 || n != 2 {
		t.Errorf("in %d databases %d were at work at a time", databases, n)
	}
}

// TestRequirement12TwoSessionsNeverWorkOnOneTenant: a second rollout is refused
// and told of the first; a batch that two workers have, since the lease of the
// first ran out while it worked, finds the tenant busy.
func TestRequirement12TwoSessionsNeverWorkOnOneTenant(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]string{"in a transaction": "", "without": "-- atlas:txmode none\n\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := controlplanetest.New(t)
			p.Push("v1", controlplanetest.First())
			tenants := p.Create(controlplane.NewTenant{}, "acme")
			p.Push("v2", release(map[string]string{"3_wait.sql": mode + waits + "INSERT INTO notes VALUES (7, 'once');\nUPDATE notes SET id = id + 1;\n"}))
			goOn := wait(p, "acme")
			id := begin(t, p, controlplane.NewRollout{Release: "v2"})
			until(t, p, id, "it is at work", func(r *controlplane.Rollout) bool { return r.Counts[controlplane.TargetRunning] == 1 })
			_, err := p.StartRollout(t.Context(), controlplane.NewRollout{Release: "v2"})
			refused(t, "start another", err, controlplane.Conflict, "rollout "+id)

			p.Start()
			p.Expire()
			p.Eventually("the second session finds the tenant busy", func() (bool, error) {
				page, err := p.Targets(t.Context(), id, controlplane.TargetQuery{})
				return err == nil && page.Items[0].Failure != nil && page.Items[0].Failure.SQLState == "MN001", err
			})
			goOn()
			if r := p.Rested(id); r.State != controlplane.RolloutSucceeded {
				t.Errorf("the rollout is %s: %s", r.State, r.Counts)
			}
			ran := controlplanetest.Across[string](p, pgtest.Server(t), tenants, "SELECT string_agg(id::text, ' ') FROM home.notes")
			if ran["acme"] != "8" {
				t.Errorf("its notes are %s", ran["acme"])
			}
		})
	}
}
