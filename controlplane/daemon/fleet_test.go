package daemon_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/controlplane/daemon"
)

// ledgers are two releases whose every file writes a line into a table that
// takes any number of them: what ran twice is there twice.
func ledgers() (first, second map[string]string) {
	first = map[string]string{
		"1_ledger.sql": "CREATE TABLE ledger (line text NOT NULL);\n",
		"2_notes.sql":  "CREATE TABLE notes (id int PRIMARY KEY, body text);\n",
	}
	second = map[string]string{
		"3_pinned.sql":      "ALTER TABLE notes ADD COLUMN pinned bool;\nINSERT INTO ledger VALUES ('up 3');\n",
		"4_tags.sql":        "CREATE TABLE tags (id int PRIMARY KEY);\nINSERT INTO ledger VALUES ('up 4');\n",
		"down/3_pinned.sql": "ALTER TABLE notes DROP COLUMN pinned;\nINSERT INTO ledger VALUES ('down 3');\n",
		"down/4_tags.sql":   "DROP TABLE tags;\nINSERT INTO ledger VALUES ('down 4');\n",
	}
	for name, content := range first {
		second[name] = content
	}
	return first, second
}

// fleet is some tenants of a control plane that works no jobs itself.
type fleet struct {
	*controlplanetest.Plane
	t       *testing.T
	server  controlplanetest.Server
	second  controlplanetest.Server // cluster "two", of newPair
	tenants []*controlplane.Tenant
	worker  *daemon.Daemon // of inHand
}

func newFleet(t *testing.T, o controlplanetest.Options, s controlplanetest.Server, like controlplane.NewTenant, n int) *fleet {
	_, second := ledgers()
	return newFleetFor(t, second, o, s, like, n)
}

// newFleetFor is newFleet with another second release.
func newFleetFor(t *testing.T, second map[string]string, o controlplanetest.Options, s controlplanetest.Server, like controlplane.NewTenant, n int) *fleet {
	o.Idle = true
	f := &fleet{Plane: controlplanetest.Open(t, o), t: t, server: s}
	f.AddServer("one", s)
	first, _ := ledgers()
	f.Push("v1", first)
	f.Working(func() { f.tenants = f.Create(like, controlplanetest.Slugs("acme", n)...) })
	f.Push("v2", second)
	return f
}

// rests asks whether a rollout rests; its targets add up whenever it is asked.
func (f *fleet) rests(id string) func() (bool, error) {
	return func() (bool, error) {
		r, err := f.ShowRollout(f.t.Context(), id)
		if controlplane.CodeOf(err) == controlplane.Unavailable { // the catalog is away for a while
			return false, nil
		}
		if err == nil && r.Counts.Sum() != len(f.tenants) {
			f.t.Errorf("the targets add up to %d: %s", r.Counts.Sum(), r.Counts)
		}
		return err == nil && r.State.Resting(), err
	}
}

// proves compares a rollout and every tenant with what must be so after n
// rollouts up and m down.
func (f *fleet) proves(id string, state controlplane.RolloutState, status controlplane.TargetStatus, version string, n, m int) {
	f.t.Helper()
	r, err := f.ShowRollout(f.t.Context(), id)
	if err != nil {
		f.t.Fatal(err)
	}
	if r.State != state || r.Counts[status] != len(f.tenants) || r.Counts.Sum() != len(f.tenants) {
		f.t.Fatalf("the rollout is %s: %s", r.State, r.Counts)
	}
	want := map[string]int{"up 3": n, "up 4": n, "down 3": m, "down 4": m}
	if m == 0 {
		delete(want, "down 3")
		delete(want, "down 4")
	}
	for _, tenant := range f.tenants {
		if now := f.Settled(tenant.Slug); now.Version != version {
			f.t.Errorf("the catalog has %s at version %s, not %s", tenant.Slug, now.Version, version)
		}
		revision, lines := f.read(tenant)
		if diff := cmp.Diff(want, lines); revision != version || diff != "" {
			f.t.Errorf("%s is at revision %s, not %s; effects (-want +got):\n%s", tenant.Slug, revision, version, diff)
		}
	}
}

// on is the server that a tenant lives on.
func (f *fleet) on(tenant *controlplane.Tenant) controlplanetest.Server {
	if tenant.Cluster == "two" {
		return f.second
	}
	return f.server
}

// read asks a tenant itself where it is and what has happened to it.
func (f *fleet) read(tenant *controlplane.Tenant) (revision string, lines map[string]int) {
	f.t.Helper()
	conn := controlplanetest.Superuser(f.t, f.on(tenant), tenant.Placement.Database)
	defer conn.Close(f.t.Context())
	schema := pgx.Identifier{tenant.Placement.Schema}.Sanitize()
	err := conn.QueryRow(f.t.Context(), "SELECT max(version) FROM "+schema+".atlas_schema_revisions WHERE applied = total").Scan(&revision)
	if err != nil {
		f.t.Fatal(err)
	}
	lines = map[string]int{}
	rows, _ := conn.Query(f.t.Context(), "SELECT line, count(*) FROM "+schema+".ledger GROUP BY line")
	var line string
	var count int
	if _, err := pgx.ForEachRow(rows, []any{&line, &count}, func() error { lines[line] = count; return nil }); err != nil {
		f.t.Fatal(err)
	}
	return revision, lines
}
