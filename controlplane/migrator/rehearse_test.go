package migrator_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/migrator"
)

// rehearse rehearses all versions after one in a schema of its own.
func rehearse(t *testing.T, db *database, r *migrator.Release, from string) []controlplane.RehearsedVersion {
	t.Helper()
	all := r.Versions()
	db.exec("DROP SCHEMA IF EXISTS scratch CASCADE")
	db.exec("CREATE SCHEMA scratch")
	versions, err := r.Rehearse(t.Context(), db.conn, "scratch", from, all[len(all)-1].Version)
	noError(t, err)
	return versions
}

// TestEveryWayBackOfTheSampleApplicationIsProved, and what it loses is what
// its down files say in their comments.
func TestEveryWayBackOfTheSampleApplicationIsProved(t *testing.T) {
	t.Parallel()
	r, err := migrator.Parse(sample(t))
	noError(t, err)
	loses := map[string]string{
		"20260323090000": "column issues.number, column projects.last_issue_number",
		"20260330120000": "",
		"20260413090000": "values of issues.status",
		"20260420101500": "column issues.closed_at",
		"20260504090000": "",
		"20260601090000": "table issue_assignees",
		"20260810100000": "",
		"20260907090000": "",
		"20261005090000": "column issues.remaining_minutes",
		"20261012090000": "table checklist_items",
	}
	db := newDatabase(t)
	for _, from := range []string{"", "20260420101500"} {
		versions := rehearse(t, db, r, from)
		if want := len(r.Versions()); from == "" && len(versions) != want {
			t.Fatalf("%d versions, want %d", len(versions), want)
		}
		for _, v := range versions {
			if !v.Proved || len(v.LosesUp) > 0 || len(v.Unfilled) > 0 {
				t.Errorf("from %q: %s: proved %t: %s; loses %v; not filled: %v", from, v.File, v.Proved, v.Why, v.LosesUp, v.Unfilled)
			}
			if want, ok := loses[v.Version]; ok {
				equal(t, v.File+" loses on the way back", strings.Join(v.LosesDown, ", "), want)
			}
			// Its comment names the tenants that it refuses.
			if refuses := v.Version == "20261005090000"; refuses != (v.Refuses != "") || refuses && (v.Failure.SQLState != "23514" || v.Failure.Statement != 4) {
				t.Errorf("from %q: %s refuses %q: %v", from, v.File, v.Refuses, v.Failure)
			}
		}
	}
}

// TestLocksOfEarlierStatementsAreToldWithThem: a transaction keeps its locks.
func TestLocksOfEarlierStatementsAreToldWithThem(t *testing.T) {
	t.Parallel()
	r := parse(t, files{
		"1_a.sql": "CREATE TABLE a (id int PRIMARY KEY, n int);\nCREATE TABLE b (id int PRIMARY KEY);\n",
		"2_b.sql": "CREATE INDEX ON a (n);\nALTER TABLE a ADD COLUMN m int;\nALTER TABLE a ALTER COLUMN m SET DEFAULT 1;\nCREATE TABLE c (b_id int REFERENCES b);\nCREATE INDEX ON c (b_id);\n",
		"3_c.sql": "-- atlas:txmode none\n\nALTER TABLE a ADD COLUMN l int;\nCREATE INDEX CONCURRENTLY i ON a (l);\nALTER TABLE a ALTER COLUMN l SET DEFAULT 1;\n",
	})
	db := newDatabase(t)
	var told []string
	for _, v := range rehearse(t, db, r, "1") {
		for _, s := range v.Statements {
			text := "-"
			for _, l := range s.Locks {
				text = l.Relation + " " + l.Mode
				if l.Since > 0 {
					text += " since " + string(rune('0'+l.Since))
				}
			}
			told = append(told, text)
		}
	}
	want := []string{
		"a SHARE", "a ACCESS EXCLUSIVE", "a ACCESS EXCLUSIVE since 2", "b SHARE ROW EXCLUSIVE", "-", // what the file itself makes nobody uses
		"a ACCESS EXCLUSIVE", "a SHARE UPDATE EXCLUSIVE", "a ACCESS EXCLUSIVE", // each a transaction of its own
	}
	if !slices.Equal(told, want) {
		t.Errorf("\n got: %q\nwant: %q", told, want)
	}
}

