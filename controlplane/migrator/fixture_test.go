package migrator_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"ariga.io/atlas/sql/migrate"
	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/internal/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// files are a migration directory: names and contents.
type files map[string]string

// hashed adds the atlas.sum.
func (f files) hashed(t testing.TB) map[string][]byte {
	t.Helper()
	var dir migrate.MemDir
	raw := map[string][]byte{}
	for name, content := range f {
		raw[name] = []byte(content)
		if !strings.Contains(name, "/") && strings.HasSuffix(name, ".sql") {
			noError(t, dir.WriteFile(name, raw[name]))
		}
	}
	sum, err := dir.Checksum()
	noError(t, err)
	raw[migrate.HashFileName], err = sum.MarshalText()
	noError(t, err)
	return raw
}

func parse(t testing.TB, f files) *migrator.Release {
	t.Helper()
	r, err := migrator.Parse(f.hashed(t))
	noError(t, err)
	return r
}

// database is one of Manor's, with the owner's login.
type database struct {
	t     testing.TB
	login pg.Login
	name  string
	conn  *pgx.Conn
}

// newDatabase makes a database whose owner is not a superuser. options are
// those of CREATE DATABASE.
func newDatabase(t testing.TB, options ...string) *database {
	t.Helper()
	server := pgtest.Server(t)
	owner, password := "owner_"+strings.ToLower(rand.Text()[:12]), rand.Text()
	super, err := pgx.Connect(t.Context(), server.URL("postgres"))
	noError(t, err)
	_, err = super.Exec(t.Context(), "CREATE ROLE "+owner+" LOGIN PASSWORD '"+password+"'")
	noError(t, err)
	t.Cleanup(func() {
		_, err := super.Exec(context.Background(), "DROP ROLE "+owner)
		noError(t, err)
		noError(t, super.Close(context.Background()))
	})
	config, err := pgx.ParseConfig(pgtest.Database(t))
	noError(t, err)
	if len(options) > 0 {
		_, err = super.Exec(t.Context(), "DROP DATABASE "+config.Database)
		noError(t, err)
		_, err = super.Exec(t.Context(), "CREATE DATABASE "+config.Database+" TEMPLATE template0 "+strings.Join(options, " "))
		noError(t, err)
	}
	_, err = super.Exec(t.Context(), "ALTER DATABASE "+config.Database+" OWNER TO "+owner)
	noError(t, err)
	address, err := controlplane.ParseAddress(net.JoinHostPort(server.Host(), strconv.Itoa(server.Port())))
	noError(t, err)
	db := &database{t: t, name: config.Database, login: pg.Login{
		Address: address, User: owner, Password: controlplane.NewSecret(password), TLS: controlplane.TLS{Mode: "disable"},
	}}
	db.conn = db.connect()
	noError(t, pg.FurnishDatabase(t.Context(), db.conn, pg.Database{Name: db.name, Owner: owner, Extensions: []string{"citext"}}))
	return db
}

// connect opens a session of the owner's.
func (db *database) connect() *pgx.Conn {
	db.t.Helper()
	conn, err := pg.Connect(db.t.Context(), db.login, db.name, "test")
	noError(db.t, err)
	db.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// home makes an empty home and returns it as a target.
func (db *database) home(slug string) migrator.Target {
	db.t.Helper()
	m := pg.Marker{
		TenantID: "id-" + slug + rand.Text()[:8], Slug: slug, Schema: "t_" + strings.ToLower(rand.Text()[:16]),
		Incarnation: "test", Generation: 3, Epoch: 5,
	}
	db.exec("CREATE SCHEMA " + m.Schema)
	db.exec(pg.RevisionTable(m.Schema))
	_, err := db.conn.Exec(db.t.Context(), `INSERT INTO manor.marker (tenant_id, slug, schema, generation, epoch, incarnation)
		VALUES ($1, $2, $3, $4, $5, $6)`, m.TenantID, m.Slug, m.Schema, m.Generation, m.Epoch, m.Incarnation)
	noError(db.t, err)
	return migrator.Target{Marker: m, Isolation: controlplane.IsolationSchema}
}

func (db *database) exec(sql string) {
	db.t.Helper()
	_, err := db.conn.Exec(db.t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
	noError(db.t, err)
}

// read returns the first column of all rows, joined by blanks. The search path
// is the home's.
func (db *database) read(home migrator.Target, sql string) string {
	db.t.Helper()
	conn := db.connect()
	_, err := conn.Exec(db.t.Context(), "SET search_path = "+home.Schema+", extensions")
	noError(db.t, err)
	rows, err := conn.Query(db.t.Context(), sql)
	noError(db.t, err)
	all, err := pgx.CollectRows(rows, pgx.RowTo[any])
	noError(db.t, err)
	noError(db.t, conn.Close(db.t.Context()))
	return strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(all), "["), "]")
}

// version is what the revisions say.
func (db *database) version(home migrator.Target) string {
	db.t.Helper()
	v, err := migrator.CurrentVersion(db.t.Context(), db.conn, home.Schema)
	noError(db.t, err)
	return v
}

// tables are the tables of the home, without Atlas's.
func (db *database) tables(home migrator.Target) string {
	db.t.Helper()
	return db.read(home, `SELECT relname::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace
		AND relkind = 'r' AND relname <> 'atlas_schema_revisions' ORDER BY relname`)
}

// apply brings a home to a version and fails the test if it does not get there.
func (db *database) apply(r *migrator.Release, home migrator.Target, to string) migrator.Target {
	db.t.Helper()
	res := r.Apply(db.t.Context(), db.conn, home, to, migrator.Limits{})
	if res.Outcome != migrator.Applied || res.Version != to {
		db.t.Fatalf("apply to %s: %s at %s: %v: %v", to, res.Outcome, res.Version, res.Failure, res.Err)
	}
	home.From = to
	return home
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s\n got: %v\nwant: %v", what, got, want)
	}
}
