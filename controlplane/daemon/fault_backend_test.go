package daemon_test

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/pgtest"
)

// reading keeps a tenant's notes from being altered, as a long report does,
// until release is called.
func (f *fleet) reading(tenant *controlplane.Tenant) (release func()) {
	f.t.Helper()
	reader := controlplanetest.Superuser(f.t, f.server, tenant.Placement.Database)
	f.exec(reader, "BEGIN")
	f.exec(reader, "SELECT count(*) FROM "+pgx.Identifier{tenant.Placement.Schema, "notes"}.Sanitize())
	return func() { _ = reader.Close(f.t.Context()) }
}

// waiter returns the backend that waits for a lock in a tenant's database, once
// there is one and look, an SQL expression over its pid, is not zero.
func (f *fleet) waiter(superuser *pgx.Conn, tenant *controlplane.Tenant, look string) (pid int) {
	f.t.Helper()
	f.Eventually("a migration waits for a lock", func() (bool, error) {
		err := superuser.QueryRow(f.t.Context(), `SELECT coalesce(max(`+look+`), 0) FROM pg_stat_activity
			WHERE wait_event_type = 'Lock' AND datname = $1`, tenant.Placement.Database).Scan(&pid)
		return pid > 0, err
	})
	return pid
}

func TestBackendTerminatedWhileAMigrationWaitsIsTriedAgain(t *testing.T) {
	t.Parallel()
	forEachIsolation(t, func(t *testing.T, like controlplane.NewTenant) {
		f := newFleet(t, controlplanetest.Options{}, pgtest.Server(t), like, 3)
		superuser := controlplanetest.Superuser(t, f.server, "postgres")
		release := f.reading(f.tenants[1])
		id := f.begin(controlplane.NewRollout{})
		f.Working(func() {
			f.waiter(superuser, f.tenants[1], "pg_terminate_backend(pid)::int")
			release()
			f.finishes(id)
		})
		f.proves(id, controlplane.RolloutSucceeded, controlplane.TargetSucceeded, "4", 1, 0)
	})
}

func TestBackendKilledInABatchTakesTheClusterThroughRecovery(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t, devpg.Config{})
	f := newFleet(t, controlplanetest.Options{}, server, controlplane.NewTenant{Isolation: controlplane.IsolationDatabase}, 6)
	superuser := controlplanetest.Superuser(t, server, "postgres")
	f.reading(f.tenants[2]) // ends with the crash
	id := f.begin(controlplane.NewRollout{BatchSize: 6})
	f.Working(func() {
		if err := syscall.Kill(f.waiter(superuser, f.tenants[2], "pid"), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		f.finishes(id)
	})
	f.proves(id, controlplane.RolloutSucceeded, controlplane.TargetSucceeded, "4", 1, 0)
	if log, err := os.ReadFile(server.LogFile()); err != nil || !strings.Contains(string(log), "was terminated by signal 9") {
		t.Errorf("the cluster did not crash: %v", err)
	}
}