// filled is a table of everything, with CHECKs of many kinds. The version after
// it wants four rows.
const filled = `
CREATE DOMAIN slug AS text CHECK (VALUE ~ '^[a-z]+$');
CREATE DOMAIN positive AS numeric(6, 2) NOT NULL CHECK (VALUE > 10);
CREATE DOMAIN big AS positive CHECK (VALUE > 100);
CREATE TYPE size AS ENUM ('s', 'm', 'l', 'xl', 'xxl', 'xxxl');
CREATE TABLE everything (
  id bigserial PRIMARY KEY, nr bigint GENERATED ALWAYS AS IDENTITY, twice bigint GENERATED ALWAYS AS (i8 * 2) STORED,
  i2 smallint NOT NULL UNIQUE, i4 int NOT NULL CHECK (i4 BETWEEN 500 AND 520), i8 bigint NOT NULL, n numeric NOT NULL, n2 numeric(4, 3) NOT NULL, r real NOT NULL, d double precision NOT NULL, m money NOT NULL,
  b boolean NOT NULL, t text NOT NULL CHECK (t <> '' AND length(t) < 100), v varchar(3) NOT NULL UNIQUE, c char(2) NOT NULL, ci citext NOT NULL, nm name NOT NULL, q "char" NOT NULL,
  kind text NOT NULL CHECK (kind IN ('red', 'green')), mail text NOT NULL CHECK (mail LIKE '%@%.%'), iso text NOT NULL CHECK (length(iso) = 3), url text NOT NULL CHECK (url ~ '^https?://'),
  s slug NOT NULL, p positive, bg big, e size NOT NULL, es size[] NOT NULL, ts text[] NOT NULL, k text NOT NULL DEFAULT 'x' CHECK (k IN ('x')),
  dt date NOT NULL, until date NOT NULL, tm timestamp NOT NULL, tz timestamptz NOT NULL, tt time NOT NULL, iv interval NOT NULL, u uuid NOT NULL, bt bytea NOT NULL,
  j json NOT NULL, jb jsonb NOT NULL CHECK (jsonb_typeof(jb) = 'object'), ip inet NOT NULL, net cidr NOT NULL, mac macaddr NOT NULL, pt point NOT NULL, bx box NOT NULL, bi bit(3) NOT NULL, vb varbit(5) NOT NULL,
  fts tsvector NOT NULL, ir int4range NOT NULL, dr daterange NOT NULL, tr tstzrange NOT NULL, x xml NOT NULL, CHECK (until >= dt), CHECK (i2 < i8 OR i2 = i8)
);
CREATE TABLE nothing ();
CREATE TABLE "Äpfel" ("größe (cm)" int NOT NULL, "select" text NOT NULL);
CREATE TABLE chickens (id int PRIMARY KEY, egg int);
CREATE TABLE eggs (id int PRIMARY KEY, chicken int NOT NULL REFERENCES chickens);
ALTER TABLE chickens ADD FOREIGN KEY (egg) REFERENCES eggs;
CREATE TABLE nodes (a int, b uuid, parent_a int, parent_b uuid, PRIMARY KEY (a, b), FOREIGN KEY (parent_a, parent_b) REFERENCES nodes);
CREATE TABLE pairs (a int NOT NULL, b uuid NOT NULL, egg int NOT NULL REFERENCES eggs, PRIMARY KEY (a, b, egg), FOREIGN KEY (a, b) REFERENCES nodes);
CREATE TABLE parts (id int NOT NULL, at date NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE parts_early PARTITION OF parts FOR VALUES FROM ('2000-01-01') TO ('2100-01-01');
CREATE TABLE spans (during tstzrange NOT NULL, EXCLUDE USING gist (during WITH &&));
`

func TestTablesOfManyTypesAndConstraintsAreFilled(t *testing.T) {
	t.Parallel()
	count := "DO $$ BEGIN\n"
	for _, table := range []string{"everything", "nothing", `"Äpfel"`, "chickens", "eggs", "nodes", "pairs", "parts"} {
		count += "IF (SELECT count(*) FROM " + table + ") < 4 THEN RAISE EXCEPTION 'rows in %: %', '" + table + "', (SELECT count(*) FROM " + table + "); END IF;\n"
	}
	r := parse(t, files{"1_a.sql": filled, "2_b.sql": count + "END $$;\n"})
	v := rehearse(t, newDatabase(t), r, "1")[0]
	if v.Refuses != "" || len(v.Unfilled) > 0 {
		t.Errorf("refuses %q: %v; not filled: %v", v.Refuses, v.Failure, v.Unfilled)
	}
}

// TestWhatCouldNotBeFilledIsNotProved, but what does not touch it is.
func TestWhatCouldNotBeFilledIsNotProved(t *testing.T) {
	t.Parallel()
	r := parse(t, files{
		"1_a.sql": "CREATE TABLE odd (id int CHECK (id = 4711 * 4711 AND id IS NOT NULL));\nCREATE TABLE behind (id int UNIQUE);\nALTER TABLE odd ADD UNIQUE (id);\n" +
			"CREATE TABLE hangs (odd_id int NOT NULL REFERENCES odd (id));\n",
		"2_b.sql": "ALTER TABLE odd ADD COLUMN n int;\n",
		"3_c.sql": "ALTER TABLE behind ADD COLUMN n int;\n",
		"4_d.sql": "ALTER TABLE hangs ADD COLUMN n int;\n",
	})
	versions := rehearse(t, newDatabase(t), r, "1")
	for i, want := range []string{"no rows could be made up for table odd", "", "no rows could be made up for table hangs"} {
		equal(t, "why", versions[i].Why, want)
		equal(t, "proved", versions[i].Proved, want == "")
		equal(t, "not filled", len(versions[i].Unfilled), 2)
	}
	if why := versions[0].Unfilled[1].Why; !strings.Contains(why, "odd_id_check") || !strings.Contains(why, "23514") {
		t.Errorf("table odd is not filled: %s", why)
	}
}

