package migrator_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/controlplane/pg"
)

// gated is a release whose index cannot be built before the gate is open.
func gated(t *testing.T) *migrator.Release {
	return parse(t, files{
		"1_a.sql": `CREATE TABLE a (id int);
INSERT INTO a VALUES (1);
CREATE FUNCTION gate(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM pg_advisory_lock_shared(4711), pg_advisory_unlock_shared(4711); RETURN $1; END $$;`,
		"2_i.sql": none + "INSERT INTO a VALUES (2);\nCREATE INDEX CONCURRENTLY a_i ON a (gate(id));",
	})
}

const indexesOfA = "SELECT indexrelid::regclass || ' ' || indisvalid FROM pg_index WHERE indrelid = 'a'::regclass ORDER BY 1"

func TestRequirement11AtMostOneConcurrentBuildPerDatabase(t *testing.T) {
	t.Parallel()
	db, elsewhere, r := newDatabase(t), newDatabase(t), gated(t)
	first, second := db.apply(r, db.home("first"), "1"), db.apply(r, db.home("second"), "1")
	third := elsewhere.apply(r, elsewhere.home("third"), "1")
	g := db.shutGate()
	building := start(t, db.connect(), r, first, "2")
	pid := g.arrived(t)
	for range 2 {
		res := r.Apply(t.Context(), db.conn, second, "2", migrator.Limits{})
		equal(t, "the second of one database", res.Outcome, migrator.Deferred)
		equal(t, "state", stateOf(res), pg.StateBuilding)
		equal(t, "statement", db.revisions(second), fmt.Sprintf(`1/3/3null 2/1/2["%s"]`, partialHashes([]string{"INSERT INTO a VALUES (2);"})[0]))
		equal(t, "holders", db.read(second, "SELECT count(*) FROM manor.marker WHERE holder_pid IS NOT NULL"), "1")
	}
	elsewhere.apply(r, third, "2") // whose gate is open: advisory locks are a database's own
	db.exec(fmt.Sprintf("SELECT pg_terminate_backend(%d, 30000)", pid))
	equal(t, "killed", (<-building).Outcome, migrator.Deferred)

	building = start(t, db.connect(), r, second, "2") // a dead session's claim is free
	g.arrived(t)
	res := r.Apply(t.Context(), db.conn, first, "2", migrator.Limits{})
	equal(t, "now the first", stateOf(res), pg.StateBuilding)
	g.open(t)
	equal(t, "the second", (<-building).Outcome, migrator.Applied)
	db.apply(r, first, "2")
	for _, home := range []migrator.Target{first, second} {
		equal(t, "indexes", db.read(home, indexesOfA), "a_i true")
		equal(t, "rows", db.read(home, "SELECT id FROM a ORDER BY 1"), "1 2")
	}
	equal(t, "claims", db.read(first, "SELECT count(*) FROM manor.build WHERE holder_pid IS NOT NULL"), "0")
}

// TestRequirement11CancelledBuildIsCleanedUpAndBuiltAgain: a neighbour's
// transaction keeps a build from its end, or even from being cleaned up after.
func TestRequirement11CancelledBuildIsCleanedUpAndBuiltAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, neighbour, left string }{
		"by an old snapshot":        {"CREATE INDEX CONCURRENTLY IF NOT EXISTS a_i ON a (id);", "SELECT 1 FROM pg_class", "b_i true"},
		"by a writer of the table":  {"CREATE INDEX CONCURRENTLY IF NOT EXISTS a_i ON a (id);", "INSERT INTO home.a VALUES (1)", "a_i false b_i true"},
		"of a REINDEX":              {"REINDEX INDEX CONCURRENTLY b_i;\nCREATE INDEX CONCURRENTLY a_i ON a (id);", "SELECT 1 FROM pg_class", "b_i true"},
		"of a REINDEX, by a writer": {"REINDEX (VERBOSE) TABLE CONCURRENTLY a;\nCREATE INDEX CONCURRENTLY a_i ON a (id);", "INSERT INTO home.a VALUES (1)", "b_i true b_i_ccnew false"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t)
			r := parse(t, files{"1_a.sql": "CREATE TABLE a (id int);\nCREATE INDEX b_i ON a (id);", "2_i.sql": none + c.sql})
			home := db.apply(r, db.home("acme"), "1")
			neighbour := in(t, db.other(), pgx.RepeatableRead, strings.Replace(c.neighbour, "home.", home.Schema+".", 1))
			res := r.Apply(t.Context(), db.conn, home, "2", hasty)
			equal(t, "outcome", res.Outcome, migrator.Deferred)
			equal(t, "state", stateOf(res), "55P03")
			equal(t, "indexes", db.read(home, indexesOfA), c.left)
			equal(t, "claims", db.read(home, "SELECT count(*) FROM manor.build WHERE holder_pid IS NOT NULL"), "0")
			noError(t, neighbour.Rollback(t.Context()))
			db.apply(r, home, "2")
			equal(t, "indexes", db.read(home, indexesOfA), "a_i true b_i true")
		})
	}
}

