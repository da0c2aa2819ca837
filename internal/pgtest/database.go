package pgtest

import (
	"context"
	"crypto/rand"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const patience = time.Minute

// Instance is a server to make databases and logins on: a *Cluster or a *devpg.Server. URL is a superuser's.
type Instance interface {
	URL(database string) string
}

// Database makes an empty database and returns a superuser's URL of it. It is made on the shared server, or on the one
// given, and is dropped after the test, even if connections are still open.
func Database(t testing.TB, on ...Instance) string {
	t.Helper()
	instance, name := pick(t, on), uniqueName(t)
	err := asSuperuser(instance, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "CREATE DATABASE "+name+" TEMPLATE template0")
		return err
	})
	if err != nil {
		t.Fatalf("pgtest: making the test's database: %v", err)
	}
	t.Cleanup(func() {
		err := asSuperuser(instance, func(ctx context.Context, conn *pgx.Conn) error {
			return dropDatabases(ctx, conn, []string{name})
		})
		if err != nil {
			t.Errorf("pgtest: dropping the test's database: %v", err)
		}
	})
	return instance.URL(name)
}

// ControlLogin makes what Manor itself logs in as: a role that may create databases and roles, and nothing more. It is
// made on the shared server, or on the one given. After the test its databases are dropped, and then the role, unless
// something else still hangs on it: roles that it made are the test's to drop.
func ControlLogin(t testing.TB, on ...Instance) (user, password string) {
	t.Helper()
	instance := pick(t, on)
	user, password = uniqueName(t), rand.Text()
	err := asSuperuser(instance, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SET password_encryption = 'scram-sha-256';"+
			"CREATE ROLE "+user+" LOGIN CREATEDB CREATEROLE PASSWORD '"+password+"'")
		return err
	})
	if err != nil {
		t.Fatalf("pgtest: making the test's login: %v", err)
	}
	t.Cleanup(func() {
		err := asSuperuser(instance, func(ctx context.Context, conn *pgx.Conn) error {
			return dropLogin(ctx, conn, user)
		})
		if err != nil {
			t.Logf("pgtest: role %s stays behind: %v", user, err)
		}
	})
	return user, password
}

func pick(t testing.TB, on []Instance) Instance {
	t.Helper()
	if len(on) > 0 {
		return on[0]
	}
	return Server(t)
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// uniqueName tells which test it belongs to. It needs no quotes in SQL and stays under an identifier's 63 bytes.
func uniqueName(t testing.TB) string {
	words := notInNames.ReplaceAllString(strings.ToLower(t.Name()), "_")
	return words[:min(len(words), 40)] + "_" + strings.ToLower(rand.Text()[:12])
}

// asSuperuser lends a connection. It has a context of its own, since in a cleanup that of the test has ended.
func asSuperuser(on Instance, do func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, on.URL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return do(ctx, conn)
}

func dropDatabases(ctx context.Context, conn *pgx.Conn, names []string) error {
	for _, name := range names {
		if _, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)"); err != nil {
			return err
		}
	}
	return nil
}

func dropLogin(ctx context.Context, conn *pgx.Conn, user string) error {
	rows, _ := conn.Query(ctx, "SELECT datname FROM pg_database WHERE datdba = $1::regrole", user)
	databases, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	if err := dropDatabases(ctx, conn, databases); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "DROP ROLE "+user)
	return err
}
