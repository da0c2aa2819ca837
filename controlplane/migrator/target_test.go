package migrator_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane/migrator"
)

const (
	inMessage  = "CREATE TABLE touched (id int);\n"
	statements = "-- atlas:txmode none\n\nCREATE TABLE touched (id int);\n"
)

// TestNothingRunsOnTheWrongTarget is promise 1: every way in which a session
// can be elsewhere than the caller believes is refused before the first statement.
func TestNothingRunsOnTheWrongTarget(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	neighbour := db.home("neighbour")
	tests := map[string]struct {
		wrong   func(*migrator.Target)
		state   string
		outcome migrator.Outcome
	}{
		"another tenant":      {func(t *migrator.Target) { t.TenantID = "nobody" }, "MN002", migrator.Failed},
		"another schema":      {func(t *migrator.Target) { t.Schema = neighbour.Schema }, "MN003", migrator.Failed},
		"an older generation": {func(t *migrator.Target) { t.Generation-- }, "MN003", migrator.Failed},
		"a newer generation":  {func(t *migrator.Target) { t.Generation++ }, "MN003", migrator.Failed},
		"another catalog":     {func(t *migrator.Target) { t.Incarnation = "staging" }, "MN004", migrator.Stopped},
		"an older epoch":      {func(t *migrator.Target) { t.Epoch-- }, "MN005", migrator.Deferred},
		"another version":     {func(t *migrator.Target) { t.From = "" }, "MN006", migrator.Unknown},
	}
	for kind, sql := range map[string]string{"message": inMessage, "statements": statements} {
		r := parse(t, files{"1_base.sql": "SELECT 1;", "2_x.sql": sql, "3_y.sql": "CREATE TABLE after (id int);"})
		for name, test := range tests {
			t.Run(kind+", "+name, func(t *testing.T) {
				home := db.apply(r, db.home("acme"), "1")
				target := home
				test.wrong(&target)
				res := r.Apply(t.Context(), db.conn, target, "3", migrator.Limits{})
				equal(t, "outcome", res.Outcome, test.outcome)
				equal(t, "state", stateOf(res), test.state)
				if test.state == "MN006" {
					equal(t, "version", res.Version, "1")
				}
				equal(t, "tables", db.tables(home)+db.tables(neighbour), "")
				equal(t, "revisions", db.version(home), "1")
			})
		}
	}
}

func stateOf(res migrator.Result) string {
	if refused, ok := res.Err.(*pgconn.PgError); ok {
		return refused.Code
	}
	return ""
}

func TestEditedFileIsNoticedWhereItWasApplied(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	f := files{"1_a.sql": "CREATE TABLE a (id int);", "2_b.sql": "CREATE TABLE b (id int);"}
	home := db.apply(parse(t, f), db.home("acme"), "1")
	f["1_a.sql"] = "CREATE TABLE a (id bigint);"
	res := parse(t, f).Apply(t.Context(), db.conn, home, "2", migrator.Limits{})
	equal(t, "outcome", res.Outcome, migrator.Failed)
	equal(t, "state", res.Failure.SQLState, "MN007")
	equal(t, "tables", db.tables(home), "a")
}

func TestVersionThatTheReleaseDoesNotHoldIsRefused(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	r, home := parse(t, files{"1_a.sql": inMessage}), db.home("acme")
	for from, to := range map[string]string{"": "2", "0": "1"} {
		home.From = from
		res := r.Apply(t.Context(), db.conn, home, to, migrator.Limits{})
		equal(t, "outcome", res.Outcome, migrator.Failed)
		if res.Failure == nil || !strings.Contains(res.Failure.Message, "release") {
			t.Errorf("failure: %v", res.Failure)
		}
	}
}

func TestOlderEpochIsFencedOffByANewerOne(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	r := parse(t, files{"1_a.sql": "SELECT 1;", "2_b.sql": inMessage})
	home := db.home("acme")
	zombie := home
	home.Epoch = 9
	db.apply(r, home, "1")
	zombie.From, zombie.Epoch = "1", 8
	res := r.Apply(t.Context(), db.conn, zombie, "2", migrator.Limits{})
	equal(t, "state", stateOf(res), "MN005")
	equal(t, "tables", db.tables(home), "")
}

