package migrator_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/migrator"
)

const none = "-- atlas:txmode none\n\n"

// steps is a file of every kind of statement that may stand without a transaction.
var steps = []string{
	"CREATE TABLE a (id int, n text);",
	"INSERT INTO a VALUES (1, 'é');",
	"CREATE UNIQUE INDEX CONCURRENTLY a_i ON a (id);",
	"DO $$ BEGIN COMMIT; END $$;",
	"DO $$ BEGIN INSERT INTO a VALUES (3, 'd'); END $$;",
	"CREATE PROCEDURE p() LANGUAGE sql AS $$ INSERT INTO a VALUES (4, 'p') $$;",
	"CALL p();",
	"REINDEX INDEX CONCURRENTLY a_i;",
	"VACUUM a;",
	"CREATE INDEX CONCURRENTLY a_n ON a (n);",
	"DROP INDEX CONCURRENTLY a_n;",
	"INSERT INTO a VALUES (2, 'x');",
}

func stepsRelease(t *testing.T) *migrator.Release {
	return parse(t, files{"1_base.sql": "SELECT 1;", "2_alone.sql": none + strings.Join(steps, "\n"), "3_more.sql": "SELECT 1;"})
}

const finished = "1/1/1null 2/12/12null 3/1/1null"

// revisions are the rows of Atlas's table, in short.
func (db *database) revisions(home migrator.Target) string {
	db.t.Helper()
	return db.read(home, `SELECT concat(version, '/', applied, '/', total, partial_hashes) FROM atlas_schema_revisions ORDER BY 1`)
}

func TestFileWithoutTransactionRunsStatementByStatement(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	home := db.apply(stepsRelease(t), db.home("acme"), "3")
	equal(t, "revisions", db.revisions(home), finished)
	equal(t, "rows", db.read(home, "SELECT id FROM a ORDER BY 1"), "1 2 3 4")
	equal(t, "indexes", db.read(home, "SELECT indexname::text FROM pg_indexes WHERE tablename = 'a' AND schemaname = current_schema()"), "a_i")
	equal(t, "stamp", stamps(t, db)[home.TenantID].Version, "3")
	equal(t, "holder", db.read(home, "SELECT count(*) FROM manor.marker WHERE holder_pid IS NOT NULL"), "0")
}

// partial brings a home to where a process left it that died at statement next
// (from 0) of the file: it ran if ran, but nobody recorded it.
func (db *database) partial(r *migrator.Release, next int, ran bool) migrator.Target {
	db.t.Helper()
	home := db.apply(r, db.home("acme"), "1")
	conn := db.connect()
	_, err := conn.Exec(db.t.Context(), "SET search_path = "+home.Schema)
	noError(db.t, err)
	count := next
	if ran {
		count++
	}
	for _, s := range steps[:count] {
		_, err := conn.Exec(db.t.Context(), s)
		noError(db.t, err)
	}
	hashes, err := json.Marshal(partialHashes(steps[:next]))
	noError(db.t, err)
	_, err = conn.Exec(db.t.Context(), `INSERT INTO atlas_schema_revisions (version, description, applied, total, executed_at, execution_time, hash, partial_hashes, operator_version)
		VALUES ('2', 'alone', $1, $4, now(), 0, $2, $3, 'somebody')`, next, r.Versions()[1].Hash, string(hashes), len(steps))
	noError(db.t, err)
	noError(db.t, conn.Close(db.t.Context()))
	return home
}

// partialHashes are computed as Atlas's Executor does.
func partialHashes(statements []string) []string {
	var hashes []string
	sum := sha256.New()
	for _, s := range statements {
		sum.Write([]byte(s))
		hashes = append(hashes, "h1:"+base64.StdEncoding.EncodeToString(sum.Sum(nil)))
	}
	return hashes
}

// TestFileWithoutTransactionIsResumed is promise 2 for such files: from every
// recorded statement on, and also where an index was made or dropped but not recorded.
func TestFileWithoutTransactionIsResumed(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	r := stepsRelease(t)
	for next := range steps {
		for _, ran := range []bool{false, true} {
			if ran && !strings.Contains(steps[next], "CONCURRENTLY") {
				continue // those are recorded in the transaction they run in, or may run twice
			}
			t.Run(fmt.Sprintf("at %d, ran %t", next, ran), func(t *testing.T) {
				home := db.apply(r, db.partial(r, next, ran), "3")
				equal(t, "revisions", db.revisions(home), finished)
				equal(t, "rows", db.read(home, "SELECT id FROM a ORDER BY 1"), "1 2 3 4")
			})
		}
	}
}

