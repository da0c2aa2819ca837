package migrator_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/migrator"
)

// TestFailureIsTold is the promise that file, statement, SQLSTATE and position
// of a failure are exact. The mark ⟦ stands just before the character that the
// position is of; it is taken out before the file is run.
func TestFailureIsTold(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	const good = "CREATE TABLE fine (id int);\n"
	tests := map[string]struct {
		before    string // a good file before it
		sql       string
		statement int
		state     string
		file      string
		tables    string // that the tenant has afterwards
	}{
		"a runtime error":                {sql: "SELECT 1;\nSELECT 1/0;\nSELECT 2;", statement: 2, state: "22012"},
		"a runtime error, first":         {sql: "SELECT 1/0;", statement: 1, state: "22012"},
		"a unique violation":             {sql: good + "CREATE UNIQUE INDEX ON fine (id);\nINSERT INTO fine VALUES (4711), (4711);", statement: 3, state: "23505"},
		"a name error":                   {sql: good + "SELECT ⟦nothing FROM fine;", statement: 2, state: "42703"},
		"a name error, multi-byte":       {sql: "SELECT 'äöü€😀';\nSELECT 'é😀', ⟦nothing;", statement: 2, state: "42703"},
		"a syntax error, first":          {sql: "⟦SELEKT; SELECT 1;", statement: 1, state: "42601"},
		"a syntax error, middle":         {sql: "SELECT '€';\nSELECT '😀' FROM ⟦WHERE true;\nSELECT 2;", statement: 2, state: "42601"},
		"a syntax error, last":           {sql: "SELECT 1;\nSELECT 2;\nCREATE TABLE x (a int,⟦);", statement: 3, state: "42601"},
		"a syntax error after a comment": {sql: "-- héllo\n\nSELECT 1;\n-- wörld; SELECT\nSELECT /* ; ü */ 1 +⟦;", statement: 2, state: "42601"},
		"a syntax error at the end":      {sql: "SELECT 1;\nSELECT 2 +⟦\n", statement: 2, state: "42601"},
		"an unknown table":               {sql: "SELECT 1;\nALTER TABLE missing ADD COLUMN a int;", statement: 2, state: "42P01"},
		"an unknown table, queried":      {sql: "SELECT * FROM ⟦missing;", statement: 1, state: "42P01"},
		"in a DO block":                  {sql: "SELECT 1;\nDO $$ BEGIN⟦; RAISE EXCEPTION 'no' USING ERRCODE = 'P0007'; END $$;", statement: 2, state: "42601"},
		"raised in a DO block":           {sql: "SELECT 1;\nDO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'P0007'; END $$;", statement: 2, state: "P0007"},
		"a name error in a DO block":     {sql: "SELECT 1;\nDO $do$ BEGIN PERFORM nothing; END $do$;", statement: 2, state: "42703"},
		"in a function's body":           {sql: "SELECT '€';\nCREATE FUNCTION f() RETURNS int LANGUAGE sql AS $x$ SELECT ';'; SELECT ⟦nothing $x$;", statement: 2, state: "42703"},
		"in a plpgsql body":              {sql: "SELECT '€';\nCREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN IF⟦; END $$;", statement: 2, state: "42601"},
		"in BEGIN ATOMIC":                {sql: "SELECT 1;\nCREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT ⟦nothing; END;\nSELECT 2;", statement: 2, state: "42703"},
		"a wrong type":                   {sql: good + "SELECT 1;\nINSERT INTO fine VALUES (⟦true);", statement: 3, state: "42804"},
		"a bad value":                    {sql: good + "INSERT INTO fine VALUES (⟦'x');", statement: 2, state: "22P02"},
		"a deferred constraint": {sql: "CREATE TABLE a (id int PRIMARY KEY);\nCREATE TABLE b (a int REFERENCES a DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO b VALUES (1);",
			statement: 0, state: "23503"},
		"in the second file":               {before: "CREATE TABLE ünï (id int);\nSELECT '€';", sql: "SELECT 1;\nSELECT ⟦nothing;", statement: 2, state: "42703", tables: "ünï"},
		"at runtime in the second file":    {before: good, sql: "SELECT 1;\nSELECT 1/0;", statement: 2, state: "22012", tables: "fine"},
		"a syntax error in the second one": {before: "CREATE TABLE ünï (id int);\nSELECT '€';", sql: "SELECT 1;\nSELECT '€' FROM⟦;", statement: 2, state: "42601"},
		"not in a transaction, though":     {sql: "SELECT 1;\nDO $$ BEGIN COMMIT; END $$;", statement: 2, state: "2D000"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			sql := strings.Replace(test.sql, "⟦", "", 1)
			f := files{"3_bad.sql": sql}
			want := migrator.Result{Outcome: migrator.Failed}
			if test.before != "" {
				f["2_good.sql"] = test.before
			}
			if test.tables != "" {
				want.Version = "2"
			}
			r, home := parse(t, f), db.home("acme")
			got := r.Apply(t.Context(), db.conn, home, "3", migrator.Limits{})
			equal(t, "outcome", got.Outcome, want.Outcome)
			equal(t, "version", got.Version, want.Version)
			equal(t, "tables", db.tables(home), test.tables)
			equal(t, "revisions", db.version(home), want.Version)
			if got.Failure == nil {
				t.Fatalf("no failure, but %v", got.Err)
			}
			wantFailure := controlplane.Failure{SQLState: test.state, Version: "3", File: "3_bad.sql", Statement: test.statement}
			wantFailure.SQL, wantFailure.Position = marked(t, r, test.sql, test.statement)
			got.Failure.Message, got.Failure.Hint = "", ""
			if diff := cmp.Diff(&wantFailure, got.Failure); diff != "" {
				t.Errorf("failure (-want +got):\n%s", diff)
			}
			if strings.Contains(got.Failure.Message+got.Err.Error(), "4711") || got.Err.(*pgconn.PgError).Detail != "" {
				t.Errorf("a row's value is in the error: %v", got.Err)
			}
		})
	}
	// The session is as good as new after all this.
	r := parse(t, files{"1_x.sql": good})
	db.apply(r, db.home("after"), "1")
}

// marked returns the statement and the position that the mark in it has.
func marked(t *testing.T, r *migrator.Release, sql string, statement int) (string, int) {
	t.Helper()
	if statement == 0 {
		return "", 0
	}
	// The statements of these tests are told apart by Atlas's own scanner, on the file with the mark.
	stmts, err := migrator.Scan(sql)
	noError(t, err)
	text := stmts[statement-1]
	if before, after, ok := strings.Cut(text, "⟦"); ok {
		return before + after, len([]rune(before)) + 1
	}
	return text, 0
}

// TestWhoIsToBlameForARefusal: a tenant fails for its own, waits for what
// passes, and stops its cluster for what is not its own.
func TestWhoIsToBlameForARefusal(t *testing.T) {
	t.Parallel()
	for outcome, states := range map[migrator.Outcome]string{
		migrator.Stopped:  "25006 28P01 28000 53100 53200 58030 XX001 MN004",
		migrator.Deferred: "08006 25P03 40001 40P01 53300 55006 55P03 57014 57P01 57P02 57P03 57P05 MN001 MN005 MN008",
		migrator.Unknown:  "MN006",
		migrator.Failed:   "22012 23505 3D000 42P01 53400 P0001 MN002 MN003 MN007",
	} {
		for state := range strings.FieldsSeq(states) {
			equal(t, state, migrator.OutcomeOf(&pgconn.PgError{Code: state}), outcome)
		}
	}
}
