package migrator_test

import "github.com/manorhq/manor/controlplane"

// before is the version that tenants are at, in the cases of the rules.
const before = `CREATE TYPE e AS ENUM ('x');
CREATE TABLE t (id bigint NOT NULL, a int, b varchar(10), n numeric(10,2), s text, x e);
CREATE VIEW v AS SELECT 1;
ALTER TABLE t ADD CONSTRAINT old CHECK (a > 0);
CREATE TABLE r (id bigint PRIMARY KEY);
CREATE MATERIALIZED VIEW m AS SELECT 1 AS one;`

// lintCases have what each rule finds and what it passes over, by what is written
// into one file after the one of before.
var lintCases = map[controlplane.WarningCode]struct{ finds, passes []string }{
	controlplane.WarnRefused: {
		[]string{"COMMIT;", "SET lock_timeout = '1s';", "COPY t FROM STDIN;", "UPDATE manor.marker SET a = 1;", "SELECT 'x", "CREATE INDEX CONCURRENTLY ON t (a);"},
		[]string{"SET LOCAL lock_timeout = '1s';", "SELECT 'COMMIT;';"},
	},
	controlplane.WarnSearchPath: {
		[]string{"SET ROLE x;", "SET LOCAL search_path = x;", "SELECT set_config('search_path', 'x', true);"},
		[]string{"SELECT current_setting('search_path');", "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET search_path = pg_catalog AS 'SELECT 1';"},
	},
	controlplane.WarnNeedsNoTransaction: {
		[]string{"CREATE INDEX CONCURRENTLY i ON t (a);", "VACUUM t;"},
		[]string{none + "CREATE INDEX CONCURRENTLY i ON t (a);", none + "VACUUM t;"},
	},
	controlplane.WarnDirective: {
		[]string{"-- atlas:txmode none\nSELECT 1;", "SELECT 1;\n-- atlas:nolint\n\nSELECT 2;", "-- atlas:nolint drop-colum\n\nSELECT 1;", "-- atlas:txmod none\n\nSELECT 1;", "SELECT 1;\n-- atlas:delimiter \\n\nSELECT 2;"},
		[]string{none + "SELECT 1;", "SELECT 1;\n-- atlas:nolint\nSELECT 2;", "-- atlas:nolint DS103 drop-table naming\n\nSELECT 1;", "-- atlas:delimiter \\n\\n\nSELECT 1"},
	},
	controlplane.WarnQualifiedName: {
		[]string{
			"CREATE TABLE public.u (id int);", "SELECT * FROM public.t;", "INSERT INTO x.t SELECT 1;", "CREATE TABLE u (id int REFERENCES public.t);",
			"CREATE INDEX i ON public.t (a);", "CREATE POLICY p ON x.t USING (true);", "UPDATE ONLY public.t SET a = 1 WHERE a = 2;", "DROP TABLE IF EXISTS x.t;", `SELECT * FROM t JOIN "X".u ON true;`,
		},
		[]string{
			"SELECT t.a FROM t JOIN v ON t.a = v.a;", "SELECT extract(year FROM t.a), trim(both from t.b) FROM t;", "SELECT 1 WHERE 1 IS DISTINCT FROM t.a;",
			"SELECT * FROM pg_catalog.pg_class;", "ALTER TABLE t ADD c extensions.citext;", "COMMENT ON COLUMN t.a IS 'x';", "SELECT 'FROM a.b';",
			"CREATE POLICY p ON t USING (EXISTS (SELECT 1 FROM t x JOIN v y ON x.a = y.b));", "CREATE TRIGGER g BEFORE UPDATE OF a ON t FOR EACH ROW EXECUTE FUNCTION f();",
		},
	},
	controlplane.WarnIndex: {
		[]string{"CREATE INDEX i ON t (a);", "CREATE UNIQUE INDEX IF NOT EXISTS i ON t (a);", "REINDEX TABLE t;", "CREATE TABLE u (a int);\nCREATE INDEX i ON t (a);"},
		[]string{none + "CREATE INDEX CONCURRENTLY i ON t (a);", "CREATE TABLE u (a int);\nCREATE INDEX i ON u (a);", "CREATE INDEX i ON ONLY t (a);", "DROP INDEX i;", "CREATE MATERIALIZED VIEW w AS SELECT 1 a;\nCREATE UNIQUE INDEX ON w (a);",
			"CREATE TABLE u (a int);\nALTER TABLE u RENAME TO w;\nCREATE INDEX ON w (a);", none + "REINDEX INDEX CONCURRENTLY i;", "CREATE UNLOGGED TABLE IF NOT EXISTS u AS SELECT 1 a;\nCREATE INDEX ON u (a);"},
	},
	controlplane.WarnIfNotExists: {
		[]string{none + "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a);", none + "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a);"},
		[]string{none + "CREATE INDEX CONCURRENTLY i ON t (a);", "CREATE TABLE IF NOT EXISTS u (a int);\nCREATE INDEX IF NOT EXISTS i ON u (a);"},
	},
	controlplane.WarnSeveralAlone: {
		[]string{none + "SELECT 1;\nVACUUM t;", none + "CREATE INDEX CONCURRENTLY i ON t (a);\nCREATE INDEX CONCURRENTLY j ON t (a);"},
		[]string{none + "VACUUM t;", "SELECT 1;\nSELECT 2;"},
	},
	controlplane.WarnRewrite: {
		[]string{
			"ALTER TABLE t ADD COLUMN c uuid DEFAULT gen_random_uuid();", "ALTER TABLE t ADD c float DEFAULT (1 + random());", "ALTER TABLE t ADD c bigserial;",
			"ALTER TABLE t ADD c int GENERATED ALWAYS AS IDENTITY;", "ALTER TABLE t ADD c int GENERATED ALWAYS AS (a + 1) STORED;", "ALTER TABLE t ALTER a TYPE bigint;",
			"ALTER TABLE t ALTER COLUMN b SET DATA TYPE varchar(5);", "ALTER TABLE t ALTER s TYPE text USING lower(s);", "ALTER TABLE t ALTER n TYPE numeric(12,4);",
			"ALTER TABLE t SET UNLOGGED;", "ALTER TABLE ONLY t SET UNLOGGED;\nALTER TABLE ONLY t SET LOGGED;", "CLUSTER t USING i;", none + "VACUUM (FULL) t;", none + "VACUUM FULL t;", "REFRESH MATERIALIZED VIEW m;",
		},
		[]string{
			"ALTER TABLE t ADD c timestamptz DEFAULT now();", "ALTER TABLE t ADD c varchar(3) DEFAULT 'a'::varchar(3) CHECK (length(c) > 0);", "ALTER TABLE t ALTER b TYPE varchar(20);",
			"ALTER TABLE t ALTER b TYPE text;", "ALTER TABLE t ALTER n TYPE numeric(12,2);", "ALTER TABLE t ALTER s TYPE character varying;", "ALTER TABLE t ALTER a SET DEFAULT random();",
			"CREATE TABLE u (a int);\nALTER TABLE u ALTER a TYPE bigint, ADD c int DEFAULT random();", "ALTER TABLE t ADD c int GENERATED ALWAYS AS (a + 1) VIRTUAL;", none + "REFRESH MATERIALIZED VIEW CONCURRENTLY m;",
		},
	},
	controlplane.WarnScan: {
		[]string{
			"ALTER TABLE t ADD CHECK (a > 0);", "ALTER TABLE t ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES r (id);", "ALTER TABLE t ADD c int CHECK (c > 0);",
			"ALTER TABLE t ADD c int DEFAULT 1 REFERENCES r (id);", "ALTER TABLE t ADD c int DEFAULT NULL REFERENCES r;",
		},
		[]string{
			"ALTER TABLE t ADD CHECK (a > 0) NOT VALID;", "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES r NOT VALID;", "ALTER TABLE t ADD c int REFERENCES r;",
			"CREATE TABLE u (a int);\nALTER TABLE u ADD CHECK (a > 0);", "CREATE TABLE u (a int CHECK (a > 0) REFERENCES r);",
		},
	},
	controlplane.WarnValidate: {
		[]string{"ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID;\nALTER TABLE t VALIDATE CONSTRAINT c;", "ALTER TABLE t ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES r NOT VALID;\nALTER TABLE t VALIDATE CONSTRAINT c;"},
		[]string{"ALTER TABLE t VALIDATE CONSTRAINT c;", "ALTER TABLE t VALIDATE CONSTRAINT old;", none + "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID;\nALTER TABLE t VALIDATE CONSTRAINT c;"},
	},
	controlplane.WarnSetNotNull: {
		[]string{"ALTER TABLE t ALTER a SET NOT NULL;", "UPDATE t SET a = 0 WHERE a IS NULL;\nALTER TABLE t ALTER COLUMN a SET NOT NULL;"},
		[]string{"ALTER TABLE t ALTER a DROP NOT NULL;", "CREATE TABLE u (a int);\nALTER TABLE u ALTER a SET NOT NULL;",
			none + "ALTER TABLE t ADD CONSTRAINT c CHECK (a IS NOT NULL) NOT VALID;\nALTER TABLE t VALIDATE CONSTRAINT c;\nALTER TABLE t ALTER a SET NOT NULL;"},
	},
	controlplane.WarnUniqueLocks: {
		[]string{"ALTER TABLE t ADD UNIQUE (a);", "ALTER TABLE t ADD CONSTRAINT c PRIMARY KEY (id);", "ALTER TABLE t ADD EXCLUDE (a WITH =);", "ALTER TABLE t ADD c int UNIQUE;"},
		[]string{"ALTER TABLE t ADD CONSTRAINT c UNIQUE USING INDEX i;", "ALTER TABLE t ADD CONSTRAINT c PRIMARY KEY USING INDEX k;", "CREATE TABLE u (a int);\nALTER TABLE u ADD UNIQUE (a);"},
	},
	controlplane.WarnUniqueRows: {
		[]string{none + "CREATE UNIQUE INDEX CONCURRENTLY i ON t (a);", "ALTER TABLE t ADD UNIQUE (a, b);", "CREATE UNIQUE INDEX i ON t (lower(b));", "ALTER TABLE t ADD c int DEFAULT 1;\nCREATE UNIQUE INDEX i ON t (a, c);"},
		[]string{"CREATE INDEX i ON t (a);", "ALTER TABLE t ADD c int;\nALTER TABLE t ADD UNIQUE (a, c);", "CREATE TABLE u (a int);\nCREATE UNIQUE INDEX i ON u (a);"},
	},
	controlplane.WarnNotNullNoDefault: {
		[]string{"ALTER TABLE t ADD c int NOT NULL;", "ALTER TABLE t ADD COLUMN IF NOT EXISTS c int NOT NULL DEFAULT NULL;", "ALTER TABLE t ADD c int NOT NULL, ADD d int;", "ALTER TABLE t ADD c int PRIMARY KEY;"},
		[]string{"ALTER TABLE t ADD c int NOT NULL DEFAULT 0;", "ALTER TABLE t ADD c int CHECK (c IS NOT NULL);", "ALTER TABLE t ADD c bigserial NOT NULL;", "ALTER TABLE t ADD c int NOT NULL GENERATED ALWAYS AS IDENTITY;",
			"CREATE TABLE u (a int);\nALTER TABLE u ADD c int NOT NULL;"},
	},
	controlplane.WarnNotNullRows: {
		[]string{"ALTER TABLE t ALTER a SET NOT NULL;", "UPDATE t SET b = '' WHERE b IS NULL;\nALTER TABLE t ALTER a SET NOT NULL;"},
		[]string{"UPDATE t SET (b, a) = ('', 0) WHERE a IS NULL;\nALTER TABLE t ALTER a SET NOT NULL;", "ALTER TABLE t ADD c int DEFAULT 0;\nALTER TABLE t ALTER c SET NOT NULL;"},
	},
	controlplane.WarnRenameTable: {
		[]string{"ALTER TABLE t RENAME TO u;", "ALTER TABLE IF EXISTS t RENAME TO \"U\";"},
		[]string{"ALTER TABLE t RENAME TO u;\nCREATE VIEW t AS SELECT * FROM u;", "CREATE TABLE u (a int);\nALTER TABLE u RENAME TO w;", "ALTER INDEX i RENAME TO j;"},
	},
	controlplane.WarnRenameColumn: {
		[]string{"ALTER TABLE t RENAME COLUMN a TO c;", "ALTER TABLE t RENAME a TO c;"},
		[]string{"ALTER TABLE t RENAME CONSTRAINT a TO c;", "ALTER TABLE t RENAME a TO c;\nALTER TABLE t ADD a int GENERATED ALWAYS AS (c) STORED;", "ALTER TABLE t ADD c int;\nALTER TABLE t RENAME c TO d;"},
	},
	controlplane.WarnDropSchema: {
		[]string{"DROP SCHEMA x;", "DROP SCHEMA IF EXISTS x CASCADE;"},
		[]string{"CREATE SCHEMA x;", "SELECT 'DROP SCHEMA x';"},
	},
	controlplane.WarnDropTable: {
		[]string{"DROP TABLE t;", "CREATE TABLE u (a int);\nDROP TABLE u, t CASCADE;"},
		[]string{"CREATE TABLE u (a int);\nDROP TABLE u;", "DROP TRIGGER x ON t;"},
	},
	controlplane.WarnDropColumn: {
		[]string{"ALTER TABLE t DROP COLUMN a;", "ALTER TABLE t DROP IF EXISTS a CASCADE;", "ALTER TABLE t ADD c int, DROP a;"},
		[]string{"ALTER TABLE t DROP CONSTRAINT c;", "ALTER TABLE t ADD c int;\nALTER TABLE t DROP c;", "ALTER TABLE t ALTER a DROP DEFAULT;"},
	},
	controlplane.WarnDropObject: {
		[]string{"DROP VIEW v;", "DROP FUNCTION f(int, text);", "DROP TYPE IF EXISTS e;", "DROP MATERIALIZED VIEW m;"},
		[]string{"DROP VIEW v;\nCREATE VIEW v AS SELECT 2;", "CREATE TYPE g AS ENUM ('a');\nDROP TYPE g;", "DROP INDEX i;"},
	},
	controlplane.WarnDropConstraint: {
		[]string{"ALTER TABLE t DROP CONSTRAINT old;", "ALTER TABLE t DROP CONSTRAINT IF EXISTS old CASCADE;"},
		[]string{"ALTER TABLE t DROP CONSTRAINT old, ADD CONSTRAINT old CHECK (a > 1) NOT VALID;", "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 1) NOT VALID;\nALTER TABLE t DROP CONSTRAINT c;"},
	},
	controlplane.WarnDeleteAll: {
		[]string{"TRUNCATE t;", "TRUNCATE TABLE t CASCADE;", "DELETE FROM t;"},
		[]string{"DELETE FROM t WHERE a = 1;", "CREATE TABLE u (a int);\nTRUNCATE u;"},
	},
	controlplane.WarnAllRowsWithDDL: {
		[]string{"ALTER TABLE t ADD c int;\nUPDATE t SET c = a;", "UPDATE t SET a = (SELECT 1 WHERE true);\nCREATE INDEX i ON t (a);", "DELETE FROM t;\nDROP VIEW v;"},
		[]string{"UPDATE t SET a = 1;", "ALTER TABLE t ADD c int;\nUPDATE t SET c = a WHERE a > 0;", none + "ALTER TABLE t ADD c int;\nUPDATE t SET c = a;", "CREATE TABLE u AS SELECT 1 a;\nALTER TABLE t ADD c int;\nUPDATE u SET a = 2;"},
	},
	controlplane.WarnEnumValue: {
		[]string{"ALTER TYPE e ADD VALUE 'y';\nUPDATE t SET x = 'y' WHERE a = 1;", "ALTER TYPE e ADD VALUE IF NOT EXISTS 'y' AFTER 'x';\nALTER TABLE t ALTER x SET DEFAULT 'y';"},
		[]string{"ALTER TYPE e ADD VALUE 'y';\nALTER TYPE e ADD VALUE 'z' AFTER 'y';", "ALTER TYPE e ADD VALUE 'y';\nSELECT 'x';", "ALTER TYPE e ADD VALUE 'y';\nUPDATE t SET a = 1 WHERE x::text IN ('y');",
			"CREATE TYPE g AS ENUM ('a');\nALTER TYPE g ADD VALUE 'b';\nSELECT 'b';"},
	},
}
