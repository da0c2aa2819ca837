package pg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
)

// TestTroubleIsTheClustersOrTheTenants: a tenant is not failed for what its
// cluster does, nor a cluster paused for what is one tenant's.
func TestTroubleIsTheClustersOrTheTenants(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		state                 string
		connecting, statement Trouble
	}{
		{"53300", Connections, Connections},
		{"08006", Cluster, NoTrouble},
		{"08P01", Cluster, NoTrouble}, // a pooler in the way
		{"57P01", Cluster, NoTrouble}, // somebody ended the session, or the server goes down: the next connection tells
		{"57P02", Cluster, NoTrouble},
		{"57P03", Cluster, NoTrouble},
		{"28P01", Cluster, Cluster},
		{"28000", Cluster, Cluster},
		{"25006", Cluster, Cluster},
		{"53100", Cluster, Cluster},
		{"53200", Cluster, Cluster},
		{"58030", Cluster, Cluster},
		{"XX001", Cluster, Cluster},
		{"3D000", NoTrouble, NoTrouble}, // no such database
		{"55000", NoTrouble, NoTrouble}, // the database takes no connections
		{"42501", NoTrouble, NoTrouble}, // no CONNECT on it
		{"57P04", NoTrouble, NoTrouble}, // it was dropped
		{"57P05", NoTrouble, NoTrouble}, // idle for too long
		{"25P03", NoTrouble, NoTrouble}, // idle in a transaction for too long
		{"53400", NoTrouble, NoTrouble}, // a limit of its own, such as temp_file_limit
		{"55P03", NoTrouble, NoTrouble},
		{"42P01", NoTrouble, NoTrouble},
		{"MN004", NoTrouble, NoTrouble},
	} {
		refused := &pgconn.PgError{Code: c.state}
		connecting := &controlplane.Error{Cause: &unconnected{fmt.Errorf("dial: %w", refused)}}
		if got := TroubleOf(fmt.Errorf("open: %w", connecting)); got != c.connecting {
			t.Errorf("%s on connect: %q, want %q", c.state, got, c.connecting)
		}
		if got := TroubleOf(fmt.Errorf("read: %w", refused)); got != c.statement {
			t.Errorf("%s of a statement: %q, want %q", c.state, got, c.statement)
		}
	}
	for _, err := range []error{nil, io.EOF, context.Canceled, context.DeadlineExceeded, errors.New("closed pool"),
		ConnectError("cluster c", context.DeadlineExceeded), // of a pool that is all lent
	} {
		if got := TroubleOf(err); got != NoTrouble {
			t.Errorf("%v: %q", err, got)
		}
	}
}

// TestTroubleOfRealConnections is the same with what pgx and PostgreSQL really say.
func TestTroubleOfRealConnections(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d, h, k := f.plan()
	h.ConnectionLimit = 1
	f.make(d, k, h)
	tenant := f.as(h.Logins[0], k[h.Logins[0]])
	f.connect(tenant, d.Name) // all that it may have
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	nobody.Close()
	at := func(host string) Login {
		l := f.login
		l.Address.Hosts = []string{host}
		return l
	}
	for name, c := range map[string]struct {
		login    Login
		database string
		want     Trouble
	}{
		"nobody listens":           {at(nobody.Addr().String()), "postgres", Cluster},
		"no such host":             {at("nowhere.invalid:5432"), "postgres", Cluster},
		"not PostgreSQL":           {at(liar(t)), "postgres", Cluster},
		"wrong password":           {f.as(f.login.User, controlplane.NewSecret("wrong")), "postgres", Cluster},
		"no connection left":       {tenant, d.Name, Connections},
		"no such database":         {f.login, "no_such_database", NoTrouble},
		"not open to this login":   {f.login, d.Name, NoTrouble},
		"a closed database of all": {f.login, "template0", NoTrouble},
	} {
		_, err := Connect(t.Context(), c.login, c.database, "test")
		if got := TroubleOf(err); err == nil || got != c.want {
			t.Errorf("%s: %q of %v, want %q", name, got, err, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Connect(ctx, f.login, "postgres", "test"); TroubleOf(err) != NoTrouble {
		t.Errorf("interrupted: %v", err)
	}
	if _, err := pgx.Connect(t.Context(), fmt.Sprintf("host=%s port=%d user=nobody sslmode=disable", f.server.Host(), f.server.Port())); TroubleOf(err) != NoTrouble {
		t.Errorf("an error of the catalog's: %v", err)
	}
}
