package daemon_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/pgtest"
)

// damage is done to a tenant's home behind Manor's back. HOME stands for the
// home: its schema and, in database isolation, its database.
type damage struct {
	outside  bool // of the database
	do, undo string
	reason   string // that the target gives
}

var damages = map[controlplane.Isolation]map[string]damage{
	controlplane.IsolationSchema: {
		"schema-gone": {do: "ALTER SCHEMA HOME RENAME TO HOME_hidden", undo: "ALTER SCHEMA HOME_hidden RENAME TO HOME", reason: "does not exist"},
		"schema-replaced": {do: "ALTER SCHEMA HOME RENAME TO HOME_hidden; CREATE SCHEMA HOME",
			undo: "DROP SCHEMA HOME; ALTER SCHEMA HOME_hidden RENAME TO HOME", reason: "SQLSTATE"},
		"revisions-gone": {do: "ALTER TABLE HOME.atlas_schema_revisions RENAME TO hidden",
			undo: "ALTER TABLE HOME.hidden RENAME TO atlas_schema_revisions", reason: "atlas_schema_revisions"},
		"marker-gone": {do: "CREATE TABLE HOME.hidden AS TABLE manor.marker; DELETE FROM manor.marker WHERE schema = 'HOME'",
			undo: "INSERT INTO manor.marker SELECT * FROM HOME.hidden WHERE schema = 'HOME'; DROP TABLE HOME.hidden", reason: "holds no home of tenant"},
	},
	controlplane.IsolationDatabase: {
		"manor-gone":    {do: "ALTER SCHEMA manor RENAME TO hidden", undo: "ALTER SCHEMA hidden RENAME TO manor", reason: "manor"},
		"database-gone": {outside: true, do: "ALTER DATABASE HOME RENAME TO HOME_hidden", undo: "ALTER DATABASE HOME_hidden RENAME TO HOME", reason: "does not exist"},
		"database-closed": {outside: true, do: "ALTER DATABASE HOME ALLOW_CONNECTIONS false",
			undo: "ALTER DATABASE HOME ALLOW_CONNECTIONS true", reason: "not currently accepting connections"},
		// as by DROP DATABASE that was interrupted
		"half-dropped": {outside: true, do: "UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'HOME'",
			undo: "UPDATE pg_database SET datconnlimit = -1 WHERE datname = 'HOME'", reason: "invalid database"},
	},
}

// run does something to a tenant's home as the superuser.
func (d damage) run(f *fleet, tenant *controlplane.Tenant, sql string) {
	f.t.Helper()
	database := tenant.Placement.Database
	if d.outside {
		database = "postgres"
	}
	superuser := controlplanetest.Superuser(f.t, f.server, database)
	defer superuser.Close(f.t.Context())
	f.exec(superuser, strings.ReplaceAll(sql, "HOME", tenant.Placement.Schema))
}

func TestDamagedHomeFailsItsTenantWithTheReasonAndNoOther(t *testing.T) {
	t.Parallel()
	forEachIsolation(t, func(t *testing.T, like controlplane.NewTenant) {
		f := newFleet(t, controlplanetest.Options{}, pgtest.Server(t), like, 2)
		damages, reasons := damages[like.Isolation], map[string]string{}
		f.Working(func() {
			f.tenants = append(f.tenants, f.Create(like, slices.Sorted(maps.Keys(damages))...)...)
		})
		id := f.begin(controlplane.NewRollout{})
		for _, tenant := range f.tenants[2:] {
			d := damages[tenant.Slug]
			reasons[tenant.Slug] = d.reason
			d.run(f, tenant, d.do)
		}
		f.Working(func() { f.givesUp(id) })
		f.failed(id, reasons)
		for _, tenant := range f.tenants[2:] {
			d := damages[tenant.Slug]
			d.run(f, tenant, d.undo)
		}
		f.retried(id)
	})
}

// givesUp waits until a rollout rests whose targets have been deferred often
// enough; it does not wait for their next try each time.
func (f *fleet) givesUp(id string) {
	f.t.Helper()
	f.Eventually("rollout "+id+" gives up", func() (bool, error) {
		r, err := f.ShowRollout(f.t.Context(), id)
		if err == nil && r.Counts.Done()+r.Counts[controlplane.TargetDeferred] == len(f.tenants) && !r.State.Resting() {
			f.hasten(id)
		}
		return err == nil && r.State.Resting(), err
	})
}
