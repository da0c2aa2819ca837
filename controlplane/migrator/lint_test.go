package migrator_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/migrator"
)

// found lints the files, all with the down files they may need, and returns
// "line code" of each finding but notes about ways back.
func found(t *testing.T, since string, f files) []string {
	t.Helper()
	report, err := migrator.Lint(f.hashed(t), since)
	noError(t, err)
	got := []string{}
	for _, w := range report.Items {
		if w.Code != controlplane.WarnNoWayBack {
			got = append(got, fmt.Sprintf("%d %s", w.Line, w.Code))
		}
	}
	return got
}

func TestLintFindsByStatement(t *testing.T) {
	t.Parallel()
	for code, cases := range lintCases {
		for _, since := range []string{"", "1"} {
			has := func(sql string) bool {
				return slices.ContainsFunc(found(t, since, files{"1_before.sql": before, "2_x.sql": sql}), func(f string) bool { return strings.HasSuffix(f, " "+string(code)) })
			}
			for _, sql := range cases.finds {
				if !has(sql) {
					t.Errorf("since %q, %s is not found in\n%s", since, code, sql)
				}
			}
			for _, sql := range cases.passes {
				if has(sql) {
					t.Errorf("since %q, %s is found in\n%s", since, code, sql)
				}
			}
		}
		if len(cases.finds) < 2 || len(cases.passes) < 2 {
			t.Errorf("%s has too few cases", code)
		}
	}
}

// TestLintOfBrokenStatements: what stops in the middle is no reason to panic.
func TestLintOfBrokenStatements(t *testing.T) {
	t.Parallel()
	for _, cases := range lintCases {
		for _, sql := range slices.Concat(cases.finds, cases.passes) {
			for end := range strings.Count(sql, " ") {
				part := strings.Join(strings.Split(sql, " ")[:end+1], " ")
				if _, err := migrator.Lint(files{"1_x.sql": part}.hashed(t), ""); err != nil {
					t.Errorf("%q: %v", part, err)
				}
			}
		}
	}
}

// TestLintAgreesWithPostgreSQL runs the cases of locks on a table with a row: what
// is found writes the table anew, or reads all of it, and what is passed over
// does not.
func TestLintAgreesWithPostgreSQL(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	home := db.home("acme")
	db.exec("SET search_path = " + home.Schema + ", extensions")
	db.exec(before + "CREATE UNIQUE INDEX k ON t (id); CREATE UNIQUE INDEX i ON t (a); CREATE UNIQUE INDEX o ON m (one); INSERT INTO r VALUES (1); INSERT INTO t VALUES (1, 1, 'b', 1, 's');")
	anew := "SELECT pg_relation_filenode('t')::bigint + pg_relation_filenode('m')::bigint"
	scans := "SELECT pg_stat_get_xact_numscans('t'::regclass)"
	for code, observe := range map[controlplane.WarningCode]string{
		controlplane.WarnRewrite: anew, controlplane.WarnScan: scans, controlplane.WarnSetNotNull: scans, controlplane.WarnUniqueLocks: scans,
	} {
		for _, sql := range lintCases[code].finds {
			if changed, ran := db.changes(sql, observe); ran && !changed {
				t.Errorf("%s is found, and PostgreSQL does nothing of the kind in\n%s", code, sql)
			}
		}
		for _, sql := range lintCases[code].passes {
			if changed, ran := db.changes(sql, observe); ran && changed {
				t.Errorf("%s is passed over, and it is what PostgreSQL does in\n%s", code, sql)
			}
		}
	}
}

// changes reports whether the last statement of the SQL changes what a query
// answers. VACUUM and what PostgreSQL 18 brought are not run.
func (db *database) changes(sql, observe string) (changed, ran bool) {
	db.t.Helper()
	sql = strings.TrimPrefix(sql, none)
	if strings.HasPrefix(sql, "VACUUM") || strings.Contains(sql, "VIRTUAL") {
		return false, false
	}
	db.exec("BEGIN")
	defer db.exec("ROLLBACK")
	answer := func() (n int64) {
		noError(db.t, db.conn.QueryRow(db.t.Context(), observe, pgx.QueryExecModeSimpleProtocol).Scan(&n))
		return n
	}
	statements := strings.Split(strings.TrimSuffix(sql, ";"), ";\n")
	last := len(statements) - 1
	for _, s := range statements[:last] {
		db.exec(s)
	}
	was := answer()
	db.exec(statements[last])
	return answer() != was, true
}

