package pg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/manorhq/manor/controlplane"
)

const marked = "canary-password"

func TestAFailedConnectionSaysWhyAndKeepsThePassword(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	closed.Close()
	good := f.login
	with := func(change func(*Login)) Login {
		l := good
		l.Password = controlplane.NewSecret(marked)
		change(&l)
		return l
	}
	for name, c := range map[string]struct {
		login    Login
		database string
		code     controlplane.Code
		says     string
	}{
		"nobody listens":   {with(func(l *Login) { l.Address.Hosts = []string{closed.Addr().String()} }), "postgres", controlplane.Unavailable, closed.Addr().String()},
		"no such host":     {with(func(l *Login) { l.Address.Hosts = []string{"nowhere.invalid:5432"} }), "postgres", controlplane.Unavailable, "no host is called nowhere.invalid"},
		"not PostgreSQL":   {with(func(l *Login) { l.Address.Hosts = []string{liar(t)} }), "postgres", controlplane.Unavailable, "hung up"},
		"wrong password":   {with(func(l *Login) {}), "postgres", controlplane.Refused, "password authentication failed"},
		"no such login":    {with(func(l *Login) { l.User = "nobody" }), "postgres", controlplane.Refused, "nobody"},
		"no such database": {good, "no_such_database", controlplane.Refused, "no_such_database"},
		"no TLS":           {with(func(l *Login) { l.TLS.Mode = "" }), "postgres", controlplane.Refused, "does not offer TLS"},
		"no root file":     {with(func(l *Login) { l.TLS = controlplane.TLS{RootCert: "/no/such/file"} }), "postgres", controlplane.Invalid, "/no/such/file"},
		"no user":          {with(func(l *Login) { l.User = "" }), "postgres", controlplane.Invalid, "user"},
		"no such TLS mode": {with(func(l *Login) { l.TLS.Mode = "prefer" }), "postgres", controlplane.Invalid, "prefer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Connect(t.Context(), c.login, c.database, "test")
			e, ok := errors.AsType[*controlplane.Error](err)
			if !ok || e.Code != c.code || !strings.Contains(e.Message, c.says) {
				t.Fatalf("got %v, want %s with %q", err, c.code, c.says)
			}
			if c.code != controlplane.Invalid && e.Hint == "" {
				t.Error("there is no hint")
			}
			if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
				t.Error("the error carries the configuration, and with it the password")
			}
			for err := error(e); err != nil; err = errors.Unwrap(err) {
				if text := fmt.Sprintf("%v %+v %#v %s", err, err, err, e.Hint); strings.Contains(text, marked) || strings.Contains(text, good.Password.Reveal()) {
					t.Errorf("the password is in %s", text)
				}
			}
		})
	}
}

// liar takes connections and hangs up.
func liar(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	return l.Addr().String()
}

func TestConnectIsInterruptedWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Connect(ctx, newFixture(t).login, "postgres", "test")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestTheFirstHostThatTakesWritesIsUsed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	closed.Close()
	l := f.login
	l.Address.Hosts = []string{closed.Addr().String(), f.login.Address.Hosts[0]}
	f.connect(l, "postgres")
	super := f.super("postgres")
	exec(t, super, fmt.Sprintf("ALTER ROLE %s SET default_transaction_read_only = on", Quote(l.User)))
	if _, err := Connect(t.Context(), l, "postgres", "test"); controlplane.CodeOf(err) != controlplane.Unavailable {
		t.Errorf("a read-only server among several: %v", err)
	}
}

func TestTheEnvironmentDoesNotChangeAConnection(t *testing.T) {
	f := newFixture(t)
	for name, value := range map[string]string{
		"PGHOST": "nowhere.invalid", "PGPORT": "1", "PGUSER": "nobody", "PGPASSWORD": "wrong", "PGDATABASE": "nothing", "PGOPTIONS": "-c search_path=public",
		"PGAPPNAME": "other", "PGSSLMODE": "verify-full", "PGSERVICE": "none", "PGSERVICEFILE": "/no/such/file", "PGTARGETSESSIONATTRS": "standby",
	} {
		t.Setenv(name, value)
	}
	parseBlank() // what the package does when a process starts
	conn := f.control()
	got := query(t, conn, "SELECT concat_ws(' ', current_user = $1, current_database(), current_setting('search_path'), current_setting('application_name'))", f.login.User)
	if got[0] != "t postgres pg_catalog test" {
		t.Errorf("connected otherwise: %s", got[0])
	}
}

