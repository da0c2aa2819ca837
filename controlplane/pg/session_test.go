package pg

import (
	"context"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/pgtest"
)

func TestRefusedLoginsLeaveNoSessionAndLetNoneIn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d, h, k := f.plan()
	f.make(d, k, h)
	control, super := f.control(), f.super("postgres")
	sessions := func() []string {
		return query(t, super, "SELECT usename::text FROM pg_stat_activity WHERE usename IN ($1, $2)", h.Logins[0], h.Logins[1])
	}
	for range 5 {
		must(t, SetLogins(t.Context(), control, h, true))
		stop := f.hammer(d, h, k)
		must(t, SetLogins(t.Context(), control, h, false))
		left := sessions()
		stop()
		if left = append(left, sessions()...); len(left) > 0 {
			t.Fatalf("sessions of %v after they were refused", left)
		}
	}
	if _, err := Connect(t.Context(), f.as(h.Logins[0], k[h.Logins[0]]), d.Name, "test"); controlplane.CodeOf(err) != controlplane.Refused {
		t.Errorf("a refused login: %v", err)
	}
	must(t, SetLogins(t.Context(), control, h, true))
	f.connect(f.as(h.Logins[1], k[h.Logins[1]]), d.Name)
}

// hammer logs in over and over, from several sides, and keeps what it gets
// until it is taken away. It returns once each side is in.
func (f *fixture) hammer(d Database, h Home, k keys) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var in, all sync.WaitGroup
	for i := range 8 {
		login := f.as(h.Logins[i%2], k[h.Logins[i%2]])
		in.Add(1)
		all.Go(func() {
			first := sync.OnceFunc(in.Done)
			defer first()
			for ctx.Err() == nil {
				conn, err := Connect(ctx, login, d.Name, "hammer")
				if err == nil {
					first()
					_, _ = conn.Exec(ctx, "SELECT pg_sleep(3600)")
					_ = conn.Close(context.Background())
				}
			}
		})
	}
	in.Wait()
	return func() { cancel(); all.Wait() }
}

func TestLoginsThatDoNotExistCannotBeAllowedButRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, h, _ := f.plan()
	control := f.control()
	must(t, SetLogins(t.Context(), control, h, false))
	if err := SetLogins(t.Context(), control, h, true); controlplane.CodeOf(err) != controlplane.NotFound {
		t.Errorf("allowed: %v", err)
	}
}

// The server logs every statement; no password may be in one, nor in an error.
func TestPasswordsNeverReachTheServersLog(t *testing.T) {
	t.Parallel()
	s := pgtest.NewServer(t, devpg.Config{Settings: map[string]string{"log_statement": "all", "log_min_error_statement": "debug5"}})
	f := newFixtureOn(t, s)
	d, h, k := f.plan()
	f.make(d, k, h)
	control := f.control()
	foreign := h
	foreign.Role = "pg_monitor"
	fails := []error{CreateRoles(t.Context(), control, foreign)}
	foreign.Role, foreign.Connect = h.Role, "no_such_role"
	fails = append(fails, CreateRoles(t.Context(), control, foreign))
	for _, login := range h.Logins {
		f.connect(f.as(login, k[login]), d.Name)
		_, err := Connect(t.Context(), f.as(login, k[login]), "postgres_", "test")
		fails = append(fails, err)
	}
	log, err := os.ReadFile(s.LogFile())
	must(t, err)
	if !strings.Contains(string(log), h.Verifiers[0]) {
		t.Fatal("the log does not show the statements: the test proves nothing")
	}
	for role, password := range k {
		if strings.Contains(string(log), password.Reveal()) {
			t.Errorf("the password of %s is in the server's log", role)
		}
		for _, err := range fails {
			if err == nil || strings.Contains(err.Error(), password.Reveal()) {
				t.Errorf("the password of %s is in an error, or there is none: %v", role, err)
			}
		}
	}
}

