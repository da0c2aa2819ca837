package pg

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
)

// Ties are what hangs on a role.
type Ties struct {
	Role     string
	Objects  int      // that it owns or has rights on, in any database
	MemberOf []string // roles
}

// ReadTies returns the ties of those of the roles that exist, by name.
func ReadTies(ctx context.Context, control *pgx.Conn, roles []string) (map[string]Ties, error) {
	rows, _ := control.Query(ctx, `
		SELECT r.rolname::text,
		       (SELECT count(*) FROM pg_shdepend s WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid
		           AND s.classid <> 'pg_auth_members'::regclass),
		       ARRAY(SELECT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid ORDER BY 1)
		FROM pg_roles r WHERE r.rolname = ANY($1)`, roles)
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Ties])
	ties := make(map[string]Ties, len(found))
	for _, t := range found {
		ties[t.Role] = t
	}
	return ties, fault(err, "read what hangs on roles")
}

// DropUnusedRoles drops roles that were made for one home or database, all of
// them or none. PostgreSQL refuses while one owns anything or has rights on
// anything, wherever that is: no data goes with them.
func DropUnusedRoles(ctx context.Context, control *pgx.Conn, of string, roles []string) error {
	existing, err := rolesOf(ctx, control, of, roles...)
	if err != nil || len(existing) == 0 {
		return err
	}
	_, err = control.Exec(ctx, "DROP ROLE IF EXISTS "+quoteList(existing))
	if hasState(err, "2BP01") { // dependent_objects_still_exist
		return controlplane.Errorf(controlplane.Refused, "drop %s: something still hangs on them: %w", strings.Join(existing, ", "), err)
	}
	return fault(err, "drop %s", strings.Join(existing, ", "))
}

// dropIndexWithin bounds each wait, of three, of dropping an index for the
// transactions that use its table. Nobody who reads or writes waits behind it, and
// the session that keeps the tenant meanwhile is not idle for too long.
const dropIndexWithin = 4 * time.Second

// DropInvalidIndex drops an index of a home that is invalid and that nobody is
// building, and nothing else. keeper is a second session of the owner: it keeps
// everybody else from working on the tenant meanwhile, or finds it busy.
func DropInvalidIndex(ctx context.Context, keeper, owner *pgx.Conn, tenantID string, i InvalidIndex) error {
	if err := checkNames(i.Schema); err != nil {
		return err
	}
	err := pgx.BeginFunc(ctx, keeper, func(tx pgx.Tx) error {
		if err := keep(ctx, tx, tenantID, i.Schema); err != nil {
			return err
		}
		found, err := FindInvalidIndexes(ctx, owner)
		if err != nil {
			return err
		}
		for _, f := range found {
			if f.Schema == i.Schema && f.Index == i.Index {
				return dropIndex(ctx, owner, f)
			}
		}
		return nil // somebody was faster
	})
	return fault(err, "drop the invalid index %s of home %s", i.Index, i.Schema)
}

// keep locks the home of a tenant, unless somebody works on it.
func keep(ctx context.Context, tx pgx.Tx, tenantID, schema string) error {
	var free bool
	err := tx.QueryRow(ctx, `
		SELECT NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = m.holder_pid AND a.backend_start = m.holder_start)
		FROM manor.marker m WHERE m.tenant_id = $1 AND m.schema = $2 FOR UPDATE OF m NOWAIT`, tenantID, schema).Scan(&free)
	if hasState(err, "55P03") || err == nil && !free {
		return controlplane.Errorf(controlplane.Conflict, "somebody works on the tenant")
	}
	return err
}

func dropIndex(ctx context.Context, owner *pgx.Conn, i InvalidIndex) error {
	if i.InWork {
		return controlplane.Errorf(controlplane.Conflict, "a session is at work on table %s", i.Table)
	}
	if _, err := owner.Exec(ctx, fmt.Sprintf("SET lock_timeout = %d", dropIndexWithin.Milliseconds())); err != nil {
		return err
	}
	defer func() { _, _ = owner.Exec(context.WithoutCancel(ctx), "RESET lock_timeout") }()
	_, err := owner.Exec(ctx, "DROP INDEX CONCURRENTLY IF EXISTS "+Quote(i.Schema)+"."+Quote(i.Index))
	return err
}
