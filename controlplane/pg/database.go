package pg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
)

// extensionsSchema holds the allow-listed extensions of a database.
const extensionsSchema = "extensions"

// Database is a database that Manor makes: shared by homes, or one home's own.
type Database struct {
	Name          string
	Owner         string // owner login, Manor's way in
	Connect       string // group role that holds CONNECT; nobody else has it
	OwnerVerifier string // SCRAM verifier of the owner's password
	Extensions    []string
	Shared        bool
}

// databaseState is how far a database came.
type databaseState int

const (
	absent  databaseState = iota
	begun                 // empty, closed to everybody, not yet its owner's
	made                  // as CreateDatabase leaves it
	doomed                // taken from its owner, closed for good: DropDatabase did not come to its end
	invalid               // DROP DATABASE itself was interrupted; it can only be dropped
)

// state tells whether the database is ours, and how far it came. What CreateDatabase begins
// belongs to the control login and takes no connections; what DropDatabase has
// doomed has, besides, a connection limit of 0, since it is full of old data and
// must not pass for a new one.
func (d Database) state(ctx context.Context, control *pgx.Conn) (databaseState, error) {
	var owner string
	var mine, open bool
	var limit int
	err := control.QueryRow(ctx, `
		SELECT r.rolname::text, r.rolname = current_user, d.datallowconn, d.datconnlimit
		FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE d.datname = $1`, d.Name).Scan(&owner, &mine, &open, &limit)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return absent, nil
	case err != nil:
		return absent, fault(err, "look for database %s", d.Name)
	case limit == -2 && (mine || owner == d.Owner):
		return invalid, nil
	case owner == d.Owner:
		return made, nil
	case mine && !open && limit == 0:
		return doomed, nil
	case mine && !open:
		return begun, nil
	}
	return absent, foreign("database %s exists and is owned by %s", d.Name, owner)
}

// CreateDatabase makes a database and its roles, however far an earlier attempt
// came. Nobody but the owner and the members of the group role can connect to
// it, at no time. It returns [ErrForeign] when somebody else has the name.
func CreateDatabase(ctx context.Context, control *pgx.Conn, d Database) error {
	if err := checkNames(d.Name, d.Owner, d.Connect); err != nil {
		return err
	}
	return Retry(ctx, func() error {
		state, err := d.state(ctx, control)
		switch {
		case err != nil:
			return err
		case state == doomed || state == invalid:
			return foreign("database %s is being dropped", d.Name)
		}
		if err := d.ensureRoles(ctx, control); err != nil {
			return err
		}
		if state == absent {
			// Copied from template0: template1 may hold what an administrator left there. WAL_LOG forces no checkpoint.
			_, err := control.Exec(ctx, fmt.Sprintf("CREATE DATABASE %s TEMPLATE template0 STRATEGY wal_log ALLOW_CONNECTIONS false", Quote(d.Name)))
			if err != nil {
				return fault(err, "create database %s", d.Name)
			}
		}
		if state == made {
			return nil
		}
		return d.open(ctx, control)
	})
}

func (d Database) ensureRoles(ctx context.Context, control *pgx.Conn) error {
	existing, err := rolesOf(ctx, control, d.Owner, d.Owner, d.Connect)
	if err != nil {
		return err
	}
	err = execAll(ctx, control,
		ensureRole(role{name: d.Owner, login: true, verifier: d.OwnerVerifier}, d.Owner, existing),
		ensureRole(role{name: d.Connect}, d.Owner, existing))
	return fault(err, "make the roles of database %s", d.Name)
}

// open closes a new database to PUBLIC, which a new database is open to, hands
// it to its owner and lets connections in: in one transaction.
func (d Database) open(ctx context.Context, control *pgx.Conn) error {
	name := Quote(d.Name)
	err := execAll(ctx, control,
		fmt.Sprintf("REVOKE ALL ON DATABASE %s FROM PUBLIC", name),
		fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %s", name, Quote(d.Connect)),
		fmt.Sprintf("ALTER DATABASE %s ALLOW_CONNECTIONS true", name),
		grantSelf(control, d.Owner),
		fmt.Sprintf("ALTER DATABASE %s OWNER TO %s", name, Quote(d.Owner)),
		revokeSelf(d.Owner))
	if hasState(err, "42501") { // it is not the control login's any more: whose then?
		if state, stateErr := d.state(ctx, control); stateErr != nil || state == made {
			return stateErr
		}
	}
	return fault(err, "open database %s", d.Name)
}

// FurnishDatabase prepares a database for homes: closes schema public, installs
// the extensions into a schema of their own, and the markers.
func FurnishDatabase(ctx context.Context, owner *pgx.Conn, d Database) error {
	err := Retry(ctx, func() error {
		return execAll(ctx, owner,
			"REVOKE ALL ON SCHEMA public FROM PUBLIC",
			"CREATE SCHEMA IF NOT EXISTS "+extensionsSchema,
			"GRANT USAGE ON SCHEMA "+extensionsSchema+" TO PUBLIC")
	})
	if err != nil {
		return fault(err, "prepare the schemas of database %s", d.Name)
	}
	for _, name := range d.Extensions {
		if err := installExtension(ctx, owner, d.Name, name); err != nil {
			return err
		}
	}
	return Retry(ctx, func() error { return fault(installMarker(ctx, owner), "install the markers of database %s", d.Name) })
}