func TestRehearsalEndsWithAVersionThatCannotRun(t *testing.T) {
	t.Parallel()
	r := parse(t, files{
		"1_a.sql": "CREATE TABLE a (id int);\n",
		"2_b.sql": "CREATE TABLE b (id int);\nALTER TABLE nowhere ADD COLUMN n int;\n",
		"3_c.sql": "CREATE TABLE c (id int);\n",
	})
	versions := rehearse(t, newDatabase(t), r, "")
	equal(t, "versions", len(versions), 2)
	v := versions[1]
	equal(t, "refuses", v.Refuses, controlplane.RefusesEverything)
	equal(t, "failure", v.Failure.String(), `2_b.sql statement 2: relation "nowhere" does not exist (SQLSTATE 42P01)`)
	equal(t, "proved", v.Proved, false)
	equal(t, "statements", len(v.Statements), 1)
}

// TestRehearsalGoesOnAfterAFileThatFailsHalfWay: nothing of it is left, though
// it ran without a transaction.
func TestRehearsalGoesOnAfterAFileThatFailsHalfWay(t *testing.T) {
	t.Parallel()
	r := parse(t, files{
		"1_a.sql": "CREATE TABLE a (id int PRIMARY KEY, n int);\n",
		"2_b.sql": "-- atlas:txmode none\n\nALTER TABLE a ADD COLUMN m int;\nCREATE UNIQUE INDEX CONCURRENTLY i ON a (n);\n",
		"3_c.sql": "ALTER TABLE a ADD COLUMN l int;\n", "down/3_c.sql": "ALTER TABLE a DROP COLUMN l;\nALTER TABLE a DROP COLUMN nowhere;\n",
		"4_d.sql": "ALTER TABLE a ADD COLUMN k int;\n",
	})
	versions := rehearse(t, newDatabase(t), r, "1")
	equal(t, "refuses", versions[0].Refuses, controlplane.RefusesSome)
	equal(t, "failure", versions[0].Failure.SQLState, "23505")
	equal(t, "proved", versions[0].Proved, true)
	equal(t, "why", versions[1].Why, `the way back fails: down/3_c.sql statement 2: column "nowhere" of relation "a" does not exist (SQLSTATE 42703)`)
	equal(t, "the next", versions[2].Proved, true)
}

// TestWhatAFileDoesToItsSessionEndsWithIt, as it does in a tenant.
func TestWhatAFileDoesToItsSessionEndsWithIt(t *testing.T) {
	t.Parallel()
	r := parse(t, files{
		"1_a.sql": "CREATE TABLE a (id int PRIMARY KEY, at timestamptz);\nDO $$ BEGIN PERFORM set_config('search_path', '', false); END $$;\n",
		"2_b.sql": "CREATE TEMP TABLE kept (id int);\nINSERT INTO kept VALUES (1);\nALTER TABLE a ADD COLUMN n int;\nDO $$ BEGIN PERFORM set_config('datestyle', 'German', false); END $$;\n",
		"3_c.sql": "CREATE TEMP TABLE kept (id int);\nALTER TABLE a ADD COLUMN m int;\n", "down/3_c.sql": "ALTER TABLE a DROP COLUMN m;\n",
	})
	db := newDatabase(t)
	for from, want := range map[string]int{"": 3, "1": 2} {
		versions := rehearse(t, db, r, from)
		equal(t, "versions", len(versions), want)
		for _, v := range versions {
			equal(t, v.File+" refuses", v.Refuses, "")
		}
		equal(t, "proved", versions[len(versions)-1].Proved, true)
	}
}

func TestRehearsalEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"SELECT pg_sleep(600);\n", "-- atlas:txmode none\n\nVACUUM;\nSELECT pg_sleep(600);\n"} {
		db := newDatabase(t)
		db.exec("CREATE SCHEMA scratch")
		r := parse(t, files{"1_a.sql": "CREATE TABLE a (id int);\n", "2_b.sql": file})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, err := r.Rehearse(ctx, db.conn, "scratch", "", "2")
			done <- err
		}()
		other := db.connect()
		for sleeps := false; !sleeps; {
			noError(t, other.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep')").Scan(&sleeps))
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
}

func TestRehearsalRefusesVersionsThatItCannotGoBetween(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	db.exec("CREATE SCHEMA scratch")
	r := parse(t, files{"1_a.sql": "CREATE TABLE a (id int);\n", "2_b.sql": "SELECT 1;\n"})
	for _, c := range []struct {
		from, to string
		want     controlplane.Code
	}{{"7", "2", controlplane.NotFound}, {"1", "7", controlplane.NotFound}, {"2", "1", controlplane.Invalid}} {
		_, err := r.Rehearse(t.Context(), db.conn, "scratch", c.from, c.to)
		if controlplane.CodeOf(err) != c.want || c.want == controlplane.NotFound && !strings.Contains(err.Error(), "no version 7") {
			t.Errorf("from %s to %s: %v", c.from, c.to, err)
		}
	}
	versions, err := r.Rehearse(t.Context(), db.conn, "scratch", "2", "2")
	noError(t, err)
	equal(t, "versions", len(versions), 0)
}
