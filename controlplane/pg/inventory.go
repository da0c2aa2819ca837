package pg

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Patterns of the names that Manor gives (see [NewName]), for PostgreSQL's
// operator ~. What has such a name looks like Manor's, and may still be
// somebody else's.
const (
	homeName     = `^t_[a-z2-7]{16}$`
	databaseName = `^([tc]_[a-z2-7]{16}|s_[a-z2-7]{16}|manor_shared_[0-9]{3,})$`
	roleName     = `^(o_[a-z2-7]{16}(_connect)?|t_[a-z2-7]{16}_(app|a|b))$`
)

// FoundDatabase is a database of a cluster whose name looks like Manor's.
type FoundDatabase struct {
	Name            string
	Owner           string
	Ours            bool // the owner is a role that Manor made, or the control login
	Shared          bool // by its name: manor_shared_NNN
	Scratch         bool // by its name: for a rehearsal
	Open            bool // takes connections
	ConnectionLimit int  // -1: none; -2: DROP DATABASE was interrupted
}

// FindDatabases lists the databases of a cluster that look like Manor's, by name.
func FindDatabases(ctx context.Context, control *pgx.Conn) ([]FoundDatabase, error) {
	rows, _ := control.Query(ctx, `
		SELECT d.datname::text, r.rolname::text,
		       r.rolname = current_user OR starts_with(coalesce(shobj_description(r.oid, 'pg_authid'), ''), $2),
		       d.datname ~ '^manor_shared_', d.datname ~ '^s_', d.datallowconn, d.datconnlimit
		FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE d.datname ~ $1 ORDER BY 1`, databaseName, tag(""))
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[FoundDatabase])
	return found, fault(err, "look for Manor's databases")
}

// FoundRole is a role of a cluster whose name looks like Manor's.
type FoundRole struct {
	Name            string
	Of              string // the database's owner or the home that it was made for, by its comment; "": the comment is not Manor's
	Login           bool
	ConnectionLimit int // -1: none
}

// FindRoles lists the roles of a cluster that look like Manor's, by name.
func FindRoles(ctx context.Context, control *pgx.Conn) ([]FoundRole, error) {
	rows, _ := control.Query(ctx, `
		SELECT r.rolname::text, CASE WHEN starts_with(s.description, $2) THEN substr(s.description, length($2) + 1) ELSE '' END,
		       r.rolcanlogin, r.rolconnlimit
		FROM pg_roles r LEFT JOIN pg_shdescription s ON s.objoid = r.oid AND s.classoid = 'pg_authid'::regclass
		WHERE r.rolname ~ $1 ORDER BY 1`, roleName, tag(""))
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[FoundRole])
	return found, fault(err, "look for Manor's roles")
}

// FoundSchema is a schema whose name looks like that of a home.
type FoundSchema struct {
	Name  string
	Owner string
	Ours  bool // the owner is the login that asks
}

// FindSchemas lists the schemas of the owner's database that look like homes,
// by name.
func FindSchemas(ctx context.Context, owner *pgx.Conn) ([]FoundSchema, error) {
	rows, _ := owner.Query(ctx, `
		SELECT n.nspname::text, r.rolname::text, r.rolname = current_user
		FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner WHERE n.nspname ~ $1 ORDER BY 1`, homeName)
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[FoundSchema])
	return found, fault(err, "look for homes in database %s", owner.Config().Database)
}

// InvalidIndex is an index of a home that answers no query: a concurrent build
// or drop of it did not come to its end.
type InvalidIndex struct {
	Schema string
	Index  string
	Table  string
	InWork bool // a session is building or dropping something on the table right now
}

// FindInvalidIndexes lists the invalid indexes of all homes in the owner's
// database. Partitioned indexes, which are invalid until each partition has its
// part, are left out.
func FindInvalidIndexes(ctx context.Context, owner *pgx.Conn) ([]InvalidIndex, error) {
	rows, _ := owner.Query(ctx, `
		SELECT n.nspname::text, c.relname::text, t.relname::text, EXISTS (
			SELECT FROM pg_locks l WHERE l.locktype = 'relation' AND l.relation = i.indrelid AND l.granted
				AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
				AND l.mode IN ('ShareUpdateExclusiveLock', 'AccessExclusiveLock'))
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
		JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE NOT i.indisvalid AND c.relkind = 'i' AND n.nspname ~ $1 ORDER BY 1, 2`, homeName)
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[InvalidIndex])
	return found, fault(err, "look for invalid indexes in database %s", owner.Config().Database)
}

// Revision is what a home's revision table says.
type Revision struct {
	Version string // the last one applied as a whole; "": none
	Partial string // one of which only some statements are applied; "": none
}

// revisionsAtOnce bounds how many tables one statement reads. Each costs two
// locks, of which a server has some thousands.
const revisionsAtOnce = 200

// ReadRevisions returns what the revision tables of all homes in the owner's
// database say, by schema. A home without such a table is left out.
func ReadRevisions(ctx context.Context, owner *pgx.Conn) (found map[string]Revision, err error) {
	err = Retry(ctx, func() error {
		rows, _ := owner.Query(ctx, `
			SELECT n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.relname = 'atlas_schema_revisions' AND c.relkind = 'r' AND n.nspname ~ $1 ORDER BY 1`, homeName)
		schemas, err := pgx.CollectRows(rows, pgx.RowTo[string])
		found = make(map[string]Revision, len(schemas))
		for part := range slices.Chunk(schemas, revisionsAtOnce) {
			if err == nil {
				err = readRevisions(ctx, owner, part, found)
			}
		}
		if hasState(err, "42P01", "3F000") { // undefined_table, invalid_schema_name
			return fmt.Errorf("%w: %w", err, errVanished)
		}
		return err
	})
	return found, fault(err, "read the revisions in database %s", owner.Config().Database)
}

// readRevisions adds what the tables of some homes say: one statement, which
// is of no use a second time and so is not prepared.
func readRevisions(ctx context.Context, owner *pgx.Conn, schemas []string, found map[string]Revision) error {
	parts := make([]string, len(schemas))
	for i, schema := range schemas {
		parts[i] = fmt.Sprintf(`SELECT %s, coalesce(max(version COLLATE "C") FILTER (WHERE applied = total), ''),
			coalesce(max(version COLLATE "C") FILTER (WHERE applied < total), '')
			FROM %s.atlas_schema_revisions WHERE version <> '.atlas_cloud_identifier'`, Literal(schema), Quote(schema))
	}
	rows, _ := owner.Query(ctx, strings.Join(parts, "\nUNION ALL "), pgx.QueryExecModeExec)
	var schema string
	var r Revision
	_, err := pgx.ForEachRow(rows, []any{&schema, &r.Version, &r.Partial}, func() error {
		found[schema] = r
		return nil
	})
	return err
}
