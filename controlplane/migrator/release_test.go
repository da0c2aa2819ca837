package migrator_test

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/migrator"
)

// TestParseRefusesWhatWouldBreakOut is the promise that a release cannot leave
// its message, its tenant or its session; the error names file and line.
func TestParseRefusesWhatWouldBreakOut(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		sql  string
		want string // in the message
	}{
		"COMMIT":                    {"SELECT 1;\n\n/* x */ commit;", "1_x.sql:3: COMMIT would end the transaction"},
		"COMMIT AND CHAIN":          {"COMMIT AND CHAIN;", "1_x.sql:1: COMMIT"},
		"END":                       {"END;", "1_x.sql:1: END"},
		"ROLLBACK":                  {"SELECT 1; ROLLBACK;", "1_x.sql:1: ROLLBACK"},
		"ROLLBACK PREPARED":         {"ROLLBACK PREPARED 'x';", "1_x.sql:1: ROLLBACK"},
		"ABORT":                     {"ABORT;", "1_x.sql:1: ABORT"},
		"BEGIN":                     {"BEGIN;\nSELECT 1;\nEND;", "1_x.sql:1:"},
		"BEGIN alone":               {"SELECT 1;\nBEGIN;\nSELECT 1;", "1_x.sql:2: BEGIN"},
		"START TRANSACTION":         {"-- one\n-- two\nSTART TRANSACTION;", "1_x.sql:3: START TRANSACTION"},
		"SAVEPOINT":                 {"SAVEPOINT a;", "1_x.sql:1: SAVEPOINT"},
		"PREPARE TRANSACTION":       {"PREPARE TRANSACTION 'x';", "1_x.sql:1: PREPARE"},
		"SET ROLE":                  {"SET ROLE postgres;", "1_x.sql:1: SET ROLE would lead out of the tenant"},
		"SET SESSION ROLE":          {"SET SESSION ROLE postgres;", "1_x.sql:1: SET ROLE"},
		"SET LOCAL ROLE":            {"SET LOCAL ROLE postgres;", "1_x.sql:1: SET ROLE"},
		"SET \"role\"":              {"SET LOCAL \"role\" TO postgres;", "1_x.sql:1: SET ROLE"},
		"RESET ROLE":                {"RESET ROLE;", "1_x.sql:1: RESET"},
		"SET SESSION AUTHORIZATION": {"SET SESSION AUTHORIZATION postgres;", "1_x.sql:1: SET"},
		"SET LOCAL SESSION AUTH":    {"SET LOCAL SESSION AUTHORIZATION postgres;", "1_x.sql:1: SET SESSION"},
		"SET":                       {"SELECT 1;\nSET lock_timeout = 0;", "1_x.sql:2: SET outlives the transaction"},
		"SET SESSION":               {"SET SESSION work_mem = '1GB';", "1_x.sql:1: SET outlives"},
		"SET LOCAL search_path":     {"SET LOCAL search_path = other;", "1_x.sql:1: SET SEARCH_PATH"},
		"SET LOCAL SCHEMA":          {"SET LOCAL SCHEMA 'other';", "1_x.sql:1: SET SCHEMA"},
		"SET TRANSACTION":           {"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE;", "1_x.sql:1: SET TRANSACTION"},
		"set_config of pg_dump":     {"SELECT\n pg_catalog.set_config('search_path', '', false);", "1_x.sql:2: set_config of search_path"},
		"DISCARD":                   {"DISCARD TEMP;", "1_x.sql:1: DISCARD"},
		"PREPARE":                   {"PREPARE p AS SELECT 1;", "1_x.sql:1: PREPARE"},
		"LISTEN":                    {"LISTEN x;", "1_x.sql:1: LISTEN"},
		"a held cursor":             {"DECLARE c CURSOR WITH HOLD FOR SELECT 1;", "1_x.sql:1: a cursor WITH HOLD"},
		"COPY FROM STDIN":           {"SELECT 1;\nCOPY t (a, b) FROM stdin;", "1_x.sql:2: COPY FROM STDIN"},
		"COPY TO STDOUT":            {"COPY (SELECT 1) TO STDOUT WITH CSV;", "1_x.sql:1: COPY TO STDOUT"},
		"psql's \\copy":             {"SELECT 1;\n\\copy t from 'x'\n;", "1_x.sql:2: "},
		"NUL":                       {"SELECT 1;\nSELECT '\x00';", "1_x.sql:2: NUL byte"},
		"not UTF-8":                 {"SELECT 1;\nSELECT '\xff';", "1_x.sql:2: not UTF-8"},
		"a byte order mark":         {"\ufeffSELECT 1;", "1_x.sql:1: the file begins with a byte order mark"},
		"CONCURRENTLY":              {"SELECT 1;\nCREATE UNIQUE INDEX CONCURRENTLY i ON t (a);", "1_x.sql:2: CREATE UNIQUE INDEX CONCURRENTLY cannot run in a transaction"},
		"DROP … CONCURRENTLY":       {"DROP INDEX CONCURRENTLY i;", "1_x.sql:1: DROP INDEX CONCURRENTLY cannot"},
		"VACUUM":                    {"VACUUM t;", "1_x.sql:1: VACUUM"},
		"txmode without blank line": {"-- atlas:txmode none\nSELECT 1;", "1_x.sql:1: atlas:txmode is not followed by a blank line"},
		"txmode further down":       {"SELECT 1;\n-- atlas:txmode none\n\nSELECT 1;", "1_x.sql:2: atlas:txmode"},
		"txmode all":                {"-- atlas:txmode all\n\nSELECT 1;", "1_x.sql:1: atlas:txmode all"},
		"two txmodes":               {"-- atlas:txmode none\n-- atlas:txmode file\n\nSELECT 1;", "1_x.sql:2: a second atlas:txmode"},
		"checkpoint":                {"-- atlas:checkpoint\n\nSELECT 1;", "1_x.sql:1: the directive atlas:checkpoint"},
		"txtar":                     {"-- atlas:txtar\n\n-- checks.sql --\nSELECT 1;", "1_x.sql:1: the directive atlas:txtar"},
		"several in one":            {"-- atlas:delimiter \\n\\n\n\nSELECT 1;\nCOMMIT;\n\nSELECT 2;", "1_x.sql:4: Atlas takes this and the statement before it for one"},
		"an empty statement":        {"SELECT 1;\n;", "1_x.sql:2: empty statement"},
		"a comment for a statement": {"SELECT 1;\n-- the end", "1_x.sql:2: Atlas takes the comment for a statement"},
		"nested comments":           {"/* a /* b */ */\nSELECT 1;", "1_x.sql:1: a statement cannot begin like this"},
		"an open string":            {"SELECT 1;\nSELECT 'x;\n", "1_x.sql:2: unterminated string"},
		"an open identifier":        {"SELECT \"x;\n", "1_x.sql:1: unterminated quoted identifier"},
		"an open dollar quote":      {"SELECT 1;\nDO $a$ BEGIN; $b$;\n", "1_x.sql:2: unterminated dollar-quoted string"},
		"an open comment":           {"SELECT 1; /* x\n", "1_x.sql:1: unterminated comment"},
		"an open parenthesis":       {"SELECT 1;\nSELECT (1;\nSELECT 2;", "1_x.sql:2:"},
		"an open BEGIN ATOMIC":      {"SELECT 1;\nCREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1;\nSELECT 2;", "1_x.sql:2: BEGIN ATOMIC without END"},
		"a hidden COMMIT":           {"SELECT E'it\\'s; COMMIT; --';\nSELECT 1;\n", "1_x.sql:1: unterminated string, as Atlas splits the file"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := migrator.Parse(files{"1_x.sql": test.sql}.hashed(t))
			if controlplane.CodeOf(err) != controlplane.Invalid || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
			if _, err = migrator.Parse(files{"1_x.sql": "SELECT 1;\n", "down/1_x.sql": test.sql}.hashed(t)); err == nil {
				t.Error("allowed in a down file")
			}
		})
	}
}

