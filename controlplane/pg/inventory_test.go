package pg

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/pgtest"
)

// TestWhatLooksLikeManorsIsFound, with what tells whose it is, on a server of
// the test's own.
func TestWhatLooksLikeManorsIsFound(t *testing.T) {
	t.Parallel()
	f := newFixtureOn(t, pgtest.NewServer(t, devpg.Config{}))
	control, super := f.control(), f.super("postgres")
	d, h, k := f.own()
	f.make(d, k, h)
	shared, _, sharedKeys := f.plan()
	shared.Name = "manor_shared_001"
	f.make(shared, sharedKeys)
	begun, theirs := NewName("s_"), NewName("t_")
	exec(t, control, "CREATE DATABASE "+begun+" ALLOW_CONNECTIONS false CONNECTION LIMIT 7")
	exec(t, super, "CREATE DATABASE "+theirs)
	exec(t, super, "CREATE DATABASE t_elephant")
	exec(t, super, fmt.Sprintf("CREATE ROLE %s_app CONNECTION LIMIT 3; CREATE ROLE t_elephant_app; COMMENT ON ROLE %[1]s_app IS 'the boss'", theirs))

	databases, err := FindDatabases(t.Context(), control)
	must(t, err)
	want := []FoundDatabase{
		{Name: "manor_shared_001", Owner: shared.Owner, Ours: true, Shared: true, Open: true, ConnectionLimit: -1},
		{Name: begun, Owner: f.login.User, Ours: true, Scratch: true, ConnectionLimit: 7},
		{Name: d.Name, Owner: d.Owner, Ours: true, Open: true, ConnectionLimit: -1},
		{Name: theirs, Owner: f.server.User(), Open: true, ConnectionLimit: -1},
	}
	slices.SortFunc(want, func(a, b FoundDatabase) int { return cmpNames(a.Name, b.Name) })
	if diff := cmp.Diff(want, databases); diff != "" {
		t.Errorf("databases (-want +got):\n%s", diff)
	}

	roles, err := FindRoles(t.Context(), control)
	must(t, err)
	wantRoles := []FoundRole{
		{Name: d.Owner, Of: d.Owner, Login: true, ConnectionLimit: -1},
		{Name: d.Connect, Of: d.Owner, ConnectionLimit: -1},
		{Name: shared.Owner, Of: shared.Owner, Login: true, ConnectionLimit: -1},
		{Name: shared.Connect, Of: shared.Owner, ConnectionLimit: -1},
		{Name: h.Role, Of: h.Schema, ConnectionLimit: -1},
		{Name: h.Logins[0], Of: h.Schema, Login: true, ConnectionLimit: 20},
		{Name: h.Logins[1], Of: h.Schema, Login: true, ConnectionLimit: 20},
		{Name: theirs + "_app", ConnectionLimit: 3},
	}
	slices.SortFunc(wantRoles, func(a, b FoundRole) int { return cmpNames(a.Name, b.Name) })
	if diff := cmp.Diff(wantRoles, roles); diff != "" {
		t.Errorf("roles (-want +got):\n%s", diff)
	}
}

func cmpNames(a, b string) int { return slices.Compare([]byte(a), []byte(b)) }

