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

// Harden closes what a stock server leaves open to every login, as far as the
// control login may, and returns what is left for an administrator to do. Only
// the databases of initdb are closed; those of others are named.
func Harden(ctx context.Context, control *pgx.Conn) (skipped []string, err error) {
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
	return append(skipped, openFunctions), nil
}
