package migrator_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/internal/pgtest"
)

var hasty = migrator.Limits{Lock: 50 * time.Millisecond, Statement: 300 * time.Millisecond}

// other opens a session of somebody else's in the database, whose query and
// age the owner may not see.
func (db *database) other() *pgx.Conn {
	db.t.Helper()
	conn, err := pgx.Connect(db.t.Context(), pgtest.Server(db.t).URL(db.name))
	noError(db.t, err)
	db.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// in begins a transaction that stays open.
func in(t *testing.T, conn *pgx.Conn, level pgx.TxIsoLevel, sql string) pgx.Tx {
	t.Helper()
	tx, err := conn.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: level})
	noError(t, err)
	_, err = tx.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
	noError(t, err)
	return tx
}

// TestRequirement10WhoHeldTheLockIsNamed: among others that read the same table
// and that queued behind the migration, the one for whose sake it is deferred.
func TestRequirement10WhoHeldTheLockIsNamed(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	r := parse(t, files{"1_a.sql": "CREATE TABLE a (mail text);\nCREATE TABLE b (id int);", "2_b.sql": "ALTER TABLE a ADD COLUMN n int;"})
	home := db.apply(r, db.home("acme"), "1")
	bystander := db.other()
	in(t, bystander, pgx.RepeatableRead, fmt.Sprintf("SELECT * FROM %s.b", home.Schema))
	reader := db.other()
	tx := in(t, reader, pgx.ReadCommitted, fmt.Sprintf("SELECT * FROM %s.a WHERE mail = 'jane@example.com' AND 4711 > 1", home.Schema))
	stop := db.readers(home)
	res := r.Apply(t.Context(), db.conn, home, "2", hasty)
	stop()
	equal(t, "outcome", res.Outcome, migrator.Deferred)
	b := res.Failure.Blocker
	if b == nil || b.PID != int(reader.PgConn().PID()) || b.Query != "" {
		t.Fatalf("blocker %+v, want session %d and nothing that the owner may not see", b, reader.PgConn().PID())
	}
	noError(t, migrator.LookAt(t.Context(), db.other(), b))
	want := controlplane.Blocker{PID: b.PID, Login: reader.Config().User, AgeMS: b.AgeMS,
		Query: "SELECT * FROM " + home.Schema + ".a WHERE mail = ? AND ? > ?"}
	equal(t, "blocker", *b, want)
	if b.AgeMS < hasty.Lock.Milliseconds() {
		t.Errorf("its transaction is %d ms old", b.AgeMS)
	}
	noError(t, tx.Rollback(t.Context()))
	db.apply(r, home, "2")
}

// readers read the table over and over, a moment each time, and so queue behind
// the migration.
func (db *database) readers(home migrator.Target) (stop func()) {
	ctx, cancel := context.WithCancel(db.t.Context())
	var started, ended sync.WaitGroup
	for range 4 {
		conn := db.other()
		started.Add(1)
		ended.Go(func() {
			began := sync.OnceFunc(started.Done)
			for ctx.Err() == nil {
				if _, err := conn.Exec(ctx, "SELECT count(*), pg_sleep(0.005) FROM "+home.Schema+".a"); err != nil && ctx.Err() == nil {
					db.t.Error(err)
				}
				began()
			}
		})
	}
	started.Wait()
	return func() { cancel(); ended.Wait() }
}

// TestBlockerOfAConcurrentBuildIsTheOldestTransaction: it waits for those, too,
// that never touched the tenant.
func TestBlockerOfAConcurrentBuildIsTheOldestTransaction(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	r := parse(t, files{"1_a.sql": "CREATE TABLE a (id int);", "2_i.sql": none + "CREATE INDEX CONCURRENTLY a_i ON a (id);"})
	home := db.apply(r, db.home("acme"), "1")
	younger, oldest := db.other(), db.other()
	tx := in(t, oldest, pgx.RepeatableRead, "CREATE TABLE public.elsewhere (id int)") // takes a transaction id
	in(t, younger, pgx.RepeatableRead, "SELECT * FROM "+home.Schema+".a")
	res := r.Apply(t.Context(), db.conn, home, "2", hasty)
	equal(t, "outcome", res.Outcome, migrator.Deferred)
	equal(t, "state", res.Failure.SQLState, "55P03")
	if b := res.Failure.Blocker; b == nil || b.PID != int(oldest.PgConn().PID()) {
		t.Errorf("blocker %+v, want session %d", b, oldest.PgConn().PID())
	}
	noError(t, tx.Rollback(t.Context()))
}

