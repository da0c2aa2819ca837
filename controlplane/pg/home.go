package pg

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
)

// Home is a tenant's schema, the roles that may use it, and its marker.
type Home struct {
	TenantID        string
	Slug            string
	Database        string
	Connect         string // group role of the database
	Schema          string
	Role            string    // rights role, NOLOGIN: DML in the home, nothing else
	Logins          [2]string // the tenant's, members of Role
	Verifiers       [2]string // SCRAM verifiers of the logins' passwords; "": leave the password alone
	ConnectionLimit int       // sessions per login at most; 0: no limit
	Marker                    // TenantID, Slug and Schema above win over the marker's
}

// marker is the row that the home has in schema manor.
func (h Home) marker() Marker {
	m := h.Marker
	m.TenantID, m.Slug, m.Schema = h.TenantID, h.Slug, h.Schema
	return m
}

func (h Home) checkNames() error {
	return checkNames(h.Database, h.Connect, h.Schema, h.Role, h.Logins[0], h.Logins[1])
}

// CreateRoles makes a home's roles, or brings them up to date: password,
// connection limit, memberships, search path. Its logins may log in afterwards.
func CreateRoles(ctx context.Context, control *pgx.Conn, h Home) error {
	if err := h.checkNames(); err != nil {
		return err
	}
	return Retry(ctx, func() error {
		existing, err := rolesOf(ctx, control, h.Schema, h.Role, h.Logins[0], h.Logins[1])
		if err != nil {
			return err
		}
		statements := []string{
			ensureRole(role{name: h.Role}, h.Schema, existing),
			fmt.Sprintf("GRANT %s TO %s", Quote(h.Connect), Quote(h.Role)),
		}
		for i, login := range h.Logins {
			statements = append(statements,
				ensureRole(role{name: login, login: true, verifier: h.Verifiers[i], limit: h.ConnectionLimit}, h.Schema, existing),
				fmt.Sprintf("GRANT %s TO %s", Quote(h.Role), Quote(login)),
				setPath(login, h.Database, h.Schema))
		}
		return fault(execAll(ctx, control, statements...), "make the roles of home %s", h.Schema)
	})
}

// setPath has a login find its home in a database.
func setPath(login, database, schema string) string {
	return fmt.Sprintf("ALTER ROLE %s IN DATABASE %s SET search_path = %s, %s", Quote(login), Quote(database), Quote(schema), extensionsSchema)
}

// CreateHome makes a home's schema with Atlas's revision table, what the rights
// role may do in it, and the marker: in one transaction.
func CreateHome(ctx context.Context, owner *pgx.Conn, h Home) error {
	if err := h.checkNames(); err != nil {
		return err
	}
	return Retry(ctx, func() error {
		err := pgx.BeginFunc(ctx, owner, func(tx pgx.Tx) error {
			if err := h.ensureSchema(ctx, tx); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, grants(h.Schema, h.Role)+"; REVOKE ALL ON "+Quote(h.Schema)+".atlas_schema_revisions FROM "+Quote(h.Role)); err != nil {
				return err
			}
			return writeMarker(ctx, tx, h.marker())
		})
		return fault(err, "make home %s in database %s", h.Schema, h.Database)
	})
}

func (h Home) ensureSchema(ctx context.Context, tx pgx.Tx) error {
	var exists, ours, revisions bool
	err := tx.QueryRow(ctx, `
		SELECT n.oid IS NOT NULL, coalesce(n.nspowner = current_user::regrole, true), to_regclass(quote_ident($1) || '.atlas_schema_revisions') IS NOT NULL
		FROM (SELECT) one LEFT JOIN pg_namespace n ON n.nspname = $1`, h.Schema).Scan(&exists, &ours, &revisions)
	switch {
	case err != nil:
		return err
	case !ours:
		return foreign("schema %s exists and has another owner", h.Schema)
	}
	if !exists {
		if _, err := tx.Exec(ctx, "CREATE SCHEMA "+Quote(h.Schema)); err != nil {
			return err
		}
	}
	if !revisions {
		_, err = tx.Exec(ctx, RevisionTable(h.Schema))
	}
	return err
}

// grants are what a rights role may do in a schema. The default privileges come
// before any table of the tenant's, which is cheaper than granting on each, and
// reach those of later migrations too.
func grants(schema, role string) string {
	return fmt.Sprintf(`
		GRANT USAGE ON SCHEMA %[1]s TO %[2]s;
		ALTER DEFAULT PRIVILEGES IN SCHEMA %[1]s GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %[2]s;
		ALTER DEFAULT PRIVILEGES IN SCHEMA %[1]s GRANT USAGE, SELECT ON SEQUENCES TO %[2]s`, Quote(schema), Quote(role))
}

