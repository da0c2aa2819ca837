package pg

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/internal/pgtest"
)

// server is what a test needs to know of a pgtest.Cluster or a devpg.Server.
type server interface {
	pgtest.Instance
	Host() string
	Port() int
	User() string
	Password() string
}

// fixture is a cluster with a control login that has CREATEDB and CREATEROLE
// and nothing more.
type fixture struct {
	t      *testing.T
	server server
	login  Login
}

func newFixture(t *testing.T) *fixture { return newFixtureOn(t, pgtest.Server(t)) }

func newFixtureOn(t *testing.T, s server) *fixture {
	t.Helper()
	user, password := pgtest.ControlLogin(t, s)
	return &fixture{t: t, server: s, login: loginTo(s, user, controlplane.NewSecret(password))}
}

func loginTo(s server, user string, password controlplane.Secret) Login {
	address := controlplane.Address{Hosts: []string{fmt.Sprintf("%s:%d", s.Host(), s.Port())}}
	return Login{Address: address, User: user, Password: password, TLS: controlplane.TLS{Mode: "disable"}}
}

// connect opens a connection that the test closes.
func (f *fixture) connect(l Login, database string) *pgx.Conn {
	f.t.Helper()
	conn, err := Connect(f.t.Context(), l, database, "test")
	if err != nil {
		f.t.Fatalf("connect to %s as %s: %v", database, l.User, err)
	}
	f.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (f *fixture) control() *pgx.Conn { return f.connect(f.login, "postgres") }

func (f *fixture) super(database string) *pgx.Conn {
	return f.connect(loginTo(f.server, f.server.User(), controlplane.NewSecret(f.server.Password())), database)
}

func (f *fixture) as(user string, password controlplane.Secret) Login {
	return loginTo(f.server, user, password)
}

// keys are the passwords of what a fixture made, by role.
type keys map[string]controlplane.Secret

func (k keys) issue(t *testing.T, role string) string {
	t.Helper()
	k[role] = NewPassword()
	verifier, err := Verifier(k[role])
	if err != nil {
		t.Fatal(err)
	}
	return verifier
}

// plan names a database and a home in it that do not exist yet.
func (f *fixture) plan() (Database, Home, keys) {
	k := keys{}
	owner := NewName("o_")
	d := Database{Name: NewName("d_"), Owner: owner, Connect: owner + "_connect", OwnerVerifier: k.issue(f.t, owner), Extensions: []string{"citext"}}
	return d, f.planHome(d, k), k
}

func (f *fixture) planHome(d Database, k keys) Home {
	schema := NewName("t_")
	h := Home{
		TenantID: NewName("tenant_"), Slug: "acme", Database: d.Name, Connect: d.Connect, Schema: schema, Role: schema + "_app",
		Logins: [2]string{schema + "_a", schema + "_b"}, ConnectionLimit: 20,
		Marker: Marker{Incarnation: "test", Generation: 1, Epoch: 1},
	}
	for i, login := range h.Logins {
		h.Verifiers[i] = k.issue(f.t, login)
	}
	return h
}

// make makes the planned database and homes, and drops them after the test.
func (f *fixture) make(d Database, k keys, homes ...Home) {
	f.t.Helper()
	control := f.control()
	f.t.Cleanup(func() { f.clear(d, homes...) })
	must(f.t, CreateDatabase(f.t.Context(), control, d))
	owner := f.connect(f.as(d.Owner, k[d.Owner]), d.Name)
	must(f.t, FurnishDatabase(f.t.Context(), owner, d))
	for _, h := range homes {
		must(f.t, CreateRoles(f.t.Context(), control, h))
		must(f.t, CreateHome(f.t.Context(), owner, h))
	}
}

func (f *fixture) clear(d Database, homes ...Home) {
	ctx := context.Background()
	control, err := Connect(ctx, f.login, "postgres", "cleanup")
	if err != nil {
		f.t.Error(err)
		return
	}
	defer control.Close(ctx)
	if err := DropDatabase(ctx, control, d); err != nil {
		f.t.Error(err)
	}
	for _, h := range homes {
		if err := DropRoles(ctx, control, h); err != nil {
			f.t.Error(err)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// exec runs SQL as a step of the test itself.
func exec(t testing.TB, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(context.Background(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// query returns the rows as text, one row a string.
func query(t testing.TB, conn *pgx.Conn, sql string, args ...any) []string {
	t.Helper()
	rows, _ := conn.Query(context.Background(), sql, args...)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return lines
}

func sqlState(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// fuse interrupts a context just before the n-th statement of all its
// connections is sent. That it was sent and its answer lost is, for the server,
// the same as an interruption before the next one.
type fuse struct {
	left   atomic.Int64
	cancel context.CancelFunc
}

func newFuse(statement int, cancel context.CancelFunc) *fuse {
	f := &fuse{cancel: cancel}
	f.left.Store(int64(statement))
	return f
}

func (f *fuse) blown() bool { return f.left.Load() <= 0 }

func (f *fuse) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	if f.left.Add(-1) == 0 {
		f.cancel()
	}
	return ctx
}

func (f *fuse) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