func TestResumeRefusesAFileWhoseFirstStatementsChanged(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	home := db.partial(stepsRelease(t), 2, false)
	changed := strings.Replace(strings.Join(steps, "\n"), "'é'", "'e'", 1)
	r := parse(t, files{"1_base.sql": "SELECT 1;", "2_alone.sql": none + changed})
	res := r.Apply(t.Context(), db.conn, home, "2", migrator.Limits{})
	equal(t, "outcome", res.Outcome, migrator.Failed)
	equal(t, "version", res.Version, "1")
	if !strings.Contains(res.Failure.Message, "statement 2 was changed") {
		t.Error(res.Failure.Message)
	}
	equal(t, "holder", db.read(home, "SELECT count(*) FROM manor.marker WHERE holder_pid IS NOT NULL"), "0")
}

func TestPartialVersionKeepsOtherFilesOut(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	home := db.partial(stepsRelease(t), 2, false)
	r := parse(t, files{"1_base.sql": "SELECT 1;", "3_more.sql": inMessage})
	res := r.Apply(t.Context(), db.conn, home, "3", migrator.Limits{})
	equal(t, "outcome", res.Outcome, migrator.Unknown)
	equal(t, "state", stateOf(res), "MN006")
	equal(t, "version", res.Version, "1")

	home.From = "2" // as somebody may believe
	res = stepsRelease(t).Apply(t.Context(), db.conn, home, "3", migrator.Limits{})
	equal(t, "outcome", res.Outcome, migrator.Unknown)
	equal(t, "version", res.Version, "1")
	equal(t, "revisions", db.read(home, "SELECT concat(version, '/', applied) FROM atlas_schema_revisions ORDER BY 1"), "1/1 2/2")
}

// TestFailedConcurrentIndexIsCleanedUpAndBuiltAgain covers a build that fails
// and one whose process died.
func TestFailedConcurrentIndexIsCleanedUpAndBuiltAgain(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	const index = "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS a_i ON a (id);"
	r := parse(t, files{"1_a.sql": "CREATE TABLE a (id int);\nINSERT INTO a VALUES (4711), (4711);", "2_i.sql": none + "SELECT 'é';\n" + index})
	home := db.apply(r, db.home("acme"), "1")
	res := r.Apply(t.Context(), db.conn, home, "2", migrator.Limits{})
	equal(t, "outcome", res.Outcome, migrator.Failed)
	equal(t, "version", res.Version, "1")
	want := controlplane.Failure{Message: res.Failure.Message, SQLState: "23505", Version: "2", File: "2_i.sql", Statement: 2, SQL: index}
	if diff := cmp.Diff(&want, res.Failure); diff != "" {
		t.Error(diff)
	}
	equal(t, "revision", db.read(home, "SELECT concat_ws('|', applied, total, error_stmt, partial_hashes) FROM atlas_schema_revisions WHERE version = '2'"),
		"1|2|"+index+`|["`+partialHashes([]string{"SELECT 'é';"})[0]+`"]`)
	const indexes = "SELECT indisvalid FROM pg_index WHERE indrelid = 'a'::regclass"
	equal(t, "indexes", db.read(home, indexes), "")

	conn := db.connect() // another process tries, and dies before it can clean up
	_, err := conn.Exec(t.Context(), "SET search_path = "+home.Schema)
	noError(t, err)
	if _, err := conn.Exec(t.Context(), index); err == nil {
		t.Fatal("built over duplicates")
	}
	equal(t, "indexes", db.read(home, indexes), "false")
	db.exec("UPDATE " + home.Schema + ".atlas_schema_revisions SET error = ''")
	db.exec("DELETE FROM " + home.Schema + ".a")
	db.apply(r, home, "2")
	equal(t, "indexes", db.read(home, indexes), "true")
	equal(t, "revisions", db.revisions(home), "1/2/2null 2/2/2null")
}

// TestInterruptedDropLooksForTheIndexThatPostgreSQLReads: a drop that never ran
// is not taken for one that did because its name is written in another way.
func TestInterruptedDropLooksForTheIndexThatPostgreSQLReads(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	for _, name := range []string{"A_I", `"A_I"`, `"a ""i"`, "Ü_I", `U&"\00fc\005fi"`, "if", strings.Repeat("long_", 15)} {
		r := parse(t, files{"1_a.sql": "CREATE TABLE a (id int);\nCREATE INDEX " + name + " ON a (id);", "2_i.sql": none + "DROP INDEX CONCURRENTLY " + name + ";"})
		home := db.apply(r, db.home("acme"), "1")
		db.exec("INSERT INTO " + home.Schema + ".atlas_schema_revisions (version, description, applied, total, executed_at, execution_time, hash, operator_version) VALUES ('2', 'i', 0, 1, now(), 0, '', 'somebody')")
		db.apply(r, home, "2")
		equal(t, name, db.read(home, indexesOfA), "")
	}
}