func TestParseTakesWhatOnlyLooksDangerous(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{
		"",
		"-- only a comment\n",
		"SET LOCAL statement_timeout = '1min';\nSET CONSTRAINTS ALL DEFERRED;",
		"SELECT 'COMMIT; ROLLBACK', $$COMMIT;$$, $a$ $$;COMMIT; $a$, \"commit;\" FROM t -- COMMIT;\n;",
		"CREATE TABLE \"begin\" (\"end\" int, commit int);",
		"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;\nSELECT 1;",
		"CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;",
		"CREATE RULE r AS ON INSERT TO a DO ALSO (INSERT INTO b VALUES (1); INSERT INTO c VALUES (1));",
		"SELECT U&'d\\0061t', U&\"d\\0061t\", E'a\\\\;b', B'01', X'ff', N'x', 1$1, $1;",
		"SELECT 'a'\n  'b;', E'a'\n -- x\n 'b''; c';",
		"COPY t FROM '/tmp/x';",
		"(SELECT 1) UNION SELECT 2;",
		"REFRESH MATERIALIZED VIEW CONCURRENTLY v;",
		"CREATE INDEX concurrently_made ON t (a);",
		"-- atlas:txmode none\n\nCREATE INDEX CONCURRENTLY i ON t (a);\nVACUUM t;",
		"-- atlas:txmode file\n\nSELECT 1;",
		"-- atlas:nolint\nSELECT 1;",
		"-- atlas:delimiter \\n\\n\n\nSELECT 1\n\nSELECT 2;\n",
		"SELECT 1 -- no newline at the end, and no semicolon;",
	} {
		if _, err := migrator.Parse(files{"1_x.sql": sql}.hashed(t)); err != nil {
			t.Errorf("%q: %v", sql, err)
		}
	}
}

