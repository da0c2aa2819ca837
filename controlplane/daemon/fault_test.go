package daemon_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
)

// forEachIsolation runs a test in both isolations, in parallel.
func forEachIsolation(t *testing.T, test func(t *testing.T, like controlplane.NewTenant)) {
	for _, isolation := range controlplane.Isolations {
		t.Run(string(isolation), func(t *testing.T) {
			t.Parallel()
			test(t, controlplane.NewTenant{Isolation: isolation})
		})
	}
}

// begin starts a rollout that nobody works on yet.
func (f *fleet) begin(n controlplane.NewRollout) (id string) {
	f.t.Helper()
	n.Release = "v2"
	r, err := f.StartRollout(f.t.Context(), n)
	if err != nil {
		f.t.Fatal(err)
	}
	return r.ID
}

// finishes waits until a rollout rests, and lists its targets if it never does.
func (f *fleet) finishes(id string) {
	f.t.Helper()
	defer func() {
		if !f.t.Failed() {
			return
		}
		page, err := f.Targets(context.WithoutCancel(f.t.Context()), id, controlplane.TargetQuery{})
		for _, target := range page.Items {
			f.t.Logf("%s is %s at %s after %d attempts: %s", target.Tenant, target.Status, target.Version, target.Attempts, target.Failure)
		}
		if err != nil {
			f.t.Log(err)
		}
	}()
	f.Eventually("rollout "+id+" rests", f.rests(id))
}

// thereAndBack lets a rollout finish and takes it back, the nth time.
func (f *fleet) thereAndBack(id string, n int) {
	f.t.Helper()
	f.finishes(id)
	f.proves(id, controlplane.RolloutSucceeded, controlplane.TargetSucceeded, "4", n, n-1)
	if _, err := f.RollbackRollout(f.t.Context(), id, controlplane.RollbackRequest{}); err != nil {
		f.t.Fatal(err)
	}
	f.finishes(id)
	f.proves(id, controlplane.RolloutRolledBack, controlplane.TargetRolledBack, "2", n, n)
}

// retried tries again what failed, and expects it to succeed.
func (f *fleet) retried(id string) {
	f.t.Helper()
	if _, err := f.RetryRollout(f.t.Context(), id); err != nil {
		f.t.Fatal(err)
	}
	f.Working(func() { f.finishes(id) })
	f.proves(id, controlplane.RolloutSucceeded, controlplane.TargetSucceeded, "4", 1, 0)
}

// failed compares a rollout that is over with what must be so when some tenants
// failed, for the reasons given by slug, and all others succeeded.
func (f *fleet) failed(id string, reasons map[string]string) {
	f.t.Helper()
	r, err := f.ShowRollout(f.t.Context(), id)
	if err != nil {
		f.t.Fatal(err)
	}
	want := controlplane.Counts{controlplane.TargetFailed: len(reasons), controlplane.TargetSucceeded: len(f.tenants) - len(reasons)}
	if r.State != controlplane.RolloutFailed || r.Counts.String() != want.String() {
		f.t.Fatalf("the rollout is %s: %s", r.State, r.Counts)
	}
	page, err := f.Targets(f.t.Context(), id, controlplane.TargetQuery{Status: controlplane.TargetFailed})
	if err != nil {
		f.t.Fatal(err)
	}
	for _, target := range page.Items {
		if reason, ok := reasons[target.Tenant]; !ok || !strings.Contains(target.Failure.String(), reason) {
			f.t.Errorf("%s failed: %s", target.Tenant, target.Failure)
		}
	}
}

// hastened asks whether something holds of the alarm, which does not wait for
// its next try meanwhile.
func (f *fleet) hastened(id string, holds func(*controlplane.Alarm) bool) func() (bool, error) {
	return func() (bool, error) {
		alarm := f.alarm(id)
		if holds(alarm) {
			return true, nil
		}
		if alarm != nil && alarm.Until.After(time.Now()) {
			f.hasten(id)
		}
		return false, nil
	}
}

// hasten lets alarms and targets of a rollout not wait for their next try.
func (f *fleet) hasten(id string) {
	f.t.Helper()
	catalog := f.Catalog()
	defer catalog.Close(f.t.Context())
	f.exec(catalog, `UPDATE clusters SET flow = jsonb_set(flow, '{alarm,until}', to_jsonb(clock_timestamp())) WHERE jsonb_typeof(flow->'alarm') = 'object'`)
	f.exec(catalog, `UPDATE targets SET not_before = NULL`)
	f.exec(catalog, `INSERT INTO river.river_job (kind, args, max_attempts) VALUES ('rollout.advance', jsonb_build_object('rollout', $1::text), 1)`, id)
}

// alarm is that of cluster "one", which has open targets of a rollout.
func (f *fleet) alarm(id string) *controlplane.Alarm {
	f.t.Helper()
	r, err := f.ShowRollout(f.t.Context(), id)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, c := range r.Clusters {
		if c.Cluster == "one" {
			return c.Flow.Alarm
		}
	}
	return nil
}

// byAutovacuum are the columns of pg_class that autovacuum writes whenever it likes.
const byAutovacuum = "{relpages,reltuples,relallvisible,relallfrozen,relfrozenxid,relminmxid}"

// written is every row of a server's databases that a migration writes, each
// with the transaction that wrote it.
func (f *fleet) written(s controlplanetest.Server, databases ...string) []string {
	f.t.Helper()
	var all []string
	for _, database := range databases {
		for _, table := range f.list(s, database, `SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.relkind = 'r' AND (n.nspname = 'manor' OR n.nspname ~ '^t_' OR c.relname IN ('pg_class', 'pg_namespace')) ORDER BY 1`) {
			rows := f.list(s, database, "SELECT x.xmin || ' ' || x.ctid || ' ' || (to_jsonb(x) - '"+byAutovacuum+"'::text[]) FROM "+table+" x ORDER BY 1")
			all = append(append(all, database+" "+table), rows...)
		}
	}
	return all
}

// databases are those on a server of the test's own.
func (f *fleet) databases(s controlplanetest.Server) []string {
	f.t.Helper()
	return f.list(s, "postgres", "SELECT datname FROM pg_database WHERE datallowconn ORDER BY 1")
}

// homes are the databases of the tenants.
func (f *fleet) homes() (databases []string) {
	for _, tenant := range f.tenants {
		databases = append(databases, tenant.Placement.Database)
	}
	slices.Sort(databases)
	return slices.Compact(databases)
}

func (f *fleet) list(s controlplanetest.Server, database, query string) []string {
	f.t.Helper()
	conn := controlplanetest.Superuser(f.t, s, database)
	defer conn.Close(f.t.Context())
	rows, _ := conn.Query(f.t.Context(), query)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		f.t.Fatalf("%s: %v", query, err)
	}
	return list
}

func (f *fleet) exec(conn *pgx.Conn, sql string, args ...any) {
	f.t.Helper()
	if _, err := conn.Exec(f.t.Context(), sql, args...); err != nil {
		f.t.Fatalf("%s: %v", sql, err)
	}
}