// TestRequirement11FreshHomeGetsThePlainForm, also where another statement of
// the file can be in no transaction: nobody's snapshot is waited for.
func TestRequirement11FreshHomeGetsThePlainForm(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	in(t, db.other(), pgx.RepeatableRead, "SELECT 1 FROM pg_class")
	for _, also := range []string{"", "\nVACUUM a;", "\nREINDEX (CONCURRENTLY FALSE) INDEX a_i;"} {
		r := parse(t, files{"1_a.sql": none + "CREATE TABLE a (id int);\nCREATE INDEX CONCURRENTLY a_i ON a (id);" + also})
		home := db.home("acme")
		home.Fresh = true
		res := r.Apply(t.Context(), db.conn, home, "1", hasty)
		equal(t, also, res.Outcome, migrator.Applied)
		equal(t, also, db.read(home, indexesOfA), "a_i true")
	}
}

// TestADatabaseOfAnOlderProgramIsBroughtUpToDateFirst: nothing else visits the
// databases that are there already.
func TestADatabaseOfAnOlderProgramIsBroughtUpToDateFirst(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	r := parse(t, files{"1_a.sql": "CREATE TABLE a (id int);", "2_i.sql": none + "CREATE INDEX CONCURRENTLY a_i ON a (id);"})
	home := db.apply(r, db.home("acme"), "1")
	db.exec(`DROP TABLE manor.build; DROP FUNCTION manor.edition, manor.claim_build;
		CREATE OR REPLACE FUNCTION manor.release(p_tenant text) RETURNS void LANGUAGE sql AS $$
		UPDATE manor.marker m SET holder_pid = NULL, holder_start = NULL WHERE m.tenant_id = p_tenant AND m.holder_pid = pg_backend_pid() $$;
		DROP FUNCTION manor.release_build`)
	db.apply(r, home, "2")
	var edition int
	noError(t, db.conn.QueryRow(t.Context(), "SELECT manor.edition()", pgx.QueryExecModeExec).Scan(&edition))
	equal(t, "edition", edition, 2)
}

// TestWaitingForTheBuildDoesNotChangeWhatIsKnownOfIt: of a build that was
// interrupted nobody knows yet whether it came to its end, of one that has not
// begun everybody does.
func TestWaitingForTheBuildDoesNotChangeWhatIsKnownOfIt(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	other := db.connect()
	busy := func(r *migrator.Release, home migrator.Target) {
		t.Helper()
		_, err := other.Exec(t.Context(), "SELECT manor.claim_build()")
		noError(t, err)
		for range 2 {
			equal(t, "meanwhile", stateOf(r.Apply(t.Context(), db.conn, home, "2", migrator.Limits{})), pg.StateBuilding)
		}
		_, err = other.Exec(t.Context(), "SELECT manor.release_build()")
		noError(t, err)
	}
	r := stepsRelease(t)
	home := db.partial(r, 2, true) // built and not recorded
	busy(r, home)
	db.apply(r, home, "3")
	equal(t, "revisions", db.revisions(home), finished)

	r = parse(t, files{"1_a.sql": "CREATE TABLE a (id int);\nCREATE INDEX a_i ON a (id);", "2_i.sql": none + "CREATE INDEX CONCURRENTLY a_i ON a ((id + 1));"})
	home = db.apply(r, db.home("acme"), "1")
	busy(r, home)
	res := r.Apply(t.Context(), db.conn, home, "2", migrator.Limits{})
	equal(t, "an index that was there before", stateOf(res), "42P07")
	equal(t, "outcome", res.Outcome, migrator.Failed)
}
