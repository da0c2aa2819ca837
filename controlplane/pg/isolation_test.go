package pg

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
)

// attempt is something a tenant's login tries.
type attempt struct {
	name, sql string
	state     string // SQLSTATE that it must end with; "": it works
}

const denied = "42501"

// attempts are made by the login of home mine; theirs is the neighbour's.
func attempts(mine, theirs Home) []attempt {
	own, other := Quote(mine.Schema), Quote(theirs.Schema)
	return []attempt{
		{"reads its own", "SELECT * FROM notes", ""},
		{"inserts into its own", "INSERT INTO notes (text) VALUES ('x')", ""},
		{"updates its own", "UPDATE notes SET text = 'y'", ""},
		{"deletes from its own", "DELETE FROM notes", ""},
		{"uses its own sequence", "SELECT nextval('notes_id_seq')", ""},
		{"uses an extension", "SELECT 'A'::citext = 'a'", ""},
		{"reads a neighbour", "SELECT * FROM " + other + ".notes", denied},
		{"inserts into a neighbour", "INSERT INTO " + other + ".notes (text) VALUES ('x')", denied},
		{"updates a neighbour", "UPDATE " + other + ".notes SET text = ''", denied},
		{"deletes from a neighbour", "DELETE FROM " + other + ".notes", denied},
		{"truncates a neighbour", "TRUNCATE " + other + ".notes", denied},
		{"locks a neighbour", "LOCK TABLE " + other + ".notes", denied},
		{"drops a neighbour's table", "DROP TABLE " + other + ".notes", denied},
		{"alters a neighbour's table", "ALTER TABLE " + other + ".notes ADD x int", denied},
		{"creates at a neighbour's", "CREATE TABLE " + other + ".x ()", denied},
		{"drops a neighbour's schema", "DROP SCHEMA " + other, denied},
		{"creates a table", "CREATE TABLE x ()", denied},
		{"creates a table in public", "CREATE TABLE public.x ()", denied},
		{"creates a table beside the extensions", "CREATE TABLE extensions.x ()", denied},
		{"creates a temporary table", "CREATE TEMP TABLE x ()", denied},
		{"creates a view", "CREATE VIEW x AS SELECT 1", denied},
		{"creates a type", "CREATE TYPE x AS ENUM ()", denied},
		{"creates a function", "CREATE FUNCTION x() RETURNS int LANGUAGE sql AS 'SELECT 1'", denied},
		{"creates a temporary function", "CREATE FUNCTION pg_temp.x() RETURNS int LANGUAGE sql AS 'SELECT 1'", denied},
		{"creates a schema", "CREATE SCHEMA x", denied},
		{"creates an extension", "CREATE EXTENSION hstore", denied},
		{"creates a role", "CREATE ROLE x", denied},
		{"alters its own table", "ALTER TABLE notes ADD x int", denied},
		{"drops its own table", "DROP TABLE notes", denied},
		{"truncates its own table", "TRUNCATE notes", denied},
		{"adds a trigger", "CREATE TRIGGER x BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()", denied},
		{"drops its own schema", "DROP SCHEMA " + own, denied},
		{"reads the revisions", "SELECT * FROM atlas_schema_revisions", denied},
		{"writes the revisions", "DELETE FROM atlas_schema_revisions", denied},
		{"reads the markers", "SELECT * FROM manor.marker", denied},
		{"calls the markers' functions", "SELECT manor.release('')", denied},
		{"becomes the neighbour", "SET ROLE " + Quote(theirs.Role), denied},
		{"becomes the neighbour's login", "SET ROLE " + Quote(theirs.Logins[0]), denied},
		{"reads the passwords", "SELECT * FROM pg_authid", denied},
		{"opens the database to all", "GRANT CONNECT ON DATABASE " + Quote(mine.Database) + " TO PUBLIC", "01007"},
		{"gives its rights away", "GRANT SELECT ON notes TO PUBLIC", "01007"},
	}
}

// try makes an attempt in a transaction that is rolled back: an attack that
// works must do no harm. A GRANT that grants nothing is a warning.
func try(t *testing.T, conn *pgx.Conn, warning *string, a attempt) string {
	t.Helper()
	*warning = ""
	exec(t, conn, "BEGIN")
	_, err := conn.Exec(context.Background(), a.sql)
	exec(t, conn, "ROLLBACK")
	if err == nil {
		return *warning
	}
	return sqlState(err)
}

func TestATenantsLoginCanUseItsHomeAndNothingElse(t *testing.T) {
	t.Parallel()
	for _, isolation := range controlplane.Isolations {
		t.Run(string(isolation), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			mineIn, mine, k := f.plan()
			theirsIn, theirs, more := f.plan()
			if isolation == controlplane.IsolationSchema {
				theirs = f.planHome(mineIn, k)
				f.make(mineIn, k, mine, theirs)
				f.make(theirsIn, more)
			} else {
				f.make(mineIn, k, mine)
				f.make(theirsIn, more, theirs)
			}
			f.furnish(k, mineIn, mine)
			f.furnish(merge(k, more), databaseOf(theirs, mineIn, theirsIn), theirs)
			f.probe(t, isolation, mine, theirs, k)
			for _, login := range mine.Logins {
				if _, err := Connect(t.Context(), f.as(login, k[login]), theirsIn.Name, "test"); controlplane.CodeOf(err) != controlplane.Refused {
					t.Errorf("%s connected to another database: %v", login, err)
				}
			}
		})
	}
}

func databaseOf(h Home, candidates ...Database) Database {
	for _, d := range candidates {
		if d.Name == h.Database {
			return d
		}
	}
	return Database{}
}

func merge(all ...keys) keys {
	k := keys{}
	for _, one := range all {
		for role, password := range one {
			k[role] = password
		}
	}
	return k
}

// furnish does what a migration does: a table, made by the owner.
func (f *fixture) furnish(k keys, d Database, h Home) {
	f.t.Helper()
	owner := f.connect(f.as(d.Owner, k[d.Owner]), d.Name)
	exec(f.t, owner, fmt.Sprintf("CREATE TABLE %[1]s.notes (id bigserial, text extensions.citext); INSERT INTO %[1]s.notes (text) VALUES ('secret')", Quote(h.Schema)))
}

func (f *fixture) probe(t *testing.T, isolation controlplane.Isolation, mine, theirs Home, k keys) {
	for _, login := range mine.Logins {
		var warning string
		config, err := f.as(login, k[login]).Config(mine.Database, "probe")
		must(t, err)
		delete(config.RuntimeParams, "search_path") // as an application connects: with the role's own
		config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { warning = n.Code }
		conn, err := pgx.ConnectConfig(t.Context(), config)
		must(t, err)
		defer conn.Close(context.Background())
		for _, a := range attempts(mine, theirs) {
			want := []string{a.state}
			if isolation == controlplane.IsolationDatabase && a.state == denied {
				want = append(want, "3F000", "42P01") // the neighbour is not even there
			}
			if got := try(t, conn, &warning, a); !slices.Contains(want, got) {
				t.Errorf("%s %s: SQLSTATE %q, want %q", login, a.name, got, a.state)
			}
		}
	}
}