func TestTenantThatIsWorkedOnIsBusyAtOnce(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	for kind, sql := range map[string]string{"message": inMessage, "statements": statements} {
		r, home := parse(t, files{"1_a.sql": sql}), db.home("acme")
		other := db.connect()
		tx, err := other.Begin(t.Context())
		noError(t, err)
		_, err = tx.Exec(t.Context(), "SELECT FROM manor.marker WHERE tenant_id = $1 FOR UPDATE", home.TenantID)
		noError(t, err)
		res := r.Apply(t.Context(), db.conn, home, "1", migrator.Limits{Lock: time.Minute})
		equal(t, kind, res.Outcome, migrator.Deferred)
		equal(t, kind, stateOf(res), "MN001")
		noError(t, tx.Rollback(t.Context()))
		db.apply(r, home, "1")
	}
}

// gate is an advisory lock that a migration waits at.
type gate struct{ conn *pgx.Conn }

const passGate = "SELECT pg_advisory_xact_lock(4711);\n"

func (db *database) shutGate() gate {
	db.t.Helper()
	g := gate{db.connect()}
	_, err := g.conn.Exec(db.t.Context(), "SELECT pg_advisory_lock(4711)")
	noError(db.t, err)
	return g
}

// arrived waits until a session waits at the gate, and returns its pid.
func (g gate) arrived(t *testing.T) (pid int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for pid == 0 {
		err := g.conn.QueryRow(ctx, `SELECT coalesce(max(l.pid), 0) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
			WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted`).Scan(&pid)
		noError(t, err)
	}
	return pid
}

func (g gate) open(t *testing.T) {
	t.Helper()
	_, err := g.conn.Exec(t.Context(), "SELECT pg_advisory_unlock(4711)")
	noError(t, err)
}

var patient = migrator.Limits{Lock: time.Minute, Statement: time.Minute}

// start applies in the background.
func start(t *testing.T, conn *pgx.Conn, r *migrator.Release, home migrator.Target, to string) <-chan migrator.Result {
	done := make(chan migrator.Result, 1)
	go func() { done <- r.Apply(t.Context(), conn, home, to, patient) }()
	return done
}

// TestTwoTenantsOfOneDatabaseOverlap is the promise of locks per tenant.
func TestTwoTenantsOfOneDatabaseOverlap(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	r := parse(t, files{"1_slow.sql": passGate + inMessage})
	quick := parse(t, files{"1_quick.sql": inMessage})
	one, two := db.home("one"), db.home("two")
	g := db.shutGate()
	done := start(t, db.connect(), r, one, "1")
	g.arrived(t)
	db.apply(quick, two, "1")
	equal(t, "version of the slow one", db.version(one), "")
	g.open(t)
	equal(t, "outcome", (<-done).Outcome, migrator.Applied)
}

func TestKilledBackendLeavesTheVersionBeforeAndIsDeferred(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	r := parse(t, files{"1_a.sql": "CREATE TABLE a (id int);", "2_b.sql": "CREATE TABLE b (id int);\n" + passGate})
	home, g := db.home("acme"), db.shutGate()
	conn := db.connect()
	done := start(t, conn, r, home, "2")
	_, err := g.conn.Exec(t.Context(), "SELECT pg_terminate_backend($1)", g.arrived(t))
	noError(t, err)
	res := <-done
	equal(t, "outcome", res.Outcome, migrator.Deferred)
	equal(t, "version", res.Version, "1")
	equal(t, "statement", res.Failure.Statement, 2)
	equal(t, "tables", db.tables(home), "a")
	equal(t, "connection closed", conn.IsClosed(), true)
}