// TestLintFindsWhatSomeRowsRefuse: with such rows in the table, what is found
// fails in PostgreSQL by that error, and what is passed over does not.
func TestLintFindsWhatSomeRowsRefuse(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	home := db.home("acme")
	db.exec("SET search_path = " + home.Schema + ", extensions")
	db.exec(before + "INSERT INTO t (id, a, b) VALUES (1, 1, 'b'), (2, 1, 'b'), (3, NULL, 'c');")
	for code, state := range map[controlplane.WarningCode]string{
		controlplane.WarnUniqueRows: "23505", controlplane.WarnNotNullNoDefault: "23502",
		controlplane.WarnNotNullRows: "23502", controlplane.WarnEnumValue: "55P04",
	} {
		for _, sql := range lintCases[code].finds {
			if got := db.fails(sql); got != state && !strings.HasPrefix(sql, none) {
				t.Errorf("%s is found, and PostgreSQL says %q to\n%s", code, got, sql)
			}
		}
		for _, sql := range lintCases[code].passes {
			if got := db.fails(sql); got == state {
				t.Errorf("%s is passed over, and PostgreSQL says %s to\n%s", code, got, sql)
			}
		}
	}
}

// fails returns the SQLSTATE with which the SQL fails in a transaction, "" if it does not.
func (db *database) fails(sql string) string {
	db.t.Helper()
	db.exec("BEGIN")
	defer db.exec("ROLLBACK")
	_, err := db.conn.Exec(db.t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		return refused.Code
	}
	noError(db.t, err)
	return ""
}

