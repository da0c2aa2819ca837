package migrator_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/controlplane/pg"
)

func TestApplyGoesFromAnyVersionToAnyLaterOne(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	r := parse(t, files{
		"1_a.sql": "CREATE TYPE mood AS ENUM ('sad');", "2_b.sql": "ALTER TYPE mood ADD VALUE 'glad';",
		"3_c.sql": "CREATE TABLE c (m mood DEFAULT 'glad');", "4_d.sql": "-- nothing but this comment\n",
	})
	for _, path := range [][]string{{"4"}, {"1", "4"}, {"1", "2", "3", "4"}, {"2", "3"}} {
		home := db.home("acme")
		for _, to := range path {
			home = db.apply(r, home, to)
			equal(t, "revisions", db.version(home), to)
		}
	}
}

func TestTenantThatIsThereAlreadyIsCurrent(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	r := parse(t, files{"1_a.sql": inMessage})
	home := db.apply(r, db.home("acme"), "1")
	db.exec("UPDATE manor.marker SET version = 'lost'")
	res := r.Apply(t.Context(), db.conn, home, "1", migrator.Limits{})
	equal(t, "outcome", res.Outcome, migrator.Current)
	equal(t, "version", res.Version, "1")
	equal(t, "stamp", stamps(t, db)[home.TenantID].Version, "1") // follows the revisions
	home.Generation++
	equal(t, "moved", r.Apply(t.Context(), db.conn, home, "1", migrator.Limits{}).Outcome, migrator.Failed)
}

func stamps(t testing.TB, db *database) map[string]pg.Stamp {
	t.Helper()
	all, err := pg.ReadMarkers(t.Context(), db.conn)
	noError(t, err)
	byTenant := map[string]pg.Stamp{}
	for _, s := range all {
		byTenant[s.TenantID] = s
	}
	return byTenant
}

// TestStampIsWrittenWithTheRevision holds for both isolations: one query per
// database, or one per cluster, then reads every tenant's version.
func TestStampIsWrittenWithTheRevision(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	r := parse(t, files{"1_a.sql": inMessage, "2_b.sql": "SELECT 1;", "3_c.sql": "SELECT 1/0;", "down/2_b.sql": ""})
	home := db.home("acme")
	home.Isolation, home.Epoch = controlplane.IsolationDatabase, 12
	r.Apply(t.Context(), db.conn, home, "3", migrator.Limits{})
	check := func(version string) {
		t.Helper()
		s := stamps(t, db)[home.TenantID]
		want := pg.Stamp{Marker: home.Marker, Version: version, Release: r.Hash(), UpdatedAt: s.UpdatedAt}
		if diff := cmp.Diff(want, s); diff != "" {
			t.Error(diff)
		}
		var comment map[string]any
		noError(t, json.Unmarshal([]byte(db.read(home, `SELECT shobj_description(oid, 'pg_database') FROM pg_database
			WHERE datname = current_database()`)), &comment))
		wantComment := map[string]any{
			"tenant": home.TenantID, "slug": "acme", "schema": home.Schema, "generation": 3.0, "epoch": 12.0,
			"incarnation": "test", "version": version, "release": r.Hash(),
		}
		if diff := cmp.Diff(wantComment, comment); diff != "" {
			t.Error(diff)
		}
	}
	check("2")
	home.From = "2"
	equal(t, "revert", r.Revert(t.Context(), db.conn, home, "1", nil, migrator.Limits{}).Outcome, migrator.Applied)
	check("1")
}

// TestNothingOfATenantStaysInTheSession keeps pooled sessions clean.
func TestNothingOfATenantStaysInTheSession(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	dirty := parse(t, files{"1_a.sql": `CREATE TEMP TABLE touched (wrong text);
		DO $$ BEGIN PERFORM set_config('search_path', 'public', false), set_config('lock_timeout', '77', false); END $$;`})
	clean := parse(t, files{"1_a.sql": "CREATE TABLE touched (id int);", "2_b.sql": "INSERT INTO touched VALUES (1);", "3_c.sql": "SELECT 1/0;"})
	home := db.apply(clean, db.home("clean"), "1")
	db.apply(dirty, db.home("dirty"), "1")
	home = db.apply(clean, home, "2")
	equal(t, "rows", db.read(home, "SELECT id FROM touched"), "1")
	clean.Apply(t.Context(), db.conn, home, "3", migrator.Limits{}) // fails
	home = db.apply(clean, db.home("another"), "1")
	equal(t, "tables", db.tables(home), "touched")
	var path, wait string
	noError(t, db.conn.QueryRow(t.Context(), "SELECT current_setting('search_path'), current_setting('lock_timeout')").Scan(&path, &wait))
	equal(t, "search path", path, "pg_catalog")
	equal(t, "lock timeout", wait, "0")
}

