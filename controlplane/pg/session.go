package pg

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
)

const (
	// endSessionsFor bounds the wait for sessions to end. A terminated backend
	// goes within milliseconds, unless the machine is out of breath.
	endSessionsFor = 30 * time.Second

	// startingWait bounds the wait for backends that are just logging in as
	// nobody knows whom: a client that stalls its log-in may take a minute, but
	// then finds the role closed.
	startingWait = time.Second
)

// SetLogins lets a home's logins in, or keeps them out. When it has refused
// them, no session of theirs is left and none that was logging in comes later.
func SetLogins(ctx context.Context, control *pgx.Conn, h Home, allowed bool) error {
	return retryVanished(ctx, func() error {
		existing, err := rolesOf(ctx, control, h.Schema, h.Logins[:]...)
		switch {
		case err != nil:
			return err
		case !allowed:
			return refuseLogins(ctx, control, existing)
		case len(existing) < len(h.Logins):
			return controlplane.Errorf(controlplane.NotFound, "allow the logins of home %s: not all of %s exist", h.Schema, strings.Join(h.Logins[:], ", "))
		}
		return alterEach(ctx, control, existing, "LOGIN")
	})
}

func alterEach(ctx context.Context, control *pgx.Conn, roles []string, option string) error {
	statements := make([]string, len(roles))
	for i, name := range roles {
		statements[i] = fmt.Sprintf("ALTER ROLE %s %s", Quote(name), option)
	}
	return fault(execAll(ctx, control, statements...), "set %s for %s", option, strings.Join(roles, ", "))
}

// refuseLogins closes roles and ends their sessions.
func refuseLogins(ctx context.Context, control *pgx.Conn, roles []string) error {
	if len(roles) == 0 {
		return nil
	}
	if err := alterEach(ctx, control, roles, "NOLOGIN"); err != nil {
		return err
	}
	return endSessions(ctx, control, roles)
}

// endSessions terminates the sessions of roles that may not log in any more,
// and returns when there are none left.
func endSessions(ctx context.Context, control *pgx.Conn, roles []string) error {
	began := time.Now()
	var suspects []int32 // were starting when we first looked: those that start later find the role closed
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		open, starting, err := lookAtSessions(ctx, control, roles)
		if err != nil {
			return struct{}{}, backoff.Permanent(err)
		}
		if suspects == nil {
			suspects = starting
		}
		suspects = slices.DeleteFunc(suspects, func(pid int32) bool { return !slices.Contains(starting, pid) })
		switch {
		case open > 0:
			if err := terminate(ctx, control, roles, ""); err != nil && !isConflict(err) {
				return struct{}{}, backoff.Permanent(err)
			}
		case len(suspects) == 0, time.Since(began) > startingWait:
			return struct{}{}, nil
		}
		return struct{}{}, controlplane.Errorf(controlplane.Unavailable, "end the sessions of %s: %d are still there", strings.Join(roles, ", "), open)
	}, backoff.WithBackOff(&backoff.ExponentialBackOff{InitialInterval: time.Millisecond, Multiplier: 2, MaxInterval: 100 * time.Millisecond}),
		backoff.WithMaxElapsedTime(endSessionsFor))
	return err
}

// lookAtSessions counts the sessions of roles, and returns the backends that
// are past their start and not yet shown with a role: one of them may have been
// let in just before the role was closed.
func lookAtSessions(ctx context.Context, control *pgx.Conn, roles []string) (open int, starting []int32, err error) {
	err = control.QueryRow(ctx, `
		SELECT (SELECT count(*) FROM pg_stat_activity WHERE usename = ANY($1)),
		       ARRAY(SELECT DISTINCT l.pid FROM pg_locks l WHERE l.locktype = 'virtualxid' AND NOT EXISTS (
		          SELECT FROM pg_stat_activity a
		          WHERE a.pid = l.pid AND (a.usesysid IS NOT NULL OR a.backend_type <> 'client backend')))`, roles).
		Scan(&open, &starting)
	return open, starting, fault(err, "count the sessions of %s", strings.Join(roles, ", "))
}

// terminate ends the sessions of roles, in one database or, if it is "", in any.
// That takes the rights of the role.
func terminate(ctx context.Context, control *pgx.Conn, roles []string, database string) error {
	err := pgx.BeginFunc(ctx, control, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, grantSelf(control, roles...)); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ANY($1) AND $2::text IN ('', datname)", roles, database)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, revokeSelf(roles...))
		return err
	})
	return fault(err, "end the sessions of %s", strings.Join(roles, ", "))
}

// disown drops what roles of ours own or may do in any database, since no role
// can be dropped before. connect opens those databases to the control login
// that are closed to it.
func disown(ctx context.Context, control *pgx.Conn, connect string, roles []string) error {
	rows, _ := control.Query(ctx, `
		SELECT DISTINCT d.datname::text, has_database_privilege(d.oid, 'CONNECT')
		FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid
		JOIN pg_database d ON d.oid = s.dbid OR s.dbid = 0 AND d.datname = current_database()
		WHERE s.refclassid = 'pg_authid'::regclass AND r.rolname = ANY($1)`, roles)
	type place struct {
		Database string
		Open     bool
	}
	places, err := pgx.CollectRows(rows, pgx.RowToStructByPos[place])
	if err != nil {
		return fault(err, "find what %s own", strings.Join(roles, ", "))
	}
	if slices.ContainsFunc(places, func(p place) bool { return !p.Open }) {
		if _, err := control.Exec(ctx, grantSelf(control, connect)); err != nil {
			return fault(err, "join %s", connect)
		}
		defer func() { _, _ = control.Exec(context.WithoutCancel(ctx), revokeSelf(connect)) }()
	}
	for _, p := range places {
		if err := dropOwned(ctx, control, p.Database, roles); err != nil {
			return fault(err, "drop what %s own in database %s", strings.Join(roles, ", "), p.Database)
		}
	}
	return nil
}

func dropOwned(ctx context.Context, control *pgx.Conn, database string, roles []string) error {
	config := control.Config()
	config.Database = database
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return ConnectError("", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return execAll(ctx, conn, grantSelf(conn, roles...), "DROP OWNED BY "+quoteList(roles), revokeSelf(roles...))
}