func TestLintTellsDirectoryFromFiles(t *testing.T) {
	t.Parallel()
	good := files{"1_a.sql": "CREATE TABLE t (a int);", "2_b.sql": "ALTER TABLE t DROP a;", "down/2_b.sql": "ALTER TABLE t ADD a int;"}
	for name, c := range map[string]struct {
		change func(raw map[string][]byte)
		want   []string
	}{
		"nothing":           {func(map[string][]byte) {}, []string{"2_b.sql:1 drop-column"}},
		"no atlas.sum":      {func(raw map[string][]byte) { delete(raw, "atlas.sum") }, []string{"atlas.sum:0 atlas-sum", "2_b.sql:1 drop-column"}},
		"another atlas.sum": {func(raw map[string][]byte) { raw["1_a.sql"] = append(raw["1_a.sql"], '\n') }, []string{"atlas.sum:2 atlas-sum", "2_b.sql:1 drop-column"}},
		"no down file":      {func(raw map[string][]byte) { delete(raw, "down/2_b.sql") }, []string{"2_b.sql:1 no-way-back", "2_b.sql:1 drop-column"}},
		"a stray down file": {func(raw map[string][]byte) { raw["down/3_c.sql"] = []byte("SELECT 1;") }, []string{"down/3_c.sql:0 down-without-version", "2_b.sql:1 drop-column"}},
		"a bad down file":   {func(raw map[string][]byte) { raw["down/2_b.sql"] = []byte("SELECT 1;\nCOMMIT;\nSELECT * FROM x.t;") }, []string{"2_b.sql:1 drop-column", "down/2_b.sql:2 refused", "down/2_b.sql:3 schema-qualified-name"}},
		"two things at once": {func(raw map[string][]byte) {
			raw["2_b.sql"] = []byte("-- atlas:txmode none\nSELECT 1;\nROLLBACK;\nSET ROLE x;")
		}, []string{"atlas.sum:3 atlas-sum", "2_b.sql:1 directive-without-effect", "2_b.sql:3 refused", "2_b.sql:4 leads-out-of-tenant"}},
		"a file of one digit": {func(raw map[string][]byte) { raw["10_c.sql"] = []byte("SELECT 1;") }, []string{"10_c.sql:1 no-way-back", "atlas.sum:2 atlas-sum", "1_a.sql:0 refused", "2_b.sql:1 drop-column"}},
		"bytes":               {func(raw map[string][]byte) { raw["2_b.sql"] = []byte("SELECT\n\xff") }, []string{"atlas.sum:3 atlas-sum", "2_b.sql:2 refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			raw := good.hashed(t)
			c.change(raw)
			report, err := migrator.Lint(raw, "")
			noError(t, err)
			got := []string{}
			for _, w := range report.Items {
				got = append(got, fmt.Sprintf("%s:%d %s", w.File, w.Line, w.Code))
				if wantError := w.Code != controlplane.WarnDropColumn && w.Code != controlplane.WarnNoWayBack && w.Code != controlplane.WarnQualifiedName; wantError != (w.Severity == controlplane.SeverityError) {
					t.Errorf("%s is %s", w.Code, w.Severity)
				}
			}
			slices.Sort(got)
			slices.Sort(c.want)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestLintSaysWhatPushSays: one mouth for both.
func TestLintSaysWhatPushSays(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{"SELECT 1;\nCOMMIT;", "VACUUM t;", "SET ROLE x;", "SELECT 'x", "SELECT 1;\n\n;", "-- atlas:checkpoint\n\nSELECT 1;", "SELECT (1;"} {
		raw := files{"1_a.sql": sql}.hashed(t)
		_, refused := migrator.Parse(raw)
		report, err := migrator.Lint(raw, "")
		noError(t, err)
		i := slices.IndexFunc(report.Items, func(w controlplane.Warning) bool { return w.Severity == controlplane.SeverityError })
		if i < 0 || refused == nil {
			t.Errorf("%s: push says %v, lint %v", sql, refused, report.Items)
			continue
		}
		w := report.Items[i]
		if !strings.HasPrefix(refused.Error(), fmt.Sprintf("%s:%d:", w.File, w.Line)) || !strings.HasSuffix(refused.Error(), ": "+w.Message) {
			t.Errorf("push says %q, lint %s:%d %q", refused, w.File, w.Line, w.Message)
		}
	}
}

// FuzzLint: no file makes Lint panic; it finds an error where push refuses the
// file, and there alone; and what it names is in the file.
func FuzzLint(f *testing.F) {
	for _, cases := range lintCases {
		for _, sql := range slices.Concat(cases.finds, cases.passes) {
			f.Add(sql)
		}
	}
	f.Fuzz(func(t *testing.T, sql string) {
		raw := files{"1_before.sql": before, "2_x.sql": sql}.hashed(t)
		_, refused := migrator.Parse(raw)
		report, err := migrator.Lint(raw, "1")
		noError(t, err)
		if (refused != nil) != (report.Errors > 0) {
			t.Fatalf("push says %v, lint %v", refused, report.Items)
		}
		for _, w := range report.Items {
			if w.Line < 0 || w.Line > 1+strings.Count(sql, "\n") || !strings.Contains(sql, w.SQL) || strings.HasSuffix(w.Message, ": ") || w.Message == "" {
				t.Errorf("%+v", w)
			}
		}
	})
}

// TestLintOfARange: what goes out together is made on empty tables, and what was
// before it is remembered, not looked at.
func TestLintOfARange(t *testing.T) {
	t.Parallel()
	f := files{
		"1_a.sql": "CREATE TABLE t (a varchar(5), b int);\nDROP TABLE x;",
		"2_b.sql": "CREATE TABLE u (a int);",
		"3_c.sql": "CREATE INDEX i ON u (a);\nCREATE INDEX j ON t (a);\nALTER TABLE t ALTER a TYPE text;\nALTER TABLE t ADD c int;",
		"4_d.sql": "ALTER TABLE t DROP c;\nALTER TABLE t DROP b;",
	}
	equal(t, "all", strings.Join(found(t, "", f), ", "), "2 drop-table, 1 index-without-concurrently, 2 index-without-concurrently, 1 drop-column, 2 drop-column")
	equal(t, "after 1", strings.Join(found(t, "1", f), ", "), "2 index-without-concurrently, 2 drop-column")
	equal(t, "after 2", strings.Join(found(t, "2", f), ", "), "1 index-without-concurrently, 2 index-without-concurrently, 2 drop-column")
	equal(t, "after 4", strings.Join(found(t, "4", f), ", "), "")
	for _, since := range []string{"5", "1_a"} {
		if _, err := migrator.Lint(f.hashed(t), since); controlplane.CodeOf(err) != controlplane.Invalid {
			t.Errorf("since %s: %v", since, err)
		}
	}
	if _, err := migrator.Lint(map[string][]byte{"atlas.sum": nil}, ""); controlplane.CodeOf(err) != controlplane.Invalid {
		t.Errorf("a directory without files: %v", err)
	}
}

func TestNolintSilencesByFileStatementAndCode(t *testing.T) {
	t.Parallel()
	const drops = "ALTER TABLE t DROP a;\nALTER TABLE t RENAME b TO c;"
	for sql, want := range map[string]string{
		drops:                                                  "0: drop-column no-way-back rename-column",
		"-- atlas:nolint\n\n" + drops:                          "3:",
		"-- atlas:nolint DS103\n\n" + drops:                    "1: no-way-back rename-column",
		"-- atlas:nolint\n" + drops:                            "2: rename-column",
		"-- atlas:nolint DS101\n" + drops:                      "0: drop-column no-way-back rename-column",
		"-- atlas:nolint BC102\n" + drops:                      "0: drop-column no-way-back rename-column",
		"-- atlas:nolint destructive incompatible\n\n" + drops: "2: no-way-back",
		"ALTER TABLE t DROP a;\n-- atlas:nolint rename-column\nALTER TABLE t RENAME b TO c;":     "1: drop-column no-way-back",
		"-- atlas:txmode none\n-- atlas:nolint drop-column no-way-back\n\nALTER TABLE t DROP a;": "2:",
		"-- atlas:nolint\n\nCOMMIT;": "0: refused",
	} {
		report, err := migrator.Lint(files{"1_a.sql": sql}.hashed(t), "")
		noError(t, err)
		codes := map[string]bool{}
		for _, w := range report.Items {
			codes[string(w.Code)] = true
		}
		got := strings.TrimSpace(fmt.Sprintf("%d: %s", report.Silenced, strings.Join(slices.Sorted(maps.Keys(codes)), " ")))
		equal(t, sql, got, want)
	}
}

// TestLintOfTheSampleApplication: each of these is so, as a look at the file tells.
func TestLintOfTheSampleApplication(t *testing.T) {
	t.Parallel()
	report, err := migrator.Lint(sample(t), "")
	noError(t, err)
	var got []string
	for _, w := range report.Items {
		got = append(got, fmt.Sprintf("%s:%d %s", w.Version, w.Line, w.Code))
	}
	want := []string{
		"20260302100000:18 index-without-concurrently",
		"20260323090000:13 set-not-null-scans",
		"20260323090000:14 constraint-without-using-index",
		"20260330120000:1 rename-column",
		"20260330120000:4 index-without-concurrently",
		"20260420101500:6 index-without-concurrently",
		"20260601090000:13 drop-column",
		"20260720083000:15 index-without-concurrently",
		"20261005090000:6 index-without-concurrently",
		"20261005090000:9 validate-in-same-transaction",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	equal(t, "files", fmt.Sprint(report.Files), "22")
}

// TestEveryKindOfWarningIsExplained: in one table, and under the anchor its link leads to.
func TestEveryKindOfWarningIsExplained(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../../docs/warnings.md")
	noError(t, err)
	sections := map[string]string{}
	for section := range strings.SplitSeq(string(document), "\n### ") {
		name, body, _ := strings.Cut(section, "\n")
		sections[name] = body
	}
	for _, k := range controlplane.WarningKinds {
		body := sections[string(k.Code)]
		if body == "" || !strings.Contains(body, "```sql") || !strings.HasSuffix(k.Link(), "#"+string(k.Code)) {
			t.Errorf("docs/warnings.md has no section %s with an example in SQL", k.Code)
		}
		for _, name := range k.Atlas {
			if !strings.Contains(body, name) {
				t.Errorf("section %s of docs/warnings.md does not name %s", k.Code, name)
			}
		}
		delete(sections, string(k.Code))
	}
	if len(sections) != 1 { // what stands before the first
		t.Errorf("docs/warnings.md has sections of no warning: %v", slices.Sorted(maps.Keys(sections)))
	}
}
