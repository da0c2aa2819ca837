package pg

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// role is a role that Manor makes.
type role struct {
	name     string
	login    bool
	verifier string // "": leave the password alone
	limit    int    // sessions at most; 0: no limit
}

// tag is the comment by which a role is known as ours and as that of one
// database or home. Tenants can read it, so it says nothing but opaque names.
func tag(of string) string { return "Manor: " + of }

// rolesOf returns which of the named roles exist. One without our tag is
// somebody else's and an error.
func rolesOf(ctx context.Context, conn *pgx.Conn, of string, names ...string) ([]string, error) {
	if err := checkNames(append(names, of)...); err != nil {
		return nil, err
	}
	rows, _ := conn.Query(ctx, `
		SELECT rolname::text, coalesce(shobj_description(oid, 'pg_authid'), '') = $2
		FROM pg_roles WHERE rolname = ANY($1) ORDER BY array_position($1, rolname::text)`, names, tag(of))
	var existing []string
	var name string
	var ours bool
	_, err := pgx.ForEachRow(rows, []any{&name, &ours}, func() error {
		if !ours {
			return foreign("role %s exists and is not marked as %q", name, tag(of))
		}
		existing = append(existing, name)
		return nil
	})
	if err != nil {
		return nil, fault(err, "look for the roles of %s", of)
	}
	return existing, nil
}

// ensureRole returns the statements that make a role, or bring it up to date.
func ensureRole(r role, of string, existing []string) string {
	options := "NOLOGIN"
	if r.login {
		limit := r.limit
		if limit == 0 {
			limit = -1
		}
		options = fmt.Sprintf("LOGIN CONNECTION LIMIT %d", limit)
	}
	if r.verifier != "" {
		options += " PASSWORD " + Literal(r.verifier)
	}
	if slices.Contains(existing, r.name) {
		return fmt.Sprintf("ALTER ROLE %s %s", Quote(r.name), options)
	}
	return fmt.Sprintf("CREATE ROLE %[1]s INHERIT %[2]s; COMMENT ON ROLE %[1]s IS %[3]s", Quote(r.name), options, Literal(tag(of)))
}

// execAll runs statements as one message, which is one transaction.
func execAll(ctx context.Context, conn *pgx.Conn, statements ...string) error {
	_, err := conn.Exec(ctx, strings.Join(statements, ";\n"))
	return err
}

// grantSelf makes the control login a member of roles it made, for the rest of
// a transaction that ends with revokeSelf: nobody else ever sees it a member,
// and no crash leaves it one. From PostgreSQL 16 on the maker of a role may
// administer it, but neither act as it nor use its rights.
func grantSelf(conn *pgx.Conn, roles ...string) string {
	statement := fmt.Sprintf("GRANT %s TO CURRENT_USER", quoteList(roles))
	if MajorVersion(conn) >= 16 {
		statement += " WITH INHERIT TRUE, SET TRUE"
	}
	return statement
}

func revokeSelf(roles ...string) string {
	return fmt.Sprintf("REVOKE %s FROM CURRENT_USER", quoteList(roles))
}

// MajorVersion is that of the server, as it said at the start of the session.
func MajorVersion(conn *pgx.Conn) int {
	var major int
	fmt.Sscanf(conn.PgConn().ParameterStatus("server_version"), "%d", &major)
	return major
}

// dropRoles ends the sessions of our roles and drops them. They may be gone.
func dropRoles(ctx context.Context, control *pgx.Conn, of, connect string, names ...string) error {
	return retryVanished(ctx, func() error {
		existing, err := rolesOf(ctx, control, of, names...)
		if err != nil || len(existing) == 0 {
			return err
		}
		if err := refuseLogins(ctx, control, existing); err != nil {
			return err
		}
		drop := "DROP ROLE IF EXISTS " + quoteList(existing) // another worker may be dropping them too
		_, err = control.Exec(ctx, drop)
		if hasState(err, "2BP01") { // dependent_objects_still_exist: a large object, for one
			if err := disown(ctx, control, connect, existing); err != nil {
				return err
			}
			_, err = control.Exec(ctx, drop)
		}
		return fault(err, "drop the roles of %s", of)
	})
}
