package pgtest

import (
	"net/url"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/manorhq/manor/internal/devpg"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func connect(t *testing.T, address string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// query returns the one value that a superuser's query yields on the shared server.
func query[T any](t *testing.T, sql string, args ...any) T {
	t.Helper()
	conn := connect(t, Server(t).URL("postgres"))
	defer conn.Close(t.Context())
	rows, _ := conn.Query(t.Context(), sql, args...)
	answer, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return answer
}

func databaseOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(u.Path, "/")
}

func TestDatabaseIsTheTestsOwnAndEndsWithIt(t *testing.T) {
	t.Parallel()
	var names []string
	t.Run("A long name: with Ünusual characters, 'quotes', \"more\" and so on", func(t *testing.T) {
		for range 2 {
			address := Database(t)
			conn := connect(t, address)
			if _, err := conn.Exec(t.Context(), "CREATE TABLE only_here ()"); err != nil {
				t.Error(err)
			}
			names = append(names, databaseOf(t, address)) // the connection stays open: the drop has to end it
		}
	})
	if got := query[int](t, "SELECT count(*) FROM pg_database WHERE datname = ANY ($1)", names); got != 0 {
		t.Errorf("%d of %v are left", got, names)
	}
}

func TestControlLoginCanMakeDatabasesAndRolesAndNoMore(t *testing.T) {
	t.Parallel()
	var user string
	t.Run("login", func(t *testing.T) {
		var password string
		user, password = ControlLogin(t)
		got := query[string](t, `SELECT concat_ws(' ', rolcanlogin, rolcreatedb, rolcreaterole, rolsuper, rolreplication,
			rolbypassrls, left(rolpassword, 14)) FROM pg_authid WHERE rolname = $1`, user)
		if diff := cmp.Diff("t t t f f f SCRAM-SHA-256$", got); diff != "" {
			t.Errorf("login, createdb, createrole, superuser, replication, bypassrls, password (-want +got):\n%s", diff)
		}
		u, err := url.Parse(Server(t).URL("postgres"))
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(user, password)
		conn := connect(t, u.String())
		defer conn.Close(t.Context())
		for _, sql := range []string{"CREATE DATABASE " + user, "CREATE ROLE " + user + "_made", "DROP ROLE " + user + "_made"} {
			if _, err := conn.Exec(t.Context(), sql); err != nil {
				t.Errorf("%s: %v", sql, err)
			}
		}
	})
	left := query[int](t, `SELECT (SELECT count(*) FROM pg_roles WHERE rolname = $1) +
		(SELECT count(*) FROM pg_database WHERE datname = $1)`, user)
	if left != 0 {
		t.Errorf("%d of the login and its database are left", left)
	}
}

func TestSharedServerIsNoGarbage(t *testing.T) {
	t.Parallel()
	for range 3 {
		runtime.GC()
		query[int](t, "SELECT 1")
	}
}

func TestServerOfItsOwnIsAnotherOneAndStopsWithTheTest(t *testing.T) {
	t.Parallel()
	var address string
	t.Run("own", func(t *testing.T) {
		own := NewServer(t, devpg.Config{Settings: map[string]string{"wal_level": "logical"}})
		if own.Port() == Server(t).Port() {
			t.Error("it is the shared one")
		}
		address = Database(t, own)
		ControlLogin(t, own)
		conn := connect(t, address)
		defer conn.Close(t.Context())
		var level string
		if err := conn.QueryRow(t.Context(), "SHOW wal_level").Scan(&level); err != nil || level != "logical" {
			t.Errorf("wal_level is %q, %v", level, err)
		}
	})
	if conn, err := pgx.Connect(t.Context(), address); err == nil {
		t.Error("it runs after the test")
		_ = conn.Close(t.Context())
	}
}

func TestEnvironmentNamesTheServer(t *testing.T) {
	for address, want := range map[string]string{
		"postgres://me:secret@db.example:6543/postgres?sslmode=require": "postgres://me:secret@db.example:6543/x?sslmode=require",
		"postgres://me@db.example/":                                     "postgres://me@db.example:5432/x",
	} {
		cluster, err := openCluster(address)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, cluster.URL("x")); diff != "" {
			t.Errorf("URL (-want +got):\n%s", diff)
		}
		if cluster.Own() || cluster.Host() != "db.example" || cluster.User() != "me" {
			t.Errorf("got %+v", cluster)
		}
	}
	if _, err := openCluster("host=localhost user=me"); err == nil || !strings.Contains(err.Error(), "MANOR_TEST_POSTGRES") {
		t.Errorf("got %v", err)
	}
	cluster := Server(t)
	if cluster.Own() && (cluster.Port() == 0 || cluster.Password() == "") {
		t.Errorf("got %+v", cluster)
	}
}

func TestEnvironmentNamesTheVersion(t *testing.T) {
	t.Setenv("MANOR_TEST_PG", "latest")
	if _, err := start(devpg.Config{}); err == nil || !strings.Contains(err.Error(), `"latest"`) {
		t.Errorf("got %v, want an error about the version", err)
	}
}