func TestABlockerThatIsGoneOrHiddenIsNoError(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	ended := db.other()
	gone := controlplane.Blocker{PID: int(ended.PgConn().PID()), Login: "somebody"}
	before := gone
	noError(t, migrator.LookAt(t.Context(), db.conn, &gone)) // the pid is another login's by now
	equal(t, "another login", gone, before)
	hidden := controlplane.Blocker{PID: gone.PID}
	noError(t, migrator.LookAt(t.Context(), db.conn, &hidden))
	equal(t, "hidden", hidden, controlplane.Blocker{PID: gone.PID, Login: ended.Config().User})
	noError(t, ended.Close(t.Context()))
	waitFor(t, func() bool {
		var there bool
		noError(t, db.conn.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)", gone.PID).Scan(&there))
		return !there
	})
	noError(t, migrator.LookAt(t.Context(), db.other(), &gone))
	equal(t, "gone", gone, before)
}

// TestNoValueOfAQueryIsShown: what is not certain to be no value is left out.
func TestNoValueOfAQueryIsShown(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"": "",
		"SELECT * FROM a\n WHERE  id = 4711 AND n=-1.5e3;":         "SELECT * FROM a WHERE id = ? AND n=-?;",
		"SELECT 'x', E'a\\'b', $$c$$, $t$d$t$, U&'\\00e9', X'ff'":  "SELECT ?, ?, ?, ?, ?, ?",
		`INSERT INTO "Tab le" ("é") VALUES ('it''s', $1, 'é')`:     `INSERT INTO "Tab le" ("é") VALUES (?, $1, ?)`,
		"SELECT 1 /* user=jane */ + 2 -- jane":                     "SELECT ? + ?",
		"SELECT 'cut off by the serv":                              "SELECT …",
		"SELECT $$cut off":                                         "SELECT …",
		"SELECT 1 /* cut off":                                      "SELECT ? …",
		`SELECT 'scs off: it\'s secret' FROM jane, 'x'`:            "SELECT ? …",
		"SELECT 'a'\n  'continued', b":                             "SELECT ?, b",
		"ALTER ROLE r PASSWORD 'p'":                                "ALTER ROLE r PASSWORD ?",
		"VALUES (0x1F, 1_000, 'x'::text)":                          "VALUES (?, ?, ?::text)",
		"SELECT " + strings.Repeat("é,", 150) + "x":                "SELECT " + strings.Repeat("é,", 96) + "…",
		"autovacuum: VACUUM ANALYZE t_x.a (to prevent wraparound)": "autovacuum: VACUUM ANALYZE t_x.a (to prevent wraparound)",
	} {
		equal(t, query, migrator.Masked(query), want)
	}
}

func FuzzMaskedHidesStringsAndEnds(f *testing.F) {
	f.Add("SELECT ", " FROM a WHERE b = 1")
	f.Fuzz(func(t *testing.T, before, after string) {
		if !utf8.ValidString(before) || !utf8.ValidString(after) {
			return // PostgreSQL sends UTF-8
		}
		if got := migrator.Masked("SELECT 'secretvalue' " + after); strings.Contains(got, "secretvalue") && !strings.Contains(after, "secretvalue") {
			t.Errorf("%q is shown as %q", after, got)
		}
		if got := migrator.Masked(before + "'" + after); len([]rune(got)) > 200 {
			t.Errorf("%d characters", len([]rune(got)))
		}
	})
}