func TestHardenClosesWhatItMayAndNamesTheRest(t *testing.T) {
	t.Parallel()
	s := pgtest.NewServer(t, devpg.Config{})
	f := newFixtureOn(t, s)
	d, h, k := f.plan()
	f.make(d, k, h)
	super := f.super("postgres")
	exec(t, super, "CREATE DATABASE other")
	tenant := f.as(h.Logins[0], k[h.Logins[0]])

	skipped, err := Harden(t.Context(), f.control())
	must(t, err)
	want := []string{revokeAll("other"), revokeAll("postgres"), revokeAll("template1")}
	if MajorVersion(super) >= 16 {
		want = append(want, "GRANT pg_read_all_stats TO "+Quote(f.login.User))
	}
	if want = append(want, openFunctions); !slices.Equal(skipped, want) {
		t.Errorf("skipped without rights: %q", skipped)
	}
	f.connect(tenant, "template1")

	skipped, err = Harden(t.Context(), super)
	must(t, err)
	if want := []string{revokeAll("other"), openFunctions}; !slices.Equal(skipped, want) {
		t.Errorf("skipped by a superuser: %q", skipped)
	}
	for _, name := range stockDatabases {
		if _, err := Connect(t.Context(), tenant, name, "test"); controlplane.CodeOf(err) != controlplane.Refused {
			t.Errorf("a tenant connects to %s: %v", name, err)
		}
	}
	exec(t, super, "GRANT CONNECT ON DATABASE postgres TO "+Quote(f.login.User)) // for the cleanup
}

// TestHardenLetsTheControlLoginSeeWhomOthersWaitFor, or says what to run.
func TestHardenLetsTheControlLoginSeeWhomOthersWaitFor(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	super, control := f.super("postgres"), f.control()
	sees := func() bool {
		return query(t, control, "SELECT query FROM pg_stat_activity WHERE pid = $1", int(super.PgConn().PID()))[0] != "<insufficient privilege>"
	}
	if sees() {
		t.Fatal("it sees the queries of others unasked")
	}
	for range 2 {
		left, err := seeSessions(t.Context(), control)
		must(t, err)
		for _, statement := range left {
			exec(t, super, statement)
		}
	}
	if left, err := seeSessions(t.Context(), control); err != nil || len(left) > 0 || !sees() {
		t.Errorf("still to do: %v, %v", left, err)
	}
}

// A backend that was let in just before its role was closed shows up among the
// sessions a moment later. Until then it is seen as starting, and waited for;
// but a client that stalls its log-in keeps nobody waiting.
func TestABackendThatIsJustStartingIsWaitedForButNotForLong(t *testing.T) {
	t.Parallel()
	f := newFixtureOn(t, pgtest.NewServer(t, devpg.Config{Settings: map[string]string{"autovacuum": "off"}})) // its workers start too
	d, h, k := f.plan()
	f.make(d, k, h)
	control := f.control()
	starting := func() int {
		_, pids, err := lookAtSessions(t.Context(), control, h.Logins[:])
		must(t, err)
		return len(pids)
	}
	if n := starting(); n != 0 {
		t.Fatalf("%d backends are starting on an idle server", n)
	}
	client, err := net.Dial("tcp", f.login.Address.Hosts[0])
	must(t, err)
	defer client.Close()
	front := pgproto3.NewFrontend(client, client)
	front.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersionNumber, Parameters: map[string]string{"user": h.Logins[0], "database": d.Name}})
	must(t, front.Flush())
	_, err = front.Receive() // the server asks for the password, and gets none
	must(t, err)
	if n := starting(); n != 1 {
		t.Errorf("%d backends are seen starting, want 1", n)
	}
	began := time.Now()
	must(t, SetLogins(t.Context(), control, h, false))
	if took := time.Since(began); took < startingWait || took > 10*startingWait {
		t.Errorf("refusing took %v", took)
	}
}

func revokeAll(database string) string {
	return "REVOKE ALL ON DATABASE \"" + database + "\" FROM PUBLIC"
}
