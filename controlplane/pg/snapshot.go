package pg

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
)

// Copy is a copy of a home's own database, by which that can be put back.
// PostgreSQL itself says how far either came:
//
//	the database takes no connections, and may be a template   a copy is being taken
//	Name is there, and the control login's                      it was taken
//	Name is there, and the owner's                              it is about to take the database's place
//	Replaced is there                                           it has
type Copy struct {
	Of       Database
	Name     string
	Replaced string // what the database is called once the copy has taken its place
}

func (c Copy) checkNames() error {
	return checkNames(c.Of.Name, c.Of.Owner, c.Of.Connect, c.Name, c.Replaced)
}

// copied is the copy as a database.
func (c Copy) copied() Database { return c.named(c.Name) }

func (c Copy) named(name string) Database {
	return Database{Name: name, Owner: c.Of.Owner, Connect: c.Of.Connect}
}

// TakeCopy copies a database, unless that was done, and lets nobody into it
// meanwhile: PostgreSQL copies no database that somebody is in. Whoever was in
// it is thrown out. Should it fail, [Reopen] is due.
func TakeCopy(ctx context.Context, control *pgx.Conn, c Copy, within time.Duration) error {
	if err := c.checkNames(); err != nil {
		return err
	}
	state, err := c.copied().state(ctx, control)
	if err != nil {
		return err
	}
	if state == absent {
		if err := c.copy(ctx, control, within); err != nil {
			return err
		}
	}
	return Reopen(ctx, control, c.Of)
}

