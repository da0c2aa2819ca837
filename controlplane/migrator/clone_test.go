package migrator_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/controlplane/pg"
)

// onCopy rehearses what leads a home to a version on a copy of it.
func onCopy(t *testing.T, r *migrator.Release, from, to *database, home migrator.Target, version string) (*controlplane.Clone, error) {
	t.Helper()
	return onCopyWithin(t, r, from, to, home, version, migrator.CloneLimits{Bytes: 1 << 30})
}

func onCopyWithin(t *testing.T, r *migrator.Release, from, to *database, home migrator.Target, version string, limits migrator.CloneLimits) (*controlplane.Clone, error) {
	t.Helper()
	to.exec("DROP SCHEMA IF EXISTS scratch CASCADE")
	to.exec("CREATE SCHEMA scratch")
	source := from.connect()
	lend := func(_ context.Context, f func(*pgx.Conn) error) error { return f(source) }
	return r.RehearseOn(t.Context(), to.conn, "scratch", migrator.Original{Marker: home.Marker, Version: home.From, Lend: lend}, version, limits)
}

// everything is a schema of all that stands in the way of rows.
const everything = `
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE pair AS (a int, b mood);
CREATE TABLE chickens (id int PRIMARY KEY, egg int);
CREATE TABLE eggs (id bigserial PRIMARY KEY, chicken int NOT NULL REFERENCES chickens, parent bigint REFERENCES eggs);
ALTER TABLE chickens ADD CONSTRAINT chickens_egg_fkey FOREIGN KEY (egg) REFERENCES eggs DEFERRABLE;
COMMENT ON CONSTRAINT chickens_egg_fkey ON chickens IS 'which was first?';
CREATE TABLE kinds (id int GENERATED ALWAYS AS IDENTITY (START 100 INCREMENT 10) PRIMARY KEY, twice int GENERATED ALWAYS AS (n * 2) STORED, n positive NOT NULL,
  m mood, ms mood[], ns positive[], p pair, ps pair[], j jsonb, js json[], b bytea, t text, "Größe" numeric, r int4range, at timestamptz, f float8, u uuid, x xml, c citext);
INSERT INTO kinds (n) VALUES (4711);
CREATE TABLE parts (id int NOT NULL, at date NOT NULL, kind int REFERENCES kinds, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE parts_old PARTITION OF parts FOR VALUES FROM ('2000-01-01') TO ('2020-01-01');
CREATE TABLE parts_new PARTITION OF parts FOR VALUES FROM ('2020-01-01') TO ('2100-01-01');
CREATE TABLE parents (id int);
CREATE TABLE children (n int) INHERITS (parents);
CREATE TABLE named (rel regclass, rels regclass[]);
CREATE TABLE nothing ();
CREATE TABLE computed (n int GENERATED ALWAYS AS (1) STORED);
CREATE TABLE late (n int);
CREATE TABLE log (what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES (TG_TABLE_NAME); RETURN NEW; END';
CREATE TRIGGER a_notes BEFORE INSERT ON parts FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER b_notes AFTER INSERT ON kinds FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER c_notes BEFORE TRUNCATE ON kinds EXECUTE FUNCTION note();
CREATE CONSTRAINT TRIGGER d_notes AFTER INSERT ON eggs DEFERRABLE FOR EACH ROW EXECUTE FUNCTION note();
ALTER TABLE kinds ENABLE ALWAYS TRIGGER b_notes;
CREATE TRIGGER e_notes BEFORE INSERT ON eggs FOR EACH ROW EXECUTE FUNCTION note();
ALTER TABLE eggs DISABLE TRIGGER e_notes;
CREATE MATERIALIZED VIEW happy AS SELECT id FROM kinds WHERE m = 'happy';
CREATE MATERIALIZED VIEW happier AS SELECT count(*) FROM happy;
CREATE MATERIALIZED VIEW never AS SELECT 1 / 0 AS n WITH NO DATA;
CREATE VIEW seen AS SELECT * FROM parts;
CREATE SEQUENCE numbers START 7;
`