func TestParseRefusesADirectoryThatDoesNotFit(t *testing.T) {
	t.Parallel()
	good := files{"1_a.sql": "SELECT 1;", "2_b.sql": "SELECT 2;"}
	tests := map[string]struct {
		files  files
		change func(map[string][]byte)
		want   string
	}{
		"nothing":          {files{}, nil, "the release holds no migration file"},
		"no atlas.sum":     {good, func(f map[string][]byte) { delete(f, "atlas.sum") }, "atlas.sum is missing"},
		"a bad atlas.sum":  {good, func(f map[string][]byte) { f["atlas.sum"] = []byte("x") }, "atlas.sum cannot be read"},
		"an edited file":   {good, func(f map[string][]byte) { f["1_a.sql"] = []byte("SELECT 3;") }, "atlas.sum:2: 1_a.sql was edited"},
		"an added file":    {good, func(f map[string][]byte) { f["3_c.sql"] = []byte("SELECT 3;") }, "atlas.sum:4: 3_c.sql was added"},
		"a removed file":   {good, func(f map[string][]byte) { delete(f, "2_b.sql") }, "atlas.sum:3: 2_b.sql was removed"},
		"a version twice":  {files{"1_a.sql": "", "1_b.sql": ""}, nil, "1_b.sql: version 1 is also that of 1_a.sql"},
		"odd digits":       {files{"9_a.sql": "", "10_b.sql": ""}, nil, "9_a.sql: version 9 comes after 10"},
		"a lone down file": {files{"1_a.sql": "", "down/2_b.sql": ""}, nil, "down/2_b.sql: there is no migration 2_b.sql"},
		"a renamed down":   {files{"1_a.sql": "", "down/1_b.sql": ""}, nil, "down/1_b.sql: there is no migration 1_b.sql"},
		"another file":     {files{"1_a.sql": "", "sub/2_b.sql": ""}, nil, "file sub/2_b.sql does not belong"},
		"a readme":         {files{"1_a.sql": "", "README.md": ""}, nil, "file README.md does not belong"},
		"no version":       {files{"_a.sql": ""}, nil, "_a.sql: the name does not begin with a version"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			raw := test.files.hashed(t)
			if test.change != nil {
				test.change(raw)
			}
			_, err := migrator.Parse(raw)
			if controlplane.CodeOf(err) != controlplane.Invalid || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestReleaseTellsItsVersions(t *testing.T) {
	t.Parallel()
	r := parse(t, files{
		"20260101_one.sql": "CREATE TABLE t (a int);\nSELECT 1;", "20260102.sql": "-- atlas:txmode none\n\nVACUUM;",
		"down/20260101_one.sql": "DROP TABLE t;",
	})
	versions := r.Versions()
	if len(versions[0].Hash) != 44 {
		t.Errorf("hash %q is not that of atlas.sum", versions[0].Hash)
	}
	versions[0].Hash, versions[1].Hash = "", ""
	want := []controlplane.Version{
		{Version: "20260101", Name: "20260101_one.sql", Statements: 2, TxMode: "file", Down: controlplane.DownFile},
		{Version: "20260102", Name: "20260102.sql", Statements: 1, TxMode: "none", Down: controlplane.DownUnknown},
	}
	if diff := cmp.Diff(want, versions); diff != "" {
		t.Error(diff)
	}
	reverse, ok := r.Reverse("20260101")
	if diff := cmp.Diff(migrator.Reverse{Kind: controlplane.DownFile, Statements: []string{"DROP TABLE t;"}}, reverse); !ok || diff != "" {
		t.Error(diff)
	}
}

func TestReleaseHashCoversEveryFile(t *testing.T) {
	t.Parallel()
	base := files{"1_a.sql": "SELECT 1;", "down/1_a.sql": "SELECT 2;"}
	seen := map[string]bool{parse(t, base).Hash(): true}
	for name, content := range (files{"1_a.sql": "SELECT 3;", "down/1_a.sql": "SELECT 3;", "2_b.sql": "SELECT 3;"}) {
		changed := maps.Clone(base)
		changed[name] = content
		seen[parse(t, changed).Hash()] = true
	}
	equal(t, "different hashes", len(seen), 4)
	equal(t, "equal", seen[parse(t, base).Hash()], true)
}

func TestSampleApplicationIsARelease(t *testing.T) {
	t.Parallel()
	if _, err := migrator.Parse(sample(t)); err != nil {
		t.Error(err)
	}
}

// sample reads migrations/tenant.
func sample(t testing.TB) map[string][]byte {
	t.Helper()
	const dir = "../../migrations/tenant"
	raw := map[string][]byte{}
	for _, pattern := range []string{"*.sql", "atlas.sum", "down/*.sql"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		noError(t, err)
		for _, name := range names {
			rel, err := filepath.Rel(dir, name)
			noError(t, err)
			raw[filepath.ToSlash(rel)], err = os.ReadFile(name)
			noError(t, err)
		}
	}
	return raw
}