// TestHeldTenantIsBusyUntilItsSessionEnds is the lock and the fence of a file
// without a transaction.
func TestHeldTenantIsBusyUntilItsSessionEnds(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	r := parse(t, files{"1_a.sql": none + "CREATE TABLE a (id int);\nDO $$ BEGIN COMMIT; PERFORM pg_advisory_xact_lock(4711); END $$;\nINSERT INTO a VALUES (1);"})
	plain := parse(t, files{"1_a.sql": inMessage})
	home, g := db.home("acme"), db.shutGate()
	done := start(t, db.connect(), r, home, "1")
	pid := g.arrived(t)
	for _, other := range []*migrator.Release{r, plain} {
		newer := home
		newer.Epoch++
		res := other.Apply(t.Context(), db.conn, newer, "1", migrator.Limits{})
		equal(t, "outcome", res.Outcome, migrator.Deferred)
		equal(t, "state", stateOf(res), "MN001")
	}
	_, err := g.conn.Exec(t.Context(), "SELECT pg_terminate_backend($1, 30000)", pid)
	noError(t, err)
	equal(t, "killed", (<-done).Outcome, migrator.Deferred)
	g.open(t)
	db.apply(r, home, "1")
	equal(t, "rows", db.read(home, "SELECT id FROM a"), "1")
}

// TestStatementAndItsRecordAreOneWhereTheyCanBe: a statement that may be in a
// transaction is not run twice, whenever the process dies.
func TestStatementAndItsRecordAreOneWhereTheyCanBe(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	r := parse(t, files{"1_a.sql": none + "CREATE TABLE a (id int);\nINSERT INTO a SELECT 1 FROM (SELECT pg_advisory_xact_lock(4711)) gate;\nVACUUM a;"})
	home, g := db.home("acme"), db.shutGate()
	done := start(t, db.connect(), r, home, "1")
	pid := g.arrived(t)
	tx, err := db.connect().Begin(t.Context())
	noError(t, err)
	_, err = tx.Exec(t.Context(), "LOCK TABLE "+home.Schema+".atlas_schema_revisions IN SHARE MODE")
	noError(t, err)
	g.open(t)
	waitFor(t, func() bool { // for the record, the statement done
		return db.read(home, fmt.Sprintf("SELECT count(*) FROM pg_locks WHERE pid = %d AND locktype = 'relation' AND NOT granted", pid)) == "1"
	})
	_, err = tx.Exec(t.Context(), "SELECT pg_terminate_backend($1, 30000)", pid)
	noError(t, err)
	equal(t, "outcome", (<-done).Outcome, migrator.Deferred)
	noError(t, tx.Rollback(t.Context()))
	db.apply(r, home, "1")
	equal(t, "rows", db.read(home, "SELECT id FROM a"), "1")
}

// TestWhatEndsTransactionsItselfLeavesNothingOfTheFirstTry, which is made in a
// transaction: neither rows nor locks. Extensions have words of their own for it.
func TestWhatEndsTransactionsItselfLeavesNothingOfTheFirstTry(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	const body = "$$ BEGIN PERFORM pg_advisory_lock(4711); INSERT INTO a VALUES (1); COMMIT; INSERT INTO a VALUES (2); PERFORM pg_advisory_unlock(4711); END $$;"
	const extension = "DO $$ BEGIN IF pg_current_xact_id_if_assigned() IS NOT NULL THEN INSERT INTO a VALUES (9); RAISE 'in a transaction' USING ERRCODE = '%[2]s'; END IF; INSERT INTO a VALUES (%[1]d); END $$;\n"
	for name, sql := range map[string]string{
		"DO":           "DO " + body,
		"CALL":         "CREATE PROCEDURE p() LANGUAGE plpgsql AS " + body + "\nCALL p();",
		"an extension": fmt.Sprintf(extension, 1, "25001") + fmt.Sprintf(extension, 2, "0A000"),
	} {
		r := parse(t, files{"1_a.sql": none + "CREATE TABLE a (id int);\n" + sql})
		home := db.apply(r, db.home("acme"), "1")
		equal(t, name, db.read(home, "SELECT id FROM a ORDER BY 1"), "1 2")
		equal(t, name+": locked by", db.read(home, "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"), "")
	}
}

func TestFailureWithoutTransactionIsTold(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	for sql, position := range map[string]int{
		"SELECT 'é€', nothing;": 14,
		"VACUUM 'é';":           8,
		"CREATE INDEX CONCURRENTLY ü ON a ((id + 'é' +));": 46,
		"DO $$ BEGIN RAISE EXCEPTION 'no'; END $$;":        0,
		"DO $$ BEGIN COMMIT; RAISE EXCEPTION 'no'; END $$": 0,
	} {
		r := parse(t, files{"1_a.sql": none + "CREATE TABLE a (id int);\n" + sql})
		res := r.Apply(t.Context(), db.conn, db.home("acme"), "1", migrator.Limits{})
		equal(t, sql, res.Outcome, migrator.Failed)
		equal(t, sql, res.Failure.Statement, 2)
		equal(t, sql, res.Failure.Position, position)
		equal(t, sql, res.Failure.SQL, sql)
	}
	var path string
	noError(t, db.conn.QueryRow(t.Context(), "SELECT current_setting('search_path')", pgx.QueryExecModeExec).Scan(&path))
}
