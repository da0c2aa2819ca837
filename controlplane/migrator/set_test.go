package migrator_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"ariga.io/atlas/sql/migrate"
	"ariga.io/atlas/sql/postgres"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/manorhq/manor/controlplane/migrator"
)

// setFiles is a release of which the files after the second make what a test can see.
var setFiles = files{"1_a.sql": "CREATE TABLE a (id int);", "2_b.sql": none + "CREATE TABLE b (id int);\nCREATE TABLE bb (id int);\nCREATE TABLE bbb (id int);",
	"3_c.sql": "CREATE TABLE c (id int);", "4_d.sql": "CREATE TABLE d (id int);"}

// revise puts rows into a home's revisions, as Atlas or another tool left them.
func (db *database) revise(home migrator.Target, rows ...migrate.Revision) {
	db.t.Helper()
	for _, r := range rows {
		hashes, err := json.Marshal(r.PartialHashes)
		noError(db.t, err)
		_, err = db.conn.Exec(db.t.Context(), `INSERT INTO `+home.Schema+`.atlas_schema_revisions
			VALUES ($1, '', $2, $3, $4, now(), 0, $5, '', $6, $7, 'Atlas CLI v1.2.3')`, r.Version, r.Type, r.Applied, r.Total, r.Error, r.Hash, string(hashes))
		noError(db.t, err)
	}
}

// short are the revisions by version, type and statements.
const short = `SELECT concat_ws('/', version, type, applied, total, nullif(error, ''), nullif(partial_hashes, 'null')) FROM atlas_schema_revisions ORDER BY version COLLATE "C"`

// pending are the versions that Atlas would apply to a home.
func (db *database) pending(home migrator.Target, f files) string {
	db.t.Helper()
	var dir migrate.MemDir
	for name, content := range f.hashed(db.t) {
		noError(db.t, dir.WriteFile(name, content))
	}
	kept := &written{byVersion: map[string]*migrate.Revision{}}
	for _, r := range readRevisions(db.t.(*testing.T), db, home) {
		noError(db.t, kept.WriteRevision(db.t.Context(), r))
	}
	config := db.conn.Config()
	config.RuntimeParams["search_path"] = home.Schema
	conn := stdlib.OpenDB(*config)
	defer conn.Close()
	driver, err := postgres.Open(conn)
	noError(db.t, err)
	executor, err := migrate.NewExecutor(driver, &dir, kept, migrate.WithAllowDirty(true))
	noError(db.t, err)
	versions := ""
	pending, err := executor.Pending(db.t.Context())
	if err != nil && !errors.Is(err, migrate.ErrNoPendingFiles) {
		return err.Error()
	}
	for _, f := range pending {
		versions += f.Version()
	}
	return versions
}