func installExtension(ctx context.Context, owner *pgx.Conn, database, name string) error {
	err := Retry(ctx, func() error {
		_, err := owner.Exec(ctx, fmt.Sprintf("CREATE EXTENSION IF NOT EXISTS %s SCHEMA %s", Quote(name), extensionsSchema))
		return err
	})
	switch {
	case hasState(err, "0A000", "58P01"):
		return controlplane.Errorf(controlplane.Refused, "install extension %s in database %s: the server does not have it: %w", name, database, err).
			WithHint("install the server's package with it, or take it off the cluster's list")
	case hasState(err, "42501"):
		return controlplane.Errorf(controlplane.Refused, "install extension %s in database %s: only a superuser may: %w", name, database, err).
			WithHint("only trusted extensions can be on the cluster's list")
	}
	return fault(err, "install extension %s in database %s", name, database)
}

// DropDatabase drops a database with everything in it, ends its sessions, and
// drops its roles. What is gone already is no error.
func DropDatabase(ctx context.Context, control *pgx.Conn, d Database) error {
	return d.dropFrom(ctx, control, made)
}

// DropUnlessMade is DropDatabase of what was never made or has been closed by
// [CloseDatabase]. What somebody made meanwhile, or made again, is refused.
func DropUnlessMade(ctx context.Context, control *pgx.Conn, d Database) error {
	return d.dropFrom(ctx, control, begun)
}

// dropFrom drops a database that came no further than most, or is being dropped,
// and its roles.
func (d Database) dropFrom(ctx context.Context, control *pgx.Conn, most databaseState) error {
	if err := checkNames(d.Name, d.Owner, d.Connect); err != nil {
		return err
	}
	if err := d.dropAlone(ctx, control, most); err != nil {
		return err
	}
	return dropRoles(ctx, control, d.Owner, d.Connect, d.Owner, d.Connect)
}

// dropAlone is dropFrom that leaves the roles.
func (d Database) dropAlone(ctx context.Context, control *pgx.Conn, most databaseState) error {
	return retryVanished(ctx, func() error {
		state, err := d.state(ctx, control)
		switch {
		case err != nil || state == absent:
			return err
		case state == made && most != made:
			return controlplane.Errorf(controlplane.Conflict, "drop database %s: somebody made it meanwhile", d.Name).WithHint("try again")
		}
		if err := d.doom(ctx, control, state); err != nil {
			return err
		}
		if err := d.endSessions(ctx, control); err != nil {
			return err
		}
		return d.drop(ctx, control)
	})
}

// doom closes a database for good and takes it from its owner, so that the
// control login can drop it outside a transaction without being a member of
// the owner's role.
func (d Database) doom(ctx context.Context, control *pgx.Conn, state databaseState) error {
	name := Quote(d.Name)
	closing := fmt.Sprintf("ALTER DATABASE %s ALLOW_CONNECTIONS false CONNECTION LIMIT 0 IS_TEMPLATE false", name) // a copy of it may have been under way
	taking := fmt.Sprintf("ALTER DATABASE %s OWNER TO CURRENT_USER", name)
	var err error
	switch state {
	case made:
		err = execAll(ctx, control, grantSelf(control, d.Owner), closing, taking, revokeSelf(d.Owner))
	case begun:
		err = execAll(ctx, control, closing)
	case invalid: // cannot be altered but for its owner, who may be the control login already
		if existing, lookErr := rolesOf(ctx, control, d.Owner, d.Owner); lookErr != nil || len(existing) == 0 {
			return lookErr
		}
		err = execAll(ctx, control, grantSelf(control, d.Owner), taking, revokeSelf(d.Owner))
	}
	return fault(err, "close database %s", d.Name)
}

// endSessions ends the sessions of our own roles in the database; DROP DATABASE
// could not, without their rights.
func (d Database) endSessions(ctx context.Context, control *pgx.Conn) error {
	rows, _ := control.Query(ctx, `
		SELECT DISTINCT r.rolname::text FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
		WHERE a.datname = $1 AND starts_with(shobj_description(r.oid, 'pg_authid'), $2)`, d.Name, tag(""))
	roles, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(roles) == 0 {
		return fault(err, "look for sessions in database %s", d.Name)
	}
	return terminate(ctx, control, slices.Sorted(slices.Values(roles)), d.Name)
}

// drop ends what sessions it may. Where there are others, which can be an
// autovacuum worker, PostgreSQL refuses FORCE; without it, it sends workers away
// and waits some seconds for the rest.
func (d Database) drop(ctx context.Context, control *pgx.Conn) error {
	statement := fmt.Sprintf("DROP DATABASE IF EXISTS %s", Quote(d.Name))
	_, err := control.Exec(ctx, statement+" WITH (FORCE)")
	if hasState(err, "42501") {
		_, err = control.Exec(ctx, statement)
	}
	if hasState(err, "55006") {
		return d.inUse(ctx, control, "drop", err)
	}
	return fault(err, "drop database %s", d.Name)
}

// inUse names those whose sessions keep a database from being dropped, copied or
// replaced.
func (d Database) inUse(ctx context.Context, control *pgx.Conn, verb string, cause error) error {
	rows, _ := control.Query(ctx, "SELECT DISTINCT coalesce(usename::text, backend_type) FROM pg_stat_activity WHERE datname = $1", d.Name)
	users, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(users) == 0 {
		return fault(cause, "%s database %s", verb, d.Name)
	}
	return controlplane.Errorf(controlplane.Unavailable, "%s database %s: sessions of %s are in it: %w", verb, d.Name, strings.Join(users, ", "), cause).
		WithHint("end them and try again")
}