const everyRow = `
INSERT INTO chickens SELECT n, NULL FROM generate_series(1, 50) n;
INSERT INTO eggs (chicken) SELECT n FROM generate_series(1, 50) n;
UPDATE eggs SET parent = id; UPDATE eggs SET parent = 50 - id WHERE id < 25; UPDATE chickens SET egg = id;
INSERT INTO kinds (n, m, ms, ns, p, ps, j, js, b, t, "Größe", r, at, f, u, x, c)
  SELECT n, 'happy', '{sad,NULL,ok}', '{1,2}', (n, 'ok')::pair, ARRAY[(n, NULL)::pair], '{"a": [1, null]}', ARRAY['{"b":  1}'::json], '\x00ff5c', E'a\tb\\n\n', 1e100 / n, '[1,5)',
    '2026-01-01 12:00:00.123456+00', 0.1 + n, gen_random_uuid(), '<a>ü</a>', 'C' FROM generate_series(1, 30) n;
INSERT INTO parts SELECT n, '2019-12-20'::date + n, 100 FROM generate_series(1, 40) n;
INSERT INTO parents VALUES (1); INSERT INTO children VALUES (2, 3);
INSERT INTO named VALUES ('eggs', ARRAY['chickens', 'seen']::regclass[]); INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES; INSERT INTO computed DEFAULT VALUES;
INSERT INTO late VALUES (-1);
REFRESH MATERIALIZED VIEW happy; REFRESH MATERIALIZED VIEW happier; SELECT nextval('numbers');
`

// seenIn is what rows, sequences and materialized views of a schema look like.
func seenIn(t *testing.T, db *database, schema string) string {
	t.Helper()
	var sums []string
	for _, table := range []string{"chickens", "eggs", "kinds", "parts", "ONLY parents", "children", "named", "nothing", "computed", "late", "log", "happy", "happier", "eggs_id_seq", "kinds_id_seq", "numbers"} {
		columns := "t"
		if strings.HasSuffix(table, "_seq") || table == "numbers" {
			columns = "last_value, is_called"
		}
		sums = append(sums, table+" "+db.read(migrator.Target{Marker: markerOf(schema)}, "SELECT count(*) || ' ' || coalesce(sum(hashtextextended(ROW("+columns+")::text, 0)), 0) FROM "+table+" t"))
	}
	return strings.Join(sums, "\n")
}

// TestCopyOfAHomeIsTheHome: every row of every kind, whatever refers to whatever,
// and nothing that a trigger or a migration would add.
func TestCopyOfAHomeIsTheHome(t *testing.T) {
	t.Parallel()
	r := parse(t, files{"1_a.sql": everything, "2_b.sql": "ALTER TABLE late ADD CONSTRAINT late_check CHECK (n > 0) NOT VALID;\n"})
	from, to := newDatabase(t), newDatabase(t)
	home := from.apply(r, from.home("acme"), "1")
	from.exec("SET search_path = " + home.Schema + ", extensions; " + everyRow + "RESET ALL")
	home = from.apply(r, home, "2")
	c, err := onCopy(t, r, from, to, home, "2")
	noError(t, err)
	if !c.Copied || c.Tables == 0 || c.Bytes == 0 || c.Rows != 50+50+31+40+1+1+1+2+1+1+120 {
		t.Errorf("%+v", c)
	}
	equal(t, "the copy", seenIn(t, to, "scratch"), seenIn(t, from, home.Schema))
	equal(t, "a trigger", to.read(migrator.Target{Marker: markerOf("scratch")}, "WITH i AS (INSERT INTO kinds (n) VALUES (1) RETURNING id) SELECT id FROM i"), "410")
}