// TestConnectionLostIsUnknown is the promise that what may have been committed
// is neither called failed nor done, and that the revisions then tell which.
func TestConnectionLostIsUnknown(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	r := parse(t, files{"1_a.sql": "CREATE TABLE a (id int);", "2_b.sql": passGate + "CREATE TABLE b (id int);"})
	home, g := db.home("acme"), db.shutGate()
	conn := db.connect()
	done := start(t, conn, r, home, "2")
	pid := g.arrived(t)
	noError(t, conn.PgConn().Conn().Close())
	res := <-done
	equal(t, "outcome", res.Outcome, migrator.Unknown)
	g.open(t)
	waitFor(t, func() bool { // the server goes on, unless pgx's request to cancel comes first
		return db.read(home, fmt.Sprintf("SELECT count(*) FROM pg_stat_activity WHERE pid = %d", pid)) == "0"
	})
	want := map[string]string{"1": "a", "2": "a b"}[db.version(home)]
	equal(t, "tables", db.tables(home), want)
}

func TestBackendKilledWhileItCommitsIsUnknown(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	r := parse(t, files{"1_a.sql": `CREATE TABLE a (id int);
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON a DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait();
INSERT INTO a VALUES (1);`})
	home, g := db.home("acme"), db.shutGate()
	done := start(t, db.connect(), r, home, "1")
	_, err := g.conn.Exec(t.Context(), "SELECT pg_terminate_backend($1)", g.arrived(t))
	noError(t, err)
	res := <-done
	equal(t, "outcome", res.Outcome, migrator.Unknown)
	equal(t, "revisions", db.version(home), "")
}

// TestPositionsAreCountedAsTheServerDoes: without an encoding, in bytes.
func TestPositionsAreCountedAsTheServerDoes(t *testing.T) {
	t.Parallel()
	r := parse(t, files{"1_é.sql": "SELECT 'äöü';\nSELECT nothing;"})
	for _, encoding := range []string{"SQL_ASCII", "LATIN1"} {
		db := newDatabase(t, "ENCODING "+encoding+" LOCALE 'C'")
		res := r.Apply(t.Context(), db.conn, db.home("acme"), "1", migrator.Limits{})
		equal(t, encoding, res.Failure.Statement, 2)
		equal(t, encoding, res.Failure.Position, 8)
	}
}

func TestWhatATenantDidToItsSessionDoesNotReachTheNext(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	text := parse(t, files{"1_a.sql": "CREATE TABLE a (t text);\nINSERT INTO a VALUES ('ä€\\n');\n"})
	for i, leftover := range []string{
		"SET client_encoding = 'LATIN1'",
		"DO $$BEGIN EXECUTE 'SET standard_conforming_strings = off'; END$$",
	} {
		_, err := db.conn.Exec(t.Context(), leftover)
		noError(t, err)
		home := db.home(fmt.Sprint("acme", i))
		res := text.Apply(t.Context(), db.conn, home, "1", migrator.Limits{})
		equal(t, leftover, res.Outcome, migrator.Applied)
		var stored string
		noError(t, db.conn.QueryRow(t.Context(), "SELECT t FROM "+home.Schema+".a").Scan(&stored))
		equal(t, leftover, stored, `ä€\n`)
	}
}

func TestSessionThatCannotBePutRightIsGivenUp(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	config, err := db.login.Config(db.name, "test")
	noError(t, err)
	config.RuntimeParams["standard_conforming_strings"] = "off" // what RESET ALL goes back to
	conn, err := pgx.ConnectConfig(t.Context(), config)
	noError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	home := db.home("acme")
	res := parse(t, files{"1_a.sql": inMessage}).Apply(t.Context(), conn, home, "1", migrator.Limits{})
	equal(t, "outcome", res.Outcome, migrator.Deferred)
	equal(t, "closed", conn.IsClosed(), true)
	equal(t, "tables", db.tables(home), "")
}

func TestCancelledContextSendsNothing(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	r, home := parse(t, files{"1_a.sql": inMessage}), db.home("acme")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	res := r.Apply(ctx, db.conn, home, "1", migrator.Limits{})
	equal(t, "outcome", res.Outcome, migrator.Deferred)
	equal(t, "tables", db.tables(home), "")
}

// waitFor spins: each try is a round trip to the server.
func waitFor(t testing.TB, done func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
	}
}