func TestHomesAreFoundWithTheirRevisionsAndBrokenIndexes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d, h, k := f.plan()
	empty, partial := f.planHome(d, k), f.planHome(d, k)
	f.make(d, k, h, empty, partial)
	owner, super := f.connect(f.as(d.Owner, k[d.Owner]), d.Name), f.super(d.Name)
	theirs, bare := NewName("t_"), NewName("t_")
	exec(t, super, "CREATE SCHEMA "+theirs)
	exec(t, owner, "CREATE SCHEMA "+bare+"; CREATE SCHEMA t_elephant")
	revise := func(h Home, version string, applied int) {
		exec(t, owner, fmt.Sprintf(`INSERT INTO %s.atlas_schema_revisions (version, description, applied, total, executed_at, execution_time, hash, operator_version)
			VALUES (%s, '', %d, 2, now(), 0, '', '')`, h.Schema, Literal(version), applied))
	}
	revise(h, ".atlas_cloud_identifier", 2)
	revise(h, "9", 2)
	revise(h, "10", 2) // versions are compared as strings
	revise(partial, "1", 2)
	revise(partial, "2", 1)

	revisions, err := ReadRevisions(t.Context(), owner)
	must(t, err)
	if diff := cmp.Diff(map[string]Revision{h.Schema: {Version: "9"}, empty.Schema: {}, partial.Schema: {Version: "1", Partial: "2"}}, revisions); diff != "" {
		t.Errorf("revisions (-want +got):\n%s", diff)
	}
	schemas, err := FindSchemas(t.Context(), owner)
	must(t, err)
	want := []FoundSchema{{theirs, f.server.User(), false}}
	for _, name := range []string{h.Schema, empty.Schema, partial.Schema, bare} {
		want = append(want, FoundSchema{name, d.Owner, true})
	}
	slices.SortFunc(want, func(a, b FoundSchema) int { return cmpNames(a.Name, b.Name) })
	if diff := cmp.Diff(want, schemas); diff != "" {
		t.Errorf("schemas (-want +got):\n%s", diff)
	}
	f.breakIndex(owner, h.Schema)
	f.breakIndex(owner, "t_elephant")
	findsBroken(t, owner, InvalidIndex{Schema: h.Schema, Index: "broken", Table: "double"})
	tx, err := super.Begin(t.Context())
	must(t, err)
	exec(t, super, "LOCK TABLE "+h.Schema+".double IN SHARE UPDATE EXCLUSIVE MODE")
	findsBroken(t, owner, InvalidIndex{Schema: h.Schema, Index: "broken", Table: "double", InWork: true})
	must(t, tx.Rollback(t.Context()))
}

// breakIndex leaves an invalid index behind.
func (f *fixture) breakIndex(owner *pgx.Conn, schema string) {
	f.t.Helper()
	exec(f.t, owner, fmt.Sprintf("CREATE TABLE %[1]s.double (id int, PRIMARY KEY (id) INCLUDE (id)); ALTER TABLE %[1]s.double DROP CONSTRAINT double_pkey; INSERT INTO %[1]s.double VALUES (1), (1)", schema))
	_, err := owner.Exec(f.t.Context(), fmt.Sprintf("CREATE UNIQUE INDEX CONCURRENTLY broken ON %s.double (id)", schema))
	if sqlState(err) != "23505" {
		f.t.Fatalf("the index is not broken: %v", err)
	}
}

func findsBroken(t *testing.T, owner *pgx.Conn, want ...InvalidIndex) {
	t.Helper()
	found, err := FindInvalidIndexes(t.Context(), owner)
	must(t, err)
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("invalid indexes (-want +got):\n%s", diff)
	}
}

// TestHomesOfADatabaseAreReadInFewStatements, however many there are.
func TestHomesOfADatabaseAreReadInFewStatements(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d, _, k := f.plan()
	f.make(d, k)
	sent := &statements{}
	config, err := f.as(d.Owner, k[d.Owner]).Config(d.Name, "test")
	must(t, err)
	config.Tracer = sent
	owner, err := pgx.ConnectConfig(t.Context(), config)
	must(t, err)
	defer owner.Close(t.Context())
	homes := revisionsAtOnce + 10
	sql := ""
	for range homes {
		schema := NewName("t_")
		sql += fmt.Sprintf(`CREATE SCHEMA %[1]s; %[2]s; INSERT INTO manor.marker (tenant_id, slug, schema, generation, epoch, incarnation)
			VALUES ('%[1]s', 's', '%[1]s', 1, 1, 'test');`, schema, RevisionTable(schema))
	}
	exec(t, owner, sql)
	for what, c := range map[string]struct {
		read       func() (int, error)
		found      int
		statements int
	}{
		"markers":   {func() (int, error) { all, err := ReadMarkers(t.Context(), owner); return len(all), err }, homes, 1},
		"schemas":   {func() (int, error) { all, err := FindSchemas(t.Context(), owner); return len(all), err }, homes, 1},
		"indexes":   {func() (int, error) { all, err := FindInvalidIndexes(t.Context(), owner); return len(all), err }, 0, 1},
		"revisions": {func() (int, error) { all, err := ReadRevisions(t.Context(), owner); return len(all), err }, homes, 3},
	} {
		sent.n = 0
		began := time.Now()
		if n, err := c.read(); err != nil || n != c.found || sent.n != c.statements {
			t.Errorf("%s: %d in %d statements: %v", what, n, sent.n, err)
		}
		t.Logf("%s of %d homes: %s", what, homes, time.Since(began))
	}
}

// statements counts what is sent over a connection.
type statements struct{ n int }

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	s.n++
	return ctx
}

func (s *statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