// TestSetRevisionsAreWhatAtlasAndManorGoOnFrom: wherever a tenant was, Atlas sees
// just the later files pending, and Manor applies just those.
func TestSetRevisionsAreWhatAtlasAndManorGoOnFrom(t *testing.T) {
	t.Parallel()
	db, r := newDatabase(t), parse(t, setFiles)
	hash := func(i int) string { return r.Versions()[i].Hash }
	cases := map[string]struct {
		had  []migrate.Revision
		to   string
		was  migrator.Revised
		want string
	}{
		"an empty home goes up":     {nil, "2", migrator.Revised{}, "1/4/0/0 2/4/0/0"},
		"a migrated one goes down":  {[]migrate.Revision{{Version: "1", Type: 2, Applied: 1, Total: 1, Hash: hash(0)}, {Version: "2", Type: 2, Applied: 3, Total: 3, Hash: hash(1)}}, "1", migrator.Revised{Version: "2"}, "1/2/1/1"},
		"what is there stays":       {[]migrate.Revision{{Version: "1", Type: 2, Applied: 1, Total: 1, Hash: hash(0)}}, "1", migrator.Revised{Version: "1"}, "1/2/1/1"},
		"a baseline is gone on":     {[]migrate.Revision{{Version: "2", Type: 1}}, "3", migrator.Revised{Version: "2"}, "2/1/0/0 3/4/0/0"},
		"a gap is filled":           {[]migrate.Revision{{Version: "1", Type: 4, Hash: hash(0)}, {Version: "3", Type: 4, Hash: hash(2)}}, "3", migrator.Revised{Version: "3"}, "1/4/0/0 2/4/0/0 3/4/0/0"},
		"another tool's rows":       {[]migrate.Revision{{Version: "0", Type: 2, Applied: 1, Total: 1, Hash: "x"}, {Version: "9", Type: 2, Applied: 1, Total: 1, Hash: "y"}}, "1", migrator.Revised{Version: "9"}, "0/2/1/1 1/4/0/0"},
		"files that were edited":    {[]migrate.Revision{{Version: "1", Type: 2, Applied: 1, Total: 1, Hash: "before"}}, "1", migrator.Revised{Version: "1"}, "1/2/1/1"},
		"the cloud's row stays":     {[]migrate.Revision{{Version: ".atlas_cloud_identifier", Type: 2}}, "1", migrator.Revised{}, ".atlas_cloud_identifier/2/0/0 1/4/0/0"},
		"a half-applied file, made": {[]migrate.Revision{{Version: "1", Type: 2, Applied: 1, Total: 1, Hash: hash(0)}, {Version: "2", Type: 2, Applied: 1, Total: 3, Hash: hash(1), Error: "no", PartialHashes: []string{"h1:x"}}}, "2", migrator.Revised{Version: "1", Partial: "2"}, "1/2/1/1 2/6/3/3"},
		"a half-applied one, taken": {[]migrate.Revision{{Version: "1", Type: 2, Applied: 1, Total: 1, Hash: hash(0)}, {Version: "2", Type: 2, Applied: 1, Total: 3, Hash: hash(1), Error: "no", PartialHashes: []string{"h1:x"}}}, "1", migrator.Revised{Version: "1", Partial: "2"}, "1/2/1/1"},
		"back to nothing":           {[]migrate.Revision{{Version: "1", Type: 2, Applied: 0, Total: 1, Hash: hash(0), Error: "no"}}, "", migrator.Revised{Partial: "1"}, ""},
	}
	beside := db.home("beside")
	db.revise(beside, migrate.Revision{Version: "2", Type: 2, Applied: 1, Total: 3, Hash: hash(1)})
	untouched := db.read(beside, "SELECT concat(r, m) FROM atlas_schema_revisions r, manor.marker m WHERE m.schema = current_schema()")
	for name, c := range cases {
		home := db.home("acme")
		db.revise(home, c.had...)
		home.Epoch++
		_, res := r.Set(t.Context(), db.conn, home, c.to, true, migrator.Limits{})
		equal(t, name+": dry run", res.Outcome, migrator.Applied)
		equal(t, name+": stamp of a dry run", stamps(t, db)[home.TenantID].Epoch, home.Epoch-1)
		for range 2 { // a second time it changes nothing
			was, res := r.Set(t.Context(), db.conn, home, c.to, false, migrator.Limits{})
			equal(t, name, res.Outcome, migrator.Applied)
			equal(t, name+": was", was, c.was)
			equal(t, name+": revisions", db.read(home, short), c.want)
			c.was = migrator.Revised{Version: c.to}
		}
		stamp := stamps(t, db)[home.TenantID]
		equal(t, name+": stamp", stamp.Version+stamp.Release, c.to+r.Hash())
		equal(t, name+": tables", db.tables(home), "")
		_, later, _ := strings.Cut(":1234", cmp.Or(c.to, ":"))
		equal(t, name+": what Atlas goes on with", db.pending(home, setFiles), later)
		home.From = c.to
		db.apply(r, home, "4")
		equal(t, name+": what Manor went on with", db.tables(home), map[string]string{"": "a b bb bbb c d", "1": "b bb bbb c d", "2": "c d", "3": "d"}[c.to])
	}
	equal(t, "the tenant beside", db.read(beside, "SELECT concat(r, m) FROM atlas_schema_revisions r, manor.marker m WHERE m.schema = current_schema()"), untouched)
}

// TestSettingAVersionNeedsTheTenantsHome, as a migration does, and nobody at work on it.
func TestSettingAVersionNeedsTheTenantsHome(t *testing.T) {
	t.Parallel()
	db, r := newDatabase(t), parse(t, setFiles)
	held := db.connect()
	for name, c := range map[string]struct {
		change func(*migrator.Target)
		to     string
		want   migrator.Outcome
		state  string
	}{
		"another generation": {func(h *migrator.Target) { h.Generation++ }, "2", migrator.Failed, "MN003"},
		"another catalog":    {func(h *migrator.Target) { h.Incarnation = "staging" }, "2", migrator.Stopped, "MN004"},
		"an epoch gone by":   {func(h *migrator.Target) { h.Epoch-- }, "2", migrator.Deferred, "MN005"},
		"no such version":    {func(*migrator.Target) {}, "7", migrator.Failed, ""},
		"somebody at work": {func(h *migrator.Target) {
			_, err := held.Exec(t.Context(), "BEGIN; SELECT FROM manor.marker WHERE tenant_id = '"+h.TenantID+"' FOR UPDATE")
			noError(t, err)
		}, "2", migrator.Deferred, "MN001"},
	} {
		home := db.home("acme")
		asked := home
		c.change(&asked)
		_, res := r.Set(t.Context(), db.conn, asked, c.to, false, migrator.Limits{})
		equal(t, name, res.Outcome, c.want)
		equal(t, name+": SQLSTATE", res.Failure.SQLState, c.state)
		equal(t, name+": revisions", db.read(home, short), "")
	}
}
