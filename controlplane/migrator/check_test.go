package migrator_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/migrator"
)

// TestParseRefusesDetours: what a plain SET may not do, a migration may not do
// in other words either, nor touch what is the cluster's or Manor's own.
func TestParseRefusesDetours(t *testing.T) {
	t.Parallel()
	const setConfig = "set_config takes only plain arguments"
	for sql, want := range map[string]string{
		"SELECT set_config('app.x', 'y', false);":                          setConfig,
		"SELECT set_config('app.x', 'y', 'true');":                         setConfig,
		"SELECT set_config('app.x', 'y', true AND false);":                 setConfig,
		"SELECT set_config('app.x', 'y'::text, true);":                     setConfig,
		"SELECT set_config('app.x'::text, 'y', true);":                     setConfig,
		"SELECT set_config('ro' || 'le', 'y', true);":                      setConfig,
		"SELECT set_config('ro'\n'le', 'y', true);":                        setConfig,
		"SELECT set_config(('role'), 'y', true);":                          setConfig,
		"SELECT set_config($$role$$, 'y', true);":                          setConfig,
		"SELECT set_config($1, 'y', true);":                                setConfig,
		"SELECT set_config(E'rol\\145', 'y', true);":                       setConfig,
		"SELECT set_config(N'role', 'y', true);":                           setConfig,
		"SELECT set_config(U&'rol\\0065', 'y', true);":                     setConfig,
		"SELECT set_config(U&'rol!0065' UESCAPE '!', 'y', true);":          setConfig,
		"SELECT set_config(setting_name => 'role', 'y', true);":            setConfig,
		"SELECT set_config(new_value := 'y', setting_name := 'role');":     setConfig,
		"SELECT set_config(VARIADIC 'role');":                              setConfig,
		"SELECT pg_catalog.set_config('app.x', 'y', false);":               setConfig,
		"SELECT \"pg_catalog\" . \"set_config\"('app.x', 'y', false);":     setConfig,
		"SELECT U&\"set\\005Fconfig\"('app.x', 'y', false);":               setConfig,
		"SELECT u&\"set\\+00005fconfig\"('app.x', 'y', false);":            setConfig,
		"SELECT U&\"set!005fconfig\" UESCAPE '!' ('app.x', 'y', false)":    "UESCAPE hides a name",
		"CREATE AGGREGATE a (text, bool) (SFUNC = set_config);":            setConfig,
		"SELECT set_config('app.x', set_config('role', 'y', true), true);": setConfig,

		"SELECT 1, Set_Config('Role', 'y', true);":                     "set_config of role would lead out of the tenant",
		"SELECT set_config('session_authorization', 'y', true);":       "set_config of session_authorization",
		"SELECT set_config('search_path', 'y', true);":                 "set_config of search_path",
		"SELECT set_config('client_encoding', 'LATIN1', true);":        "set_config of client_encoding would change how",
		"SELECT set_config('standard_conforming_strings', '0', true);": "set_config of standard_conforming_strings",

		"SET LOCAL U&\"rol\\0065\" TO postgres;":                "SET of a name in U&",
		"SET U&\"app\".x = 'y';":                                "SET of a name in U&",
		"SET LOCAL app . u&\"x\" = 'y';":                        "SET of a name in U&",
		"SET LOCAL client_encoding = 'LATIN1';":                 "SET CLIENT_ENCODING would change how",
		"SET LOCAL NAMES 'LATIN1';":                             "SET NAMES would change how",
		"SET LOCAL \"Standard_Conforming_Strings\" = off;":      "SET STANDARD_CONFORMING_STRINGS would change how",
		"SET TRANSACTION READ ONLY;":                            "SET TRANSACTION comes too late",
		"SET LOCAL TRANSACTION ISOLATION LEVEL SERIALIZABLE;":   "SET TRANSACTION comes too late",
		"SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY;": "SET outlives",

		"UPDATE pg_settings SET setting = 'y';":                             "UPDATE of pg_settings",
		"UPDATE ONLY pg_catalog . \"pg_settings\" AS s SET setting = 'y';":  "UPDATE of pg_settings",
		"EXPLAIN ANALYZE UPDATE PG_SETTINGS SET setting = 'y';":             "UPDATE of pg_settings",
		"WITH x AS (SELECT 1) UPDATE ONLY (pg_settings) SET setting = 'y';": "UPDATE of pg_settings",
		"UPDATE U&\"pg\\005fsettings\" SET setting = 'y';":                  "UPDATE of pg_settings",

		"ALTER ROLE acme SET search_path = other;":             "ALTER ROLE … SET outlives the migration",
		"ALTER ROLE ALL IN DATABASE d RESET ALL;":              "ALTER ROLE … RESET outlives",
		"alter user acme set work_mem = '1GB';":                "ALTER USER … SET outlives",
		"ALTER DATABASE d SET search_path TO other;":           "ALTER DATABASE … SET outlives",
		"ALTER DATABASE d RESET ALL;":                          "ALTER DATABASE … RESET outlives",
		"ALTER SYSTEM SET work_mem = '1GB';":                   "ALTER SYSTEM outlives the migration",
		"-- atlas:txmode none\n\nALTER SYSTEM RESET work_mem;": "ALTER SYSTEM outlives",

		"UPDATE manor.marker SET epoch = 0;":                                 "schema manor is Manor's own",
		"SELECT \"manor\" . release('');":                                    "schema manor is Manor's own",
		"SELECT U&\"m\\0061nor\".release('');":                               "schema manor is Manor's own",
		"SELECT * FROM d.Manor.marker;":                                      "schema manor is Manor's own",
		"CREATE SCHEMA manor;":                                               "schema manor is Manor's own",
		"CREATE SCHEMA IF NOT EXISTS \"manor\";":                             "schema manor is Manor's own",
		"CREATE SCHEMA AUTHORIZATION manor;":                                 "schema manor is Manor's own",
		"DROP SCHEMA IF EXISTS a, manor CASCADE;":                            "schema manor is Manor's own",
		"ALTER SCHEMA manor RENAME TO a;":                                    "schema manor is Manor's own",
		"ALTER SCHEMA a RENAME TO manor;":                                    "schema manor is Manor's own",
		"ALTER TABLE t SET SCHEMA manor;":                                    "schema manor is Manor's own",
		"GRANT USAGE ON SCHEMA a, manor TO b;":                               "schema manor is Manor's own",
		"REVOKE ALL ON ALL TABLES IN SCHEMA manor FROM b;":                   "schema manor is Manor's own",
		"ALTER DEFAULT PRIVILEGES IN SCHEMA manor GRANT ALL ON TABLES TO b;": "schema manor is Manor's own",
		"COMMENT ON SCHEMA manor IS 'x';":                                    "schema manor is Manor's own",
		"CREATE EXTENSION hstore WITH SCHEMA manor;":                         "schema manor is Manor's own",

		"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT set_config('role', 'y', true); END;": "set_config of role",
		"vacuum Comments;": "vacuum Comments cannot run in a transaction",
	} {
		_, err := migrator.Parse(files{"1_x.sql": "SELECT 1;\n" + sql}.hashed(t))
		if strings.HasPrefix(sql, "-- atlas") {
			_, err = migrator.Parse(files{"1_x.sql": sql}.hashed(t))
		}
		at, message, _ := strings.Cut(messageOf(err), ": ")
		if controlplane.CodeOf(err) != controlplane.Invalid || !strings.HasPrefix(at, "1_x.sql:") || !strings.HasPrefix(message, want) {
			t.Errorf("%s\ngot  %v\nwant %s", sql, err, want)
		}
	}
}