// copy makes the copy. That the database is a template for as long lets the
// control login copy what it does not own: outside of a transaction it cannot be
// a member of the owner without a crash leaving it one.
func (c Copy) copy(ctx context.Context, control *pgx.Conn, within time.Duration) error {
	if err := c.Of.shut(ctx, control, true); err != nil {
		return err
	}
	if err := Retry(ctx, func() error { return c.Of.endSessions(ctx, control) }); err != nil {
		return err
	}
	if _, err := control.Exec(ctx, fmt.Sprintf("SET statement_timeout = %d", within.Milliseconds())); err != nil {
		return fault(err, "copy database %s", c.Of.Name)
	}
	defer func() { _, _ = control.Exec(context.WithoutCancel(ctx), "RESET statement_timeout") }()
	// WAL_LOG forces no checkpoint.
	_, err := control.Exec(ctx, fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s STRATEGY wal_log ALLOW_CONNECTIONS false", Quote(c.Name), Quote(c.Of.Name)))
	switch {
	case hasState(err, "42P04"): // duplicate_database: one that was taken for dead has come to its end
		return nil
	case hasState(err, "55006"):
		return c.Of.inUse(ctx, control, "copy", err)
	case hasState(err, "57014"):
		return controlplane.Errorf(controlplane.Refused, "copy database %s: it takes longer than %s: %w", c.Of.Name, within, err).
			WithHint("give it longer: snapshot.timeout in the strategy")
	}
	return fault(err, "copy database %s", c.Of.Name)
}

// shut lets nobody in any more.
func (d Database) shut(ctx context.Context, control *pgx.Conn, template bool) error {
	err := Retry(ctx, func() error {
		return execAll(ctx, control, grantSelf(control, d.Owner),
			fmt.Sprintf("ALTER DATABASE %s ALLOW_CONNECTIONS false IS_TEMPLATE %t", Quote(d.Name), template), revokeSelf(d.Owner))
	})
	return fault(err, "close database %s", d.Name)
}

// Reopen lets connections into a database again that a copy, or putting one
// back, has left closed. One that is not there, not made yet or being dropped
// is left as it is.
func Reopen(ctx context.Context, control *pgx.Conn, d Database) error {
	return retryVanished(ctx, func() error {
		var shut bool
		err := control.QueryRow(ctx, `
			SELECT count(*) > 0 FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba
			WHERE d.datname = $1 AND r.rolname = $2 AND d.datconnlimit <> -2 AND (NOT d.datallowconn OR d.datistemplate)`, d.Name, d.Owner).Scan(&shut)
		if err == nil && shut {
			err = execAll(ctx, control, grantSelf(control, d.Owner),
				fmt.Sprintf("ALTER DATABASE %s ALLOW_CONNECTIONS true IS_TEMPLATE false", Quote(d.Name)), revokeSelf(d.Owner))
		}
		return fault(err, "open database %s", d.Name)
	})
}

// OpenCopy makes a copy ready to take the place of its database: it becomes the
// owner's, who alone may connect to it, and gets what a copy lacks since that
// hangs on the database and not on what is in it. Where the copy has taken that
// place already, there is nothing to open.
func OpenCopy(ctx context.Context, control *pgx.Conn, c Copy, h Home) (opened bool, err error) {
	if err := c.checkNames(); err != nil {
		return false, err
	}
	err = Retry(ctx, func() error {
		state, err := c.copied().state(ctx, control)
		switch {
		case err != nil:
			return err
		case state == begun:
			opened = true
			return fault(c.handOver(ctx, control, h), "open the copy %s of database %s", c.Name, c.Of.Name)
		case state == made:
			opened = true
			return Reopen(ctx, control, c.copied())
		case state != absent:
			return foreign("the copy %s of database %s is being dropped", c.Name, c.Of.Name)
		}
		opened = false
		return c.proveReplaced(ctx, control)
	})
	return opened, err
}

func (c Copy) handOver(ctx context.Context, control *pgx.Conn, h Home) error {
	name := Quote(c.Name)
	statements := []string{fmt.Sprintf("REVOKE ALL ON DATABASE %s FROM PUBLIC", name)}
	for _, login := range h.Logins {
		statements = append(statements, setPath(login, c.Name, h.Schema))
	}
	return execAll(ctx, control, append(statements,
		fmt.Sprintf("ALTER DATABASE %s ALLOW_CONNECTIONS true", name),
		grantSelf(control, c.Of.Owner),
		fmt.Sprintf("ALTER DATABASE %s OWNER TO %s", name, Quote(c.Of.Owner)),
		revokeSelf(c.Of.Owner))...)
}

// proveReplaced refuses a copy that is not there, though it has not taken the
// place of its database either.
func (c Copy) proveReplaced(ctx context.Context, control *pgx.Conn) error {
	state, err := c.named(c.Replaced).state(ctx, control)
	if err == nil && state == absent {
		err = controlplane.Errorf(controlplane.Refused, "the copy %s of database %s is gone", c.Name, c.Of.Name).
			WithHint("somebody dropped it, or put it back before; without it there is only the way back by the down files")
	}
	return err
}

// PutBack puts a copy that [OpenCopy] has opened in the place of its database,
// in one transaction; both are closed before. What was the database is then
// doomed, and for [DropCopy] to drop. Should it fail, [Reopen] is due.
func PutBack(ctx context.Context, control *pgx.Conn, c Copy) error {
	if err := c.checkNames(); err != nil {
		return err
	}
	for _, d := range []Database{c.copied(), c.Of} {
		if err := d.shut(ctx, control, false); err != nil {
			return err
		}
		if err := Retry(ctx, func() error { return d.endSessions(ctx, control) }); err != nil {
			return err
		}
	}
	live, replaced, copied := Quote(c.Of.Name), Quote(c.Replaced), Quote(c.Name)
	err := Retry(ctx, func() error {
		err := execAll(ctx, control, grantSelf(control, c.Of.Owner),
			fmt.Sprintf("ALTER DATABASE %s RENAME TO %s", live, replaced),
			fmt.Sprintf("ALTER DATABASE %s CONNECTION LIMIT 0", replaced),
			fmt.Sprintf("ALTER DATABASE %s OWNER TO CURRENT_USER", replaced),
			fmt.Sprintf("ALTER DATABASE %s RENAME TO %s", copied, live),
			fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %s", live, Quote(c.Of.Connect)),
			fmt.Sprintf("ALTER DATABASE %s ALLOW_CONNECTIONS true", live),
			revokeSelf(c.Of.Owner))
		if hasState(err, "55006") {
			return c.Of.inUse(ctx, control, "replace", err)
		}
		return err
	})
	return fault(err, "replace database %s by its copy %s", c.Of.Name, c.Name)
}

// CloseCopy closes a copy that [OpenCopy] opened and that is not to take the
// place of its database now, and reports whether it is there.
func CloseCopy(ctx context.Context, control *pgx.Conn, c Copy) (there bool, err error) {
	state, err := c.copied().state(ctx, control)
	if err == nil && state == made {
		err = c.copied().shut(ctx, control, false)
	}
	return state == begun || state == made, err
}

// DropCopy drops a copy, or the database whose place it took, with everything in
// it. What is gone already is no error.
func DropCopy(ctx context.Context, control *pgx.Conn, c Copy) error {
	if err := c.checkNames(); err != nil {
		return err
	}
	for _, name := range []string{c.Name, c.Replaced} {
		if err := c.named(name).dropAlone(ctx, control, made); err != nil {
			return err
		}
	}
	return nil
}

// WriteComment writes the stamp of a home on its database, as manor.stamp does.
func WriteComment(ctx context.Context, owner *pgx.Conn, tenantID string) error {
	var statement string
	err := owner.QueryRow(ctx, `
		SELECT format('COMMENT ON DATABASE %I IS %L', current_database(), json_build_object(
			'tenant', m.tenant_id, 'slug', m.slug, 'schema', m.schema, 'generation', m.generation,
			'epoch', m.epoch, 'incarnation', m.incarnation, 'version', m.version, 'release', m.release)::text)
		FROM manor.marker m WHERE m.tenant_id = $1`, tenantID).Scan(&statement)
	if err == nil {
		_, err = owner.Exec(ctx, statement)
	}
	return fault(err, "write the stamp on database %s", owner.Config().Database)
}

// sizesAtOnce bounds how many roles the control login joins at a time.
const sizesAtOnce = 200

// SizeOf is how many bytes databases take together. Who may ask that may
// connect: the control login may for as long as it asks.
func SizeOf(ctx context.Context, control *pgx.Conn, databases []Database) (bytes int64, err error) {
	for len(databases) > 0 {
		n := min(len(databases), sizesAtOnce)
		names, groups := make([]string, n), make([]string, n)
		for i, d := range databases[:n] {
			names[i], groups[i] = d.Name, d.Connect
		}
		if err := checkNames(append(names, groups...)...); err != nil {
			return 0, err
		}
		var size int64
		err := retryVanished(ctx, func() error {
			tx, err := control.Begin(ctx)
			if err != nil {
				return err
			}
			defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // nothing of it is to stay
			if _, err := tx.Exec(ctx, grantSelf(control, groups...)); err != nil {
				return err
			}
			return tx.QueryRow(ctx, "SELECT coalesce(sum(pg_database_size(oid)), 0)::bigint FROM pg_database WHERE datname = ANY($1)", names).Scan(&size)
		})
		if err != nil {
			return 0, fault(err, "ask for the size of %d databases", n)
		}
		bytes, databases = bytes+size, databases[n:]
	}
	return bytes, nil
}