// TestRowsThatAVersionRefusesAreAFinding, and nobody's data is in it.
func TestRowsThatAVersionRefusesAreAFinding(t *testing.T) {
	t.Parallel()
	r := parse(t, files{
		"1_a.sql": "CREATE TABLE notes (id int PRIMARY KEY, body text, secret text);\n",
		"2_b.sql": "ALTER TABLE notes ADD COLUMN stars int;\n",
		"3_c.sql": "ALTER TABLE notes ALTER COLUMN body SET NOT NULL;\n",
		"4_d.sql": "ALTER TABLE notes ADD COLUMN n int;\n",
	})
	from, to := newDatabase(t), newDatabase(t)
	home := from.apply(r, from.home("acme"), "1")
	from.exec("INSERT INTO " + home.Schema + ".notes SELECT n, CASE WHEN n > 3 THEN 'text' END, 'hush' FROM generate_series(1, 9) n")
	c, err := onCopy(t, r, from, to, home, "4")
	noError(t, err)
	equal(t, "versions", len(c.Versions), 2)
	stars, refused := c.Versions[0], c.Refused()
	if !stars.Proved || stars.Statements[0].Locks[0].Mode != "ACCESS EXCLUSIVE" || stars.Down != controlplane.DownComputed {
		t.Errorf("%+v", stars)
	}
	if refused == nil || refused.Version != "3" || refused.Refuses != controlplane.RefusesTenant || refused.Nulls != 3 || refused.Failure.SQLState != "23502" || strings.Contains(refused.Failure.String(), "hush") {
		t.Errorf("%+v", refused)
	}
}

// TestWayBackIsTriedOverTheTenantsRows, which are then those of before.
func TestWayBackIsTriedOverTheTenantsRows(t *testing.T) {
	t.Parallel()
	r := parse(t, files{
		"1_a.sql": "CREATE TABLE notes (id int PRIMARY KEY, body text);\n",
		"2_b.sql": "UPDATE notes SET body = upper(body);\n", "down/2_b.sql": "UPDATE notes SET body = lower(body);\n",
		"3_c.sql": "ALTER TABLE notes DROP COLUMN body;\n", "down/3_c.sql": "ALTER TABLE notes ADD COLUMN body text NOT NULL;\n",
		"4_d.sql": "ALTER TABLE notes ADD COLUMN n int;\n", "down/4_d.sql": "SELECT 1;\n",
		"5_e.sql": "-- atlas:txmode none\n\nCREATE INDEX CONCURRENTLY i ON notes (id);\n", "down/5_e.sql": "DROP INDEX i;\n",
	})
	from, to := newDatabase(t), newDatabase(t)
	home := from.apply(r, from.home("acme"), "1")
	from.exec("INSERT INTO " + home.Schema + ".notes VALUES (1, 'Some'), (2, 'more')")
	c, err := onCopy(t, r, from, to, home, "5")
	noError(t, err)
	var why []string
	for _, v := range c.Versions {
		why = append(why, v.Why)
	}
	equal(t, "why", strings.Join(why, "\n"), strings.Join([]string{
		"the way back does not bring back: values of notes.body",
		`the way back fails: down/3_c.sql statement 1: column "body" of relation "notes" contains null values (SQLSTATE 23502)`,
		"the way back does not restore the schema",
		"",
	}, "\n"))
	equal(t, "rows", to.read(migrator.Target{Marker: markerOf("scratch")}, "SELECT id FROM notes WHERE n IS NULL ORDER BY id"), "1 2")
}

// TestStatementMayTakeAsLongAsInTheRollout, and index builds as long as they like.
func TestStatementMayTakeAsLongAsInTheRollout(t *testing.T) {
	t.Parallel()
	r := parse(t, files{
		"1_a.sql": "CREATE TABLE notes (id int PRIMARY KEY, body text);\nCREATE FUNCTION slow(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM pg_sleep(0.3); RETURN n; END';\n",
		"2_b.sql": "-- atlas:txmode none\n\nCREATE INDEX CONCURRENTLY i ON notes (slow(id));\n",
		"3_c.sql": "UPDATE notes SET body = slow(id)::text;\n",
	})
	from, to := newDatabase(t), newDatabase(t)
	home := from.apply(r, from.home("acme"), "1")
	from.exec("INSERT INTO " + home.Schema + ".notes VALUES (1)")
	c, err := onCopyWithin(t, r, from, to, home, "3", migrator.CloneLimits{Bytes: 1 << 30, Statement: 200 * time.Millisecond})
	noError(t, err)
	if v := c.Refused(); v == nil || v.Version != "3" || v.Failure.SQLState != "57014" || c.Versions[0].Statements[0].DurationMS < 300 {
		t.Errorf("%+v", c.Versions)
	}
	c, err = onCopyWithin(t, r, from, to, home, "3", migrator.CloneLimits{Bytes: 1})
	if err == nil || !strings.Contains(err.Error(), "and no more than 1 are copied") || c.Copied {
		t.Errorf("%v; %+v", err, c)
	}
}