func TestOutcomesFollowTheSQLSTATE(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	raise := func(state string) string {
		return "SELECT 1;\nDO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '" + state + "'; END $$;"
	}
	for state, want := range map[string]migrator.Outcome{
		"40P01": migrator.Deferred, "40001": migrator.Deferred, "55P03": migrator.Deferred, "53300": migrator.Deferred, "08006": migrator.Deferred,
		"25006": migrator.Stopped, "53100": migrator.Stopped, "53200": migrator.Stopped, "58030": migrator.Stopped, "28000": migrator.Stopped,
		"23505": migrator.Failed, "42501": migrator.Failed, "22000": migrator.Failed, "XX000": migrator.Failed, "P0001": migrator.Failed,
	} {
		res := parse(t, files{"1_a.sql": raise(state)}).Apply(t.Context(), db.conn, db.home("acme"), "1", migrator.Limits{})
		equal(t, state, res.Outcome, want)
		equal(t, "statement", res.Failure.Statement, 2)
	}
}

func TestLockThatIsHeldDefersWithinTheLimit(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	r := parse(t, files{"1_a.sql": inMessage, "2_b.sql": "SELECT 1;\nALTER TABLE touched ADD COLUMN x int;"})
	home := db.apply(r, db.home("acme"), "1")
	tx, err := db.connect().Begin(t.Context())
	noError(t, err)
	_, err = tx.Exec(t.Context(), "LOCK TABLE "+home.Schema+".touched IN ACCESS SHARE MODE")
	noError(t, err)
	res := r.Apply(t.Context(), db.conn, home, "2", migrator.Limits{Lock: 20 * time.Millisecond})
	equal(t, "outcome", res.Outcome, migrator.Deferred)
	equal(t, "failure", res.Failure.SQLState, "55P03")
	equal(t, "statement", res.Failure.Statement, 2)
	noError(t, tx.Rollback(t.Context()))
	db.apply(r, home, "2")
}

func TestStatementOverItsTimeFailsAndACancelledOneIsDeferred(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	slow := parse(t, files{"1_a.sql": "SELECT 1;\nSELECT pg_sleep(60);"})
	res := slow.Apply(t.Context(), db.conn, db.home("slow"), "1", migrator.Limits{Statement: 20 * time.Millisecond})
	equal(t, "over its time", res.Outcome, migrator.Failed)
	equal(t, "state", res.Failure.SQLState, "57014")
	equal(t, "statement", res.Failure.Statement, 2)

	g := db.shutGate()
	done := start(t, db.connect(), parse(t, files{"1_a.sql": passGate}), db.home("cancelled"), "1")
	_, err := g.conn.Exec(t.Context(), "SELECT pg_cancel_backend($1)", g.arrived(t))
	noError(t, err)
	res = <-done
	equal(t, "cancelled", res.Outcome, migrator.Deferred)
	equal(t, "state", res.Failure.SQLState, "57014")
}

func TestReadOnlyClusterStops(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	db.exec("ALTER DATABASE " + db.name + " SET default_transaction_read_only = on")
	conn := db.connect()
	db.exec("ALTER DATABASE " + db.name + " RESET default_transaction_read_only")
	res := parse(t, files{"1_a.sql": inMessage}).Apply(t.Context(), conn, db.home("acme"), "1", migrator.Limits{})
	equal(t, "outcome", res.Outcome, migrator.Stopped)
	equal(t, "state", res.Failure.SQLState, "25006")
}

func TestFreshHomeNeedsNoConcurrently(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	r := parse(t, files{
		"1_a.sql": "CREATE TABLE a (id int);", "2_b.sql": "-- atlas:txmode none\n\nCREATE INDEX CONCURRENTLY i ON a (id);",
		"3_c.sql": "SELECT 1;", "4_d.sql": "-- atlas:txmode none\n\nVACUUM a;\nDROP INDEX CONCURRENTLY i;\nSELECT 1/0;", "5_e.sql": "SELECT 1;",
	})
	home := db.home("acme")
	home.Fresh = true
	home = db.apply(r, home, "3")
	equal(t, "revisions", db.read(home, "SELECT concat(version, '/', applied, '/', total, partial_hashes) FROM atlas_schema_revisions ORDER BY 1"),
		"1/1/1null 2/1/1null 3/1/1null")
	res := r.Apply(t.Context(), db.conn, home, "5", migrator.Limits{})
	equal(t, "outcome", res.Outcome, migrator.Failed)
	equal(t, "statement", res.Failure.Statement, 3)
	equal(t, "version", res.Version, "3")
}

func TestSampleApplicationAppliesToAFreshHomeAndToAnOldOne(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	r, err := migrator.Parse(sample(t))
	noError(t, err)
	versions := r.Versions()
	last := versions[len(versions)-1].Version
	fresh, old := db.home("fresh"), db.home("old")
	fresh.Fresh = true
	db.apply(r, fresh, last)
	for _, v := range versions {
		old = db.apply(r, old, v.Version)
	}
	one, err := pg.Fingerprint(t.Context(), db.conn, fresh.Schema)
	noError(t, err)
	two, err := pg.Fingerprint(t.Context(), db.conn, old.Schema)
	noError(t, err)
	equal(t, "fingerprint", one, two)
}
