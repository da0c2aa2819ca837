package migrator_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"ariga.io/atlas/sql/migrate"
	"ariga.io/atlas/sql/postgres"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/manorhq/manor/controlplane/migrator"
)

// TestRevisionTableIsAtlas compares with what the Atlas CLI creates.
func TestRevisionTableIsAtlas(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	home := db.home("acme")
	rows, err := db.conn.Query(t.Context(), `SELECT concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod),
			'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), CASE WHEN a.attnotnull THEN 'NOT NULL' END)
		FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
		WHERE a.attrelid = $1::regclass AND a.attnum > 0 ORDER BY a.attnum`, home.Schema+".atlas_schema_revisions")
	noError(t, err)
	columns, err := pgx.CollectRows(rows, pgx.RowTo[string])
	noError(t, err)
	want := []string{
		"version character varying NOT NULL", "description character varying NOT NULL", "type bigint DEFAULT 2 NOT NULL",
		"applied bigint DEFAULT 0 NOT NULL", "total bigint DEFAULT 0 NOT NULL", "executed_at timestamp with time zone NOT NULL",
		"execution_time bigint NOT NULL", "error text", "error_stmt text", "hash character varying NOT NULL",
		"partial_hashes jsonb", "operator_version character varying NOT NULL",
	}
	if diff := cmp.Diff(want, columns); diff != "" {
		t.Error(diff)
	}
	equal(t, "key", db.read(home, `SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
		WHERE conrelid = 'atlas_schema_revisions'::regclass AND contype <> 'n'`), "atlas_schema_revisions_pkey PRIMARY KEY (version)")
}

// TestRevisionsAreThoseThatAtlasWrites runs the same directory through Atlas's
// own Executor and compares every value but times and operator.
func TestRevisionsAreThoseThatAtlasWrites(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	f := files{
		"20260101_create_a_table.sql": "-- what for\nCREATE TABLE a (id int);\n\nINSERT INTO a VALUES (1);",
		"20260102.sql":                "-- nothing\n",
		"20260103_it's.sql":           none + "SELECT 'it''s';\nSELECT 2;",
		"20260104_fails.sql":          none + "SELECT 'é';\nSELECT 1/0;\nSELECT 3;",
	}
	r := parse(t, f)
	home := db.home("acme")
	before := time.Now().Add(-time.Minute)
	res := r.Apply(t.Context(), db.conn, home, "20260104", migrator.Limits{})
	equal(t, "outcome", res.Outcome, migrator.Failed)
	ours := readRevisions(t, db, home)
	for _, rev := range ours {
		if rev.ExecutedAt.Before(before) || rev.ExecutionTime < 0 || rev.ExecutionTime > time.Minute {
			t.Errorf("times of %s: %v, %v", rev.Version, rev.ExecutedAt, rev.ExecutionTime)
		}
	}
	if diff := cmp.Diff(atlasRevisions(t, db, f), ours, cmpopts.IgnoreFields(migrate.Revision{}, "ExecutedAt", "ExecutionTime", "OperatorVersion", "Error")); diff != "" {
		t.Errorf("Atlas's own (-) and ours (+):\n%s", diff)
	}
	equal(t, "raw", db.read(home, `SELECT concat_ws('|', error = '', error_stmt = '', partial_hashes, operator_version) FROM atlas_schema_revisions WHERE version = '20260101'`),
		"t|t|null|Manor dev")
}

func readRevisions(t *testing.T, db *database, home migrator.Target) []*migrate.Revision {
	t.Helper()
	rows, err := db.conn.Query(t.Context(), `SELECT version, description, type, applied, total, executed_at, execution_time,
		error, error_stmt, hash, partial_hashes, operator_version FROM `+home.Schema+`.atlas_schema_revisions ORDER BY version`)
	noError(t, err)
	revisions, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*migrate.Revision, error) {
		r := &migrate.Revision{}
		return r, row.Scan(&r.Version, &r.Description, &r.Type, &r.Applied, &r.Total, &r.ExecutedAt, &r.ExecutionTime,
			&r.Error, &r.ErrorStmt, &r.Hash, &r.PartialHashes, &r.OperatorVersion)
	})
	noError(t, err)
	return revisions
}

// atlasRevisions are the revisions that Atlas's Executor writes, in a schema of its own.
func atlasRevisions(t *testing.T, db *database, f files) []*migrate.Revision {
	t.Helper()
	var dir migrate.MemDir
	for name, content := range f.hashed(t) {
		noError(t, dir.WriteFile(name, content))
	}
	db.exec("CREATE SCHEMA atlas")
	config := db.conn.Config()
	config.RuntimeParams["search_path"] = "atlas"
	conn := stdlib.OpenDB(*config)
	defer conn.Close()
	driver, err := postgres.Open(conn)
	noError(t, err)
	written := &written{byVersion: map[string]*migrate.Revision{}}
	executor, err := migrate.NewExecutor(driver, &dir, written, migrate.WithAllowDirty(true))
	noError(t, err)
	if err := executor.ExecuteN(t.Context(), 0); err == nil {
		t.Fatal("Atlas applied a file that fails")
	}
	revisions, _ := written.ReadRevisions(t.Context())
	return revisions
}

// written keeps revisions as Atlas writes them.
type written struct {
	order     []string
	byVersion map[string]*migrate.Revision
}

func (w *written) Ident() *migrate.TableIdent {
	return &migrate.TableIdent{Name: "atlas_schema_revisions"}
}

func (w *written) ReadRevisions(context.Context) (all []*migrate.Revision, err error) {
	for _, version := range w.order {
		all = append(all, w.byVersion[version])
	}
	return all, nil
}

func (w *written) ReadRevision(_ context.Context, version string) (*migrate.Revision, error) {
	if r, ok := w.byVersion[version]; ok {
		return r, nil
	}
	return nil, migrate.ErrRevisionNotExist
}

func (w *written) WriteRevision(_ context.Context, r *migrate.Revision) error {
	if _, ok := w.byVersion[r.Version]; !ok {
		w.order = append(w.order, r.Version)
	}
	kept := *r
	w.byVersion[r.Version] = &kept
	return nil
}

func (w *written) DeleteRevision(_ context.Context, version string) error {
	return fmt.Errorf("delete of %s", version)
}

// TestAtlasRowsAreUnderstood: the cloud identifier is no version, a baseline is
// one, and rows of other tools count.
func TestAtlasRowsAreUnderstood(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	home := db.home("acme")
	insert := func(version string, kind, applied, total int, hash string) {
		t.Helper()
		_, err := db.conn.Exec(t.Context(), `INSERT INTO `+home.Schema+`.atlas_schema_revisions
			VALUES ($1, '', $2, $3, $4, now(), 0, NULL, NULL, $5, NULL, 'Atlas CLI v1.2.3')`, version, kind, applied, total, hash)
		noError(t, err)
	}
	insert(".atlas_cloud_identifier", 2, 0, 0, "")
	equal(t, "identifier only", db.version(home), "")
	insert("1", 1, 0, 0, "")
	equal(t, "baseline", db.version(home), "1")
	r := parse(t, files{"1_a.sql": "SELECT 1;", "2_b.sql": "SELECT 1;", "3_c.sql": inMessage})
	insert("2", 4, 0, 0, r.Versions()[1].Hash)
	home.From = "2"
	db.apply(r, home, "3")
}
