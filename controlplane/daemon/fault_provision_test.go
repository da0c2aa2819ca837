package daemon_test

import (
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/pgtest"
)

// catching watches a server from inside for a statement, and kills the backend
// that runs it; the whole server goes through recovery then.
func (f *fleet) catching(server *devpg.Server, statement string) (killed <-chan error) {
	watcher := controlplanetest.Superuser(f.t, server, "postgres")
	f.exec(watcher, `CREATE OR REPLACE FUNCTION pg_temp.catch(wanted text) RETURNS int LANGUAGE plpgsql AS $$
		DECLARE found_pid int;
		BEGIN
			LOOP
				PERFORM pg_stat_clear_snapshot();
				SELECT pid INTO found_pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE wanted || '%';
				IF FOUND THEN RETURN found_pid; END IF;
			END LOOP;
		END $$`)
	result := make(chan error, 1)
	go func() {
		var pid int
		err := watcher.QueryRow(f.t.Context(), "SELECT pg_temp.catch($1)", statement).Scan(&pid)
		if err == nil {
			err = syscall.Kill(pid, syscall.SIGKILL)
		}
		result <- err
	}()
	return result
}

// deleted reports whether nothing more is to be done about a tenant that was purged.
func (f *fleet) deleted(catalog *pgx.Conn, slug string) func() (bool, error) {
	return func() (deleted bool, err error) {
		err = catalog.QueryRow(f.t.Context(), "SELECT count(*) = 0 FROM tenants WHERE slug = $1 AND NOT (state = 'deleted' AND settled)", slug).Scan(&deleted)
		return deleted, err
	}
}

func (f *fleet) purge(slug string) {
	f.t.Helper()
	if _, err := f.DeleteTenant(f.t.Context(), slug, false); err != nil {
		f.t.Fatal(err)
	}
	f.Settled(slug)
	if _, err := f.PurgeTenant(f.t.Context(), slug, slug, false); err != nil {
		f.t.Fatal(err)
	}
}

func TestCreateAndDropDatabaseInterruptedByACrashAreCompleted(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t, devpg.Config{})
	like := controlplane.NewTenant{Isolation: controlplane.IsolationDatabase}
	f := newFleet(t, controlplanetest.Options{}, server, like, 1)
	catalog := f.Catalog()
	f.Working(func() {
		killed := f.catching(server, "CREATE DATABASE")
		f.tenants = append(f.tenants, f.Create(like, "begun")...)
		if err := <-killed; err != nil {
			t.Fatal(err)
		}
		killed = f.catching(server, "DROP DATABASE")
		f.purge("begun")
		if err := <-killed; err != nil {
			t.Fatal(err)
		}
		f.Eventually("the tenant is gone", f.deleted(catalog, "begun"))

		superuser := controlplanetest.Superuser(t, server, "postgres")
		f.exec(superuser, "UPDATE pg_database SET datconnlimit = -2 WHERE datname = $1", f.tenants[0].Placement.Database)
		f.purge(f.tenants[0].Slug)
		f.Eventually("the tenant is gone", f.deleted(catalog, f.tenants[0].Slug))
	})
	for _, difference := range f.Leftovers(server) {
		t.Error(difference)
	}
}