// TestAStoppedProcessKeepsNothingForEver: nor does it after RESET ALL, with
// which each migration begins.
func TestAStoppedProcessKeepsNothingForEver(t *testing.T) {
	t.Parallel()
	conn := newFixture(t).control()
	for _, statement := range []string{"", "SET idle_session_timeout = 0", "RESET ALL"} {
		exec(t, conn, statement)
		got := query(t, conn, `SELECT concat_ws(' ', current_setting('client_connection_check_interval'),
			current_setting('idle_in_transaction_session_timeout'), current_setting('idle_session_timeout'))`)
		if ours := got[0] == "2s 1min 2min"; ours == strings.HasPrefix(statement, "SET") {
			t.Errorf("after %q: %s", statement, got[0])
		}
	}
}

// TestAVanishedProcessIsNoticedWhileItsStatementRuns, and its locks are free.
func TestAVanishedProcessIsNoticedWhileItsStatementRuns(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	super, conn := f.super("postgres"), f.control()
	running := func() bool {
		return len(query(t, super, "SELECT query FROM pg_stat_activity WHERE pid = $1 AND state = 'active'", int(conn.PgConn().PID()))) > 0
	}
	conn.PgConn().Frontend().SendQuery(&pgproto3.Query{String: "SELECT pg_sleep(3600)"})
	must(t, conn.PgConn().Frontend().Flush())
	for !running() {
	}
	must(t, conn.PgConn().Conn().Close())
	for vanished := time.Now(); running(); {
		if time.Since(vanished) > 30*time.Second {
			t.Fatal("the server works on for nobody")
		}
	}
}

func TestTLSNeverFallsBack(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"", "verify-full", "verify-ca", "require"} {
		l := Login{Address: controlplane.Address{Hosts: []string{"a:1", "b:2"}}, User: "u", TLS: controlplane.TLS{Mode: mode}}
		c, err := l.Config("d", "test")
		must(t, err)
		if c.TLSConfig == nil || len(c.Fallbacks) != 1 || c.Fallbacks[0].TLSConfig == nil || c.Fallbacks[0].TLSConfig.ServerName != "b" {
			t.Errorf("mode %q: the configuration leaves a way in the clear", mode)
		}
		if verified := !c.TLSConfig.InsecureSkipVerify || c.TLSConfig.VerifyConnection != nil; verified != (mode != "require") {
			t.Errorf("mode %q: verified: %v", mode, verified)
		}
	}
}

func TestCheckNamesTheRightThatIsMissing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		facts      Facts
		says, hint string
	}{
		{Facts{Version: 140011, Superuser: true}, "PostgreSQL 14.11 is too old", "upgrade"},
		{Facts{Version: 150018, CreateRole: true}, "lacks CREATEDB", `ALTER ROLE "m" CREATEDB;`},
		{Facts{Version: 150018, CreateDB: true}, "lacks CREATEROLE", `ALTER ROLE "m" CREATEROLE;`},
		{Facts{Version: 180000}, "lacks CREATEDB and CREATEROLE", `ALTER ROLE "m" CREATEDB CREATEROLE;`},
		{Facts{Version: 150018, CreateDB: true, CreateRole: true, NoInherit: true}, "lacks INHERIT", `ALTER ROLE "m" INHERIT;`},
	} {
		e, ok := errors.AsType[*controlplane.Error](c.facts.Check("m"))
		if !ok || e.Code != controlplane.Refused || !strings.Contains(e.Message, c.says) || !strings.Contains(e.Hint, c.hint) {
			t.Errorf("%+v: %+v", c.facts, e)
		}
	}
	for _, facts := range []Facts{{Version: 150000, CreateDB: true, CreateRole: true}, {Version: 180001, Superuser: true}, {Version: 160000, CreateDB: true, CreateRole: true, NoInherit: true}} {
		must(t, facts.Check("m"))
	}
}

