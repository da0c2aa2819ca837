package devpg

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func TestServerTakesOnlyItsPassword(t *testing.T) {
	t.Parallel()
	a, b := start(t, Config{}), start(t, Config{})
	if got := ask(t, a.URL("postgres"), "SHOW server_version"); !strings.HasPrefix(got, a.Version()) {
		t.Errorf("server_version is %s, Version says %s", got, a.Version())
	}
	if a.Password() == b.Password() {
		t.Error("two servers have the same password")
	}
	for _, wrong := range []string{"", b.Password()} {
		_, err := pgx.Connect(t.Context(), a.urlAs(wrong, "postgres"))
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != "28P01" {
			t.Errorf("password %q: got %v, want a refusal", wrong, err)
		}
	}
}

func TestStopLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if exists(s.base) {
		t.Errorf("%s is left", s.base)
	}
	if listens(s.Port()) {
		t.Errorf("port %d still answers", s.Port())
	}
	if err := s.Restart(t.Context()); err == nil || exists(s.base) {
		t.Errorf("Restart without data: got %v, want an error and no folder", err)
	}
}

func TestCrashedServerComesBackWithItsDataOnItsPort(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	url, pid := s.URL("postgres"), s.PID()
	ask(t, url, "CREATE TABLE kept AS SELECT 1")
	if err := s.Crash(); err != nil {
		t.Fatal(err)
	}
	if s.PID() != 0 || listens(s.Port()) {
		t.Error("the server runs after a crash")
	}
	if err := s.Crash(); err == nil {
		t.Error("a crash of what does not run is no error")
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.PID() == pid || s.URL("postgres") != url {
		t.Error("want another process at the same URL")
	}
	if got := ask(t, url, "SELECT count(*)::text FROM kept"); got != "1" {
		t.Errorf("got %s rows, want 1", got)
	}
	log, _ := os.ReadFile(s.LogFile())
	if !strings.Contains(string(log), "was not properly shut down") {
		t.Errorf("no recovery in the log, so that was no crash:\n%s", log)
	}
}

func TestServerKilledFromOutsideCanBeRestarted(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	if err := syscall.Kill(s.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	ask(t, s.URL("postgres"), "SELECT 'alive'")
}

func TestDirKeepsDataPasswordAndPort(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(passableDir(t), "new")
	first := start(t, Config{Dir: dir})
	url := first.URL("postgres")
	ask(t, url, "CREATE TABLE kept AS SELECT 1")
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	if listens(first.Port()) {
		t.Error("the server runs after Stop")
	}
	second := start(t, Config{Dir: dir})
	if second.URL("postgres") != url {
		t.Errorf("got %s, want %s as before", second.URL("postgres"), url)
	}
	if got := ask(t, url, "SELECT count(*)::text FROM kept"); got != "1" {
		t.Errorf("got %s rows, want 1", got)
	}
	if _, err := Start(t.Context(), Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "is in use") {
		t.Errorf("a second server on the same Dir: got %v", err)
	}
	if err := second.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := second.Restart(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestDirOfAnotherVersionIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeTestFile(t, filepath.Join(dir, "data", "PG_VERSION"), "16\n", 0o644)
	_, err := Start(t.Context(), Config{Dir: dir, Version: "17"})
	if err == nil || !strings.Contains(err.Error(), "holds data of PostgreSQL 16, but version 17 was asked for") {
		t.Errorf("got %v", err)
	}
}

// Root starts the server as another user, who must get to the folder; anybody else has no such worry.
func TestDirBehindAClosedFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(passableDir(t), "closed", "pg")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := Start(t.Context(), Config{Dir: dir})
	if err == nil {
		if s.run.how == asOther {
			t.Error("want an error")
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		return
	}
	if os.Geteuid() != 0 || !strings.Contains(err.Error(), "cannot reach "+dir) || !strings.Contains(err.Error(), "chmod a+x") {
		t.Errorf("got %v", err)
	}
}

func TestSettingsReachTheServer(t *testing.T) {
	t.Parallel()
	prefix := `it's 1 \ %m `
	fast := start(t, Config{Settings: map[string]string{"log_line_prefix": prefix, "max_connections": "7", "port": "1"}})
	durable := start(t, Config{Durable: true})
	for _, c := range []struct {
		server     *Server
		name, want string
	}{
		{fast, "log_line_prefix", prefix},
		{fast, "max_connections", "7"},
		{fast, "fsync", "off"},
		{fast, "full_page_writes", "off"},
		{fast, "synchronous_commit", "on"},
		{fast, "server_encoding", "UTF8"},
		{fast, "listen_addresses", "127.0.0.1"},
		{durable, "max_connections", "200"},
		{durable, "fsync", "on"},
		{durable, "full_page_writes", "on"},
		{durable, "synchronous_commit", "on"},
	} {
		if got := ask(t, c.server.URL("postgres"), "SHOW "+c.name); got != c.want {
			t.Errorf("%s is %q, want %q", c.name, got, c.want)
		}
	}
}

func TestFailedStartShowsTheLogAndLeavesNothing(t *testing.T) {
	temporary := passableDir(t)
	t.Setenv("TMPDIR", temporary)
	_, err := Start(t.Context(), Config{Settings: map[string]string{"shared_buffers": "plenty"}})
	if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "shared_buffers": "plenty"`) {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(temporary); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestPortInUseIsAnErrorOnlyIfItWasAskedFor(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	_, err = Start(t.Context(), Config{Port: taken})
	if err == nil || !strings.Contains(err.Error(), "Address already in use") {
		t.Errorf("got %v", err)
	}
	dir := passableDir(t)
	writeTestFile(t, filepath.Join(dir, "devpg.json"), fmt.Sprintf(`{"password": "secret", "port": %d}`, taken), 0o600)
	if s := start(t, Config{Dir: dir}); s.Port() == taken || s.Password() != "secret" {
		t.Errorf("got port %d, password %s, with %d taken", s.Port(), s.Password(), taken)
	}
}

func TestConfigThatMakesNoSense(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{Version: "latest"}, "want a major version"},
		{Config{Version: "9"}, "want a major version"},
		{Config{Port: 70000}, "not a TCP port"},
		{Config{Settings: map[string]string{"a = 1\nb": "2"}}, "no name of a setting"},
	} {
		if _, err := Start(t.Context(), c.config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want %q", c.config, err, c.want)
		}
	}
}
