package migrator_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/migrator"
)

var downs = files{
	"1_a.sql": "CREATE TABLE a (id int);", "2_b.sql": "CREATE TABLE b (id int);", "3_c.sql": "CREATE TABLE c (id int);",
	"down/1_a.sql": "DROP TABLE a;", "down/2_b.sql": "SELECT '€';\nDROP TABLE b;", "down/3_c.sql": "DROP TABLE c;",
}

func TestRevertUndoesVersionByVersion(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	r := parse(t, downs)
	for to, tables := range map[string]string{"2": "a b", "1": "a", "": ""} {
		home := db.apply(r, db.home("acme"), "3")
		res := r.Revert(t.Context(), db.conn, home, to, nil, migrator.Limits{})
		equal(t, "outcome", res.Outcome, migrator.Applied)
		equal(t, "version", res.Version, to)
		equal(t, "revisions", db.version(home), to)
		equal(t, "tables", db.tables(home), tables)
		home.From = to
		equal(t, "again", r.Revert(t.Context(), db.conn, home, to, nil, migrator.Limits{}).Outcome, migrator.Current)
		db.apply(r, home, "3")
	}
}

func TestRevertThatFailsStopsAtTheVersionItFailedAt(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	r := parse(t, downs)
	home := db.apply(r, db.home("acme"), "3")
	db.exec("CREATE VIEW " + home.Schema + ".v AS SELECT * FROM " + home.Schema + ".b")
	res := r.Revert(t.Context(), db.conn, home, "", nil, migrator.Limits{})
	equal(t, "outcome", res.Outcome, migrator.Failed)
	equal(t, "version", res.Version, "2")
	equal(t, "revisions", db.version(home), "2")
	equal(t, "tables", db.tables(home), "a b")
	res.Failure.Message, res.Failure.Hint = "", ""
	want := controlplane.Failure{SQLState: "2BP01", Version: "2", File: "down/2_b.sql", Statement: 2, SQL: "DROP TABLE b;"}
	if diff := cmp.Diff(&want, res.Failure); diff != "" {
		t.Error(diff)
	}
}

func TestRevertWithoutAReverseTouchesNothing(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	r := parse(t, files{"1_a.sql": "CREATE TABLE a (id int);", "2_b.sql": "CREATE TABLE b (id int);", "down/2_b.sql": "DROP TABLE b;"})
	home := db.apply(r, db.home("acme"), "2")
	none := migrator.Reverses{"1": {Kind: controlplane.DownNone, Reason: "it rewrites rows"}}
	for reason, reverses := range map[string]migrator.Reverses{"there is no down file": nil, "it rewrites rows": none} {
		res := r.Revert(t.Context(), db.conn, home, "", reverses, migrator.Limits{})
		equal(t, "outcome", res.Outcome, migrator.Failed)
		equal(t, "version", res.Version, "2")
		if !strings.Contains(res.Failure.Message, reason) {
			t.Errorf("%q does not say %q", res.Failure.Message, reason)
		}
	}
	equal(t, "tables", db.tables(home), "a b")
}

func TestRevertOnTheWrongVersionTouchesNothing(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	r := parse(t, downs)
	home := db.apply(r, db.home("acme"), "3")
	stale := home
	stale.From = "2"
	res := r.Revert(t.Context(), db.conn, stale, "1", nil, migrator.Limits{})
	equal(t, "outcome", res.Outcome, migrator.Unknown)
	equal(t, "version", res.Version, "3")
	equal(t, "tables", db.tables(home), "a b c")
	equal(t, "up by Revert", r.Revert(t.Context(), db.conn, db.home("empty"), "1", nil, migrator.Limits{}).Outcome, migrator.Failed)
	equal(t, "down by Apply", r.Apply(t.Context(), db.conn, home, "1", migrator.Limits{}).Outcome, migrator.Failed)
}