// CreateSchema makes a schema in which a role may do what a rights role may in
// a home, so that their fingerprints compare. It is nobody's home.
func CreateSchema(ctx context.Context, owner *pgx.Conn, schema, role string) error {
	if err := checkNames(schema, role); err != nil {
		return err
	}
	_, err := owner.Exec(ctx, "CREATE SCHEMA "+Quote(schema)+"; "+grants(schema, role))
	return fault(err, "make schema %s", schema)
}

// DropHome drops a home's schema with everything in it, and its marker. It
// looks at the marker first, in the same transaction, and refuses a schema that
// another tenant, generation or catalog has, or that has no marker.
func DropHome(ctx context.Context, owner *pgx.Conn, h Home) error {
	if err := h.checkNames(); err != nil {
		return err
	}
	return Retry(ctx, func() error {
		err := pgx.BeginFunc(ctx, owner, func(tx pgx.Tx) error {
			exists, err := h.mayDrop(ctx, tx)
			if err != nil || !exists {
				return err
			}
			if _, err := tx.Exec(ctx, fmt.Sprintf("DROP SCHEMA IF EXISTS %s CASCADE", Quote(h.Schema))); err != nil {
				return err
			}
			return deleteMarker(ctx, tx, h.marker())
		})
		return fault(err, "drop home %s in database %s", h.Schema, h.Database)
	})
}

// mayDrop reports whether there is something to drop.
func (h Home) mayDrop(ctx context.Context, tx pgx.Tx) (bool, error) {
	var schema, markers bool
	err := tx.QueryRow(ctx, "SELECT to_regnamespace(quote_ident($1)) IS NOT NULL, to_regclass('manor.marker') IS NOT NULL", h.Schema).Scan(&schema, &markers)
	if err != nil {
		return false, err
	}
	found, err := Marker{}, pgx.ErrNoRows
	if markers {
		found, err = readMarker(ctx, tx, h.marker())
	}
	switch {
	case errors.Is(err, pgx.ErrNoRows) && schema:
		return false, controlplane.Errorf(controlplane.Refused, "schema %s has no marker: nothing says whose it is", h.Schema).
			WithHint("look at it, and drop it by hand if it is to go")
	case errors.Is(err, pgx.ErrNoRows):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, h.isAt(found)
}

// isAt refuses a marker that is not the home's.
func (h Home) isAt(found Marker) error {
	want := h.marker()
	switch {
	case found.sameHome(want):
		return nil
	case found.TenantID == want.TenantID && found.Incarnation != want.Incarnation:
		return controlplane.Errorf(controlplane.Refused, "tenant %s belongs to another catalog: the marker of its home says %s, and this one is %s",
			want.Slug, found.Incarnation, want.Incarnation).
			WithHint("work on it with that catalog; `manor catalog claim` takes the homes over, if this catalog is the right one")
	}
	return foreignMarker(want, found)
}

// CheckHome refuses a home that is another's by its marker: that of another
// tenant, generation or catalog. What has no marker is not made yet, or nothing
// says whose it is; that is no objection. It waits for nobody who is at work on
// the home, and keeps nobody from it.
func CheckHome(ctx context.Context, owner *pgx.Conn, h Home) error {
	var found Marker
	err := owner.QueryRow(ctx, `
		SELECT tenant_id, slug, schema, incarnation, generation, epoch FROM manor.marker
		WHERE tenant_id = $1 OR schema = $2 ORDER BY tenant_id <> $1 LIMIT 1`, h.TenantID, h.Schema).
		Scan(&found.TenantID, &found.Slug, &found.Schema, &found.Incarnation, &found.Generation, &found.Epoch)
	switch {
	case errors.Is(err, pgx.ErrNoRows), hasState(err, "42P01", "3F000"): // undefined_table, invalid_schema_name
		return nil
	case err != nil:
		return fault(err, "read the marker of %s", h.Schema)
	}
	return h.isAt(found)
}

// MayDrop locks the marker of a home until the transaction ends, and refuses to
// have it dropped where [DropHome] would.
func MayDrop(ctx context.Context, tx pgx.Tx, h Home) error {
	if err := h.checkNames(); err != nil {
		return err
	}
	_, err := h.mayDrop(ctx, tx)
	return fault(err, "drop home %s in database %s", h.Schema, h.Database)
}

// DropRoles drops a home's roles and ends their sessions. What is gone already
// is no error.
func DropRoles(ctx context.Context, control *pgx.Conn, h Home) error {
	if err := h.checkNames(); err != nil {
		return err
	}
	return dropRoles(ctx, control, h.Schema, h.Connect, h.Logins[0], h.Logins[1], h.Role)
}
