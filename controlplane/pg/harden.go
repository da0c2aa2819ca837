package pg

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// stockDatabases are those of initdb, which nobody but administrators needs.
var stockDatabases = []string{"postgres", "template1"}

// openFunctions are left to PUBLIC in each database: taking them away needs a
// superuser in each.
const openFunctions = "in each database, REVOKE EXECUTE ON the advisory-lock, pg_notify and large-object functions FROM PUBLIC"

// Harden closes what a stock server leaves open to every login and lets the
// control login see whom a migration waits for, as far as it may, and returns
// what is left for an administrator to do. Only the databases of initdb are
// closed; those of others are named.
func Harden(ctx context.Context, control *pgx.Conn) (skipped []string, err error) {
	if skipped, err = closeDatabases(ctx, control); err != nil {
		return nil, err
	}
	grant, err := seeSessions(ctx, control)
	if err != nil {
		return nil, err
	}
	return append(append(skipped, grant...), openFunctions), nil
}

func closeDatabases(ctx context.Context, control *pgx.Conn) (skipped []string, err error) {
	rows, _ := control.Query(ctx, `
		SELECT d.datname::text, pg_has_role(d.datdba, 'USAGE') FROM pg_database d
		WHERE d.datallowconn AND EXISTS (
			SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) x WHERE x.grantee = 0 AND x.privilege_type IN ('CONNECT', 'TEMPORARY'))
		ORDER BY 1`)
	type open struct {
		Name string
		Mine bool // to close
	}
	databases, err := pgx.CollectRows(rows, pgx.RowToStructByPos[open])
	if err != nil {
		return nil, fault(err, "look for databases that are open to every login")
	}
	for _, d := range databases {
		statement := fmt.Sprintf("REVOKE ALL ON DATABASE %s FROM PUBLIC", Quote(d.Name))
		if !d.Mine || !slices.Contains(stockDatabases, d.Name) {
			skipped = append(skipped, statement)
			continue
		}
		if err := Retry(ctx, func() error { return execAll(ctx, control, statement) }); err != nil {
			return nil, fault(err, "close database %s", d.Name)
		}
	}
	return skipped, nil
}

// seeSessions gives the control login the right to see the age and the query
// of all sessions. From PostgreSQL 16 on that takes the role's ADMIN option.
func seeSessions(ctx context.Context, control *pgx.Conn) (skipped []string, err error) {
	var sees bool
	if err := control.QueryRow(ctx, "SELECT pg_has_role('pg_read_all_stats', 'USAGE')").Scan(&sees); err != nil || sees {
		return nil, fault(err, "look at the control login's rights")
	}
	err = Retry(ctx, func() error { return execAll(ctx, control, "GRANT pg_read_all_stats TO CURRENT_USER") })
	if hasState(err, "42501") {
		return []string{"GRANT pg_read_all_stats TO " + Quote(control.Config().User)}, nil
	}
	return nil, fault(err, "let the control login see all sessions")
}