// TestCopyIsOfOneMomentAndStopsNobody: money goes to and fro all the while.
func TestCopyIsOfOneMomentAndStopsNobody(t *testing.T) {
	t.Parallel()
	r := parse(t, files{"1_a.sql": "CREATE TABLE a (id int PRIMARY KEY, n bigint, pad text);\nCREATE TABLE z (id int PRIMARY KEY, n bigint);\n"})
	from, to := newDatabase(t), newDatabase(t)
	home := from.apply(r, from.home("acme"), "1")
	from.exec("INSERT INTO " + home.Schema + ".a SELECT n, 1000, repeat(md5(n::text), 50) FROM generate_series(1, 20000) n; INSERT INTO " + home.Schema + ".z SELECT n, 1000 FROM generate_series(1, 100) n")
	writer := from.connect()
	_, err := writer.Exec(t.Context(), "SET search_path = "+home.Schema+"; SET lock_timeout = '100ms'", pgx.QueryExecModeSimpleProtocol)
	noError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	wrote, begun := make(chan int), make(chan struct{})
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			_, err := writer.Exec(context.WithoutCancel(ctx), "BEGIN; UPDATE a SET n = n - 1 WHERE id = 1; UPDATE z SET n = n + 1 WHERE id = 1; COMMIT", pgx.QueryExecModeSimpleProtocol)
			if err != nil {
				t.Errorf("a writer: %v", err)
				break
			}
			if n == 0 {
				close(begun)
			}
		}
		wrote <- n
	}()
	<-begun
	_, err = onCopy(t, r, from, to, home, "1")
	cancel()
	if n := <-wrote; n < 10 {
		t.Errorf("%d writes", n)
	}
	noError(t, err)
	equal(t, "the sum", to.read(migrator.Target{Marker: markerOf("scratch")}, "SELECT (SELECT sum(n) FROM a) + (SELECT sum(n) FROM z)"), from.read(home, "SELECT (SELECT sum(n) FROM a) + (SELECT sum(n) FROM z)"))
}

// TestHomeThatCannotBeCopiedIsNamedWithTheReason, in time.
func TestHomeThatCannotBeCopiedIsNamedWithTheReason(t *testing.T) {
	t.Parallel()
	r := parse(t, files{"1_a.sql": "CREATE TABLE a (id int PRIMARY KEY);\nCREATE TABLE b (id int);\n", "2_b.sql": "CREATE TABLE c (id int);\n"})
	from, to := newDatabase(t), newDatabase(t)
	home := from.apply(r, from.home("acme"), "1")
	refused := func(home migrator.Target, says string) {
		t.Helper()
		started := time.Now()
		c, err := onCopy(t, r, from, to, home, "2")
		if err == nil || !strings.Contains(err.Error(), says) || c.Copied || time.Since(started) > time.Minute {
			t.Errorf("%v, want %q; %+v after %s", err, says, c, time.Since(started))
		}
	}
	moved := home
	moved.Generation++
	refused(moved, "the home is not where the catalog has it")
	ahead := home
	ahead.From = "2"
	refused(ahead, "the home is not as version 2 makes it: relation")

	other := from.connect()
	_, err := other.Exec(t.Context(), "BEGIN; LOCK TABLE "+home.Schema+".b", pgx.QueryExecModeSimpleProtocol)
	noError(t, err)
	refused(home, "somebody else has locked a table of the home")
	_, err = other.Exec(t.Context(), "ROLLBACK")
	noError(t, err)

	from.exec("CREATE INDEX mine ON " + home.Schema + ".a (id)")
	refused(home, "the home is not as version 1 makes it: it has index a.mine")
	from.exec("DROP INDEX " + home.Schema + ".mine; ALTER TABLE " + home.Schema + ".a ADD COLUMN n int; DROP TABLE " + home.Schema + ".b")
	refused(home, "the home is not as version 1 makes it: relation")
}

func markerOf(schema string) pg.Marker { return pg.Marker{Schema: schema} }
