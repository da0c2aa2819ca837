package pg_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/internal/devpg"
)

func TestReplicaLagIsThatOfAStandbyThatReplaysLate(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for _, d := range []string{folder, filepath.Dir(folder)} { // PostgreSQL runs as another user
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(folder, "primary")
	primary, err := devpg.Start(t.Context(), devpg.Config{Dir: dir, Settings: map[string]string{"wal_level": "replica", "max_wal_senders": "4"}})
	if err != nil {
		t.Fatal(err)
	}
	conn := superuser(t, primary)
	if lag, err := pg.ReadReplicaLag(t.Context(), conn); err != nil || lag != (pg.ReplicaLag{}) {
		t.Fatalf("without a standby: %+v, %v", lag, err)
	}
	standby(t, primary, dir)
	conn = superuser(t, primary)
	if _, err := conn.Exec(t.Context(), "CREATE TABLE filler AS SELECT repeat('x', 1000) FROM generate_series(1, 1000)"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		lag, err := pg.ReadReplicaLag(t.Context(), conn)
		if err != nil {
			t.Fatal(err)
		}
		if lag.Bytes > 1_000_000 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the lag is %+v", lag)
		}
	}
}

func superuser(t *testing.T, s *devpg.Server) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	return conn
}

// standby copies a primary that is shut down for it, and starts both; the copy
// replays an hour late.
func standby(t *testing.T, primary *devpg.Server, dir string) {
	t.Helper()
	if err := primary.Stop(); err != nil {
		t.Fatal(err)
	}
	copied := dir + "-standby"
	if out, err := exec.Command("cp", "-a", dir, copied).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := primary.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = primary.Stop() })
	data, err := filepath.Glob(filepath.Join(copied, "*", "PG_VERSION"))
	if err != nil || len(data) != 1 {
		t.Fatalf("no data folder in %s: %v, %v", copied, data, err)
	}
	signal := filepath.Join(filepath.Dir(data[0]), "standby.signal")
	if err := os.WriteFile(signal, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	unused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := unused.Addr().(*net.TCPAddr).Port
	_ = unused.Close()
	server, err := devpg.Start(t.Context(), devpg.Config{Dir: copied, Port: free, Settings: map[string]string{
		"recovery_min_apply_delay": "1h",
		"primary_conninfo":         "host=127.0.0.1 port=" + strconv.Itoa(primary.Port()) + " user=" + primary.User() + " password=" + primary.Password(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
}