func TestInspectReadsTheServer(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	facts, err := Inspect(t.Context(), f.control())
	must(t, err)
	must(t, facts.Check(f.login.User))
	if facts.SystemID == "" || facts.Superuser || !facts.CreateDB || !facts.CreateRole || facts.Version/10000 != MajorVersion(f.control()) {
		t.Errorf("facts: %+v", facts)
	}
	super, err := Inspect(t.Context(), f.super("postgres"))
	must(t, err)
	if !super.Superuser || super.SystemID != facts.SystemID {
		t.Errorf("facts of a superuser: %+v", super)
	}
}

func TestALoginWithoutRightsGetsAHint(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	exec(t, f.super("postgres"), fmt.Sprintf("ALTER ROLE %s NOCREATEDB NOCREATEROLE", Quote(f.login.User)))
	d, h, _ := f.plan()
	for what, err := range map[string]error{"database": CreateDatabase(t.Context(), f.control(), d), "roles": CreateRoles(t.Context(), f.control(), h)} {
		if e, ok := errors.AsType[*controlplane.Error](err); !ok || e.Code != controlplane.Refused || e.Hint == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAnExtensionThatCannotBeInstalledIsNamed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for extension, says := range map[string]string{"no_such_thing": "does not have it", "pageinspect": "only a superuser"} {
		d, _, k := f.plan()
		f.make(d, k)
		d.Extensions = []string{extension}
		err := FurnishDatabase(t.Context(), f.connect(f.as(d.Owner, k[d.Owner]), d.Name), d)
		if e, ok := errors.AsType[*controlplane.Error](err); !ok || e.Code != controlplane.Refused || !strings.Contains(e.Message, extension) || !strings.Contains(e.Message, says) {
			t.Errorf("%s: %v", extension, err)
		}
	}
}

func TestALostConnectionIsUnavailable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	control := f.control()
	_, h, _ := f.plan()
	exec(t, f.super("postgres"), fmt.Sprintf("SELECT pg_terminate_backend(%d, 5000)", control.PgConn().PID()))
	if err := DropRoles(t.Context(), control, h); controlplane.CodeOf(err) != controlplane.Unavailable {
		t.Errorf("terminated: %v", err)
	}
	if err := DropRoles(t.Context(), control, h); controlplane.CodeOf(err) != controlplane.Unavailable {
		t.Errorf("closed: %v", err)
	}
}

func TestConnectErrorKeepsWhatIsClearAlready(t *testing.T) {
	t.Parallel()
	ours := controlplane.Errorf(controlplane.Invalid, "ours")
	if got := ConnectError("cluster c", ours); got != error(ours) {
		t.Errorf("got %v", got)
	}
	config, err := newFixture(t).login.Config("postgres", "test")
	must(t, err)
	config.DialFunc = func(context.Context, string, string) (net.Conn, error) { return nil, ours }
	_, err = pgx.ConnectConfig(t.Context(), config)
	if got := ConnectError("cluster c", err); got != error(ours) || TroubleOf(got) != NoTrouble {
		t.Errorf("a dialer of ours: %v", got)
	}
	e, ok := errors.AsType[*controlplane.Error](ConnectError("cluster c", io.ErrUnexpectedEOF))
	if !ok || e.Code != controlplane.Unavailable || !strings.Contains(e.Message, "cluster c") {
		t.Errorf("got %v", e)
	}
	pooler := &pgconn.PgError{Code: "08P01", Message: "unsupported startup parameter: search_path"}
	if e, _ = errors.AsType[*controlplane.Error](ConnectError("cluster c", pooler)); !strings.Contains(e.Hint, "pooler") {
		t.Errorf("a pooler's refusal: %v, %s", e, e.Hint)
	}
}