// TestParseRefusesWhatCouldNotBeResumed: of what runs in no transaction, that
// which nobody could find again whose process died before it was recorded.
func TestParseRefusesWhatCouldNotBeResumed(t *testing.T) {
	t.Parallel()
	const name, schema, plain = "give the index a name", "name none: every statement runs in the tenant's own", "leave out CONCURRENTLY: a plain DETACH PARTITION is short"
	for sql, want := range map[string]struct{ message, hint string }{
		"CREATE INDEX CONCURRENTLY ON t (a);":                              {"CREATE INDEX CONCURRENTLY without a name", name},
		"create unique index concurrently on only t using btree (a);":      {"create unique index CONCURRENTLY without a name", name},
		"CREATE INDEX CONCURRENTLY i ON public.t (a);":                     {"CREATE INDEX CONCURRENTLY names a schema", schema},
		"CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON ONLY \"s\" . t (a);": {"CREATE INDEX CONCURRENTLY names a schema", schema},
		"DROP INDEX CONCURRENTLY public.i;":                                {"DROP INDEX CONCURRENTLY names a schema", schema},
		"DROP INDEX CONCURRENTLY IF EXISTS public.i CASCADE;":              {"DROP INDEX CONCURRENTLY names a schema", schema},
		"REINDEX INDEX CONCURRENTLY public.i;":                             {"REINDEX INDEX CONCURRENTLY names a schema", schema},
		"REINDEX (VERBOSE, CONCURRENTLY) TABLE public.t;":                  {"REINDEX CONCURRENTLY names a schema", schema},
		"ALTER TABLE t DETACH PARTITION t1 CONCURRENTLY;":                  {"DETACH PARTITION CONCURRENTLY cannot be taken up again", plain},
		"ALTER TABLE IF EXISTS s.t DETACH PARTITION s.t1 CONCURRENTLY;":    {"DETACH PARTITION CONCURRENTLY cannot be taken up again", plain},
	} {
		for at, head := range map[string]string{"1_x.sql:3: ": none, "1_x.sql:1: ": ""} {
			_, err := migrator.Parse(files{"1_x.sql": head + sql}.hashed(t))
			if refused, ok := errors.AsType[*controlplane.Error](err); !ok || refused.Code != controlplane.Invalid ||
				!strings.HasPrefix(refused.Error(), at+want.message) || refused.Hint != want.hint {
				t.Errorf("%s\ngot  %v\nwant %s%s", sql, err, at, want)
			}
		}
	}
	for _, sql := range []string{
		"CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON ONLY t USING btree (public.f(a), a public.ops) WHERE t.a > 1.5;",
		"CREATE INDEX CONCURRENTLY \"on\" ON t (a);\nCREATE INDEX CONCURRENTLY if ON t (a);",
		"DROP INDEX CONCURRENTLY IF EXISTS \"public.i\" RESTRICT;\nREINDEX (CONCURRENTLY, VERBOSE) INDEX i;",
		"ALTER TABLE s.t DETACH PARTITION t1;\nALTER TABLE t DETACH PARTITION t1 FINALIZE;",
		"CREATE INDEX ON public.t (a);\nDROP INDEX public.i;",
	} {
		if _, err := migrator.Parse(files{"1_x.sql": none + sql}.hashed(t)); err != nil {
			t.Errorf("%q: %v", sql, err)
		}
	}
}

func messageOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestParseTakesWhatOnlyResemblesADetour(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{
		"SELECT set_config('app.x', 'y', true), pg_catalog.set_config('work_mem', '64MB', TRUE);",
		"SELECT 'set_config(1)', current_setting('role') -- set_config()\n;",
		"DO $$ BEGIN PERFORM set_config('app.x', 'y'::text, true); END $$;",
		"SET LOCAL lock_timeout = '1s';\nSET LOCAL app.x TO 'y';\nSET LOCAL TIME ZONE 'UTC';\nSET CONSTRAINTS ALL IMMEDIATE;",
		"SELECT name FROM pg_settings;\nUPDATE settings SET name = 'pg_settings';\nCREATE TABLE my (pg_settings int);",
		"SELECT * FROM t, pg_settings FOR UPDATE;",
		"CREATE FUNCTION f() RETURNS int LANGUAGE sql SET search_path = pg_catalog AS 'SELECT 1';",
		"ALTER TABLE role SET (fillfactor = 70);\nALTER TABLE t ALTER a SET DEFAULT 1;\nALTER FUNCTION f() RESET ALL;",
		"ALTER USER MAPPING FOR a SERVER s OPTIONS (SET user 'b');\nALTER DATABASE d OWNER TO \"set\";",
		"CREATE TABLE manor (manor int, schema text, \"Manor\" int);\nSELECT manor FROM manor;\nSELECT \"Manor\".a FROM \"Manor\";",
		"CREATE TABLE t (schema text, manor text);\nSELECT x.schema s, manor FROM t x;\nSELECT 'manor.marker', t.manor FROM t;",
		"GRANT USAGE ON SCHEMA app TO manor;\nALTER SCHEMA app OWNER TO manor;\nCREATE SCHEMA app AUTHORIZATION manor;",
		"SELECT U&'d!0061t' UESCAPE '!', U&\"d\\0061t\";",
	} {
		if _, err := migrator.Parse(files{"1_x.sql": sql}.hashed(t)); err != nil {
			t.Errorf("%q: %v", sql, err)
		}
	}
}
