package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
)

// settingPlace is the setting that says where the catalog lives. A copy that
// was restored or cloned into another database has it too, and so knows that it
// is one: its tenants belong to the catalog that it was copied from.
//
// A standby that took over is in the same place. So is a physical copy of the
// whole server, which nobody can tell from one: who makes a catalog of its own
// out of such a copy has to claim it unasked.
const settingPlace = "place"

// place is a database: the server's system identifier, which standbys share and
// no other server has, and the database's oid there.
type place struct{ server, database string }

func (p place) String() string { return p.server + "/" + p.database }

func parsePlace(s string) place {
	server, database, _ := strings.Cut(s, "/")
	return place{server, database}
}

// same compares what is known of both: some managed services hide the identifier.
func (p place) same(other place) bool {
	return p.database == other.database && (p.server == other.server || p.server == "" || other.server == "")
}

// oneTrip asks without preparing: a connection is looked at once.
const oneTrip = pgx.QueryExecModeSimpleProtocol

// here is where a connection leads.
func here(ctx context.Context, conn *pgx.Conn) (p place, err error) {
	err = conn.QueryRow(ctx, `SELECT oid::text FROM pg_database WHERE datname = current_database()`, oneTrip).Scan(&p.database)
	if err != nil {
		return p, err
	}
	err = conn.QueryRow(ctx, `SELECT system_identifier::text FROM pg_control_system()`, oneTrip).Scan(&p.server)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && (pg.Code == "42501" || pg.Code == "0A000" || pg.Code == "42883") {
		err = nil // hidden
	}
	return p, err
}

// recorded is where the catalog says that it lives; nil before it was migrated
// by a program that knows of places.
func recorded(ctx context.Context, conn *pgx.Conn) (*place, error) {
	var migrated bool
	err := conn.QueryRow(ctx, `SELECT to_regclass('`+schemaName+`.settings') IS NOT NULL`, oneTrip).Scan(&migrated)
	if err != nil || !migrated {
		return nil, err
	}
	var value string
	err = conn.QueryRow(ctx, `SELECT value FROM settings WHERE key = '`+settingPlace+`'`, oneTrip).Scan(&value)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	p := parsePlace(value)
	return &p, err
}

// watch looks where each new connection leads and keeps those to a copy from
// writing: also when a running process is led to one, by a name that changed
// its address for one.
type watch struct {
	trusted bool // Config.Copy
	copied  atomic.Bool
}

func (w *watch) connected(ctx context.Context, conn *pgx.Conn) error {
	known, err := recorded(ctx, conn)
	if err != nil || known == nil {
		return err
	}
	now, err := here(ctx, conn)
	if err != nil {
		return err
	}
	w.copied.Store(!now.same(*known))
	if w.trusted || now.same(*known) {
		return nil
	}
	_, err = conn.Exec(ctx, "SET default_transaction_read_only = on")
	return err
}

// CheckPlace refuses a copy that was not claimed. It can be read.
func (c *Catalog) CheckPlace(ctx context.Context) error {
	if err := c.pool.Ping(ctx); err != nil { // there is a connection, and it was looked at
		return c.Explain(err)
	}
	if c.watch.copied.Load() {
		return c.isCopy(nil)
	}
	return nil
}

func (c *Catalog) isCopy(cause error) error {
	return &controlplane.Error{
		Code: controlplane.Refused, Cause: cause,
		Message: "the catalog, " + c.where() + ", is a copy: its tenants belong to the catalog that it was copied from",
		Hint:    "`manor catalog claim` takes them over, and locks the other catalog out",
	}
}

// Place is where the catalog is now.
func (c *Catalog) Place(ctx context.Context) (string, error) {
	conn, err := c.pool.Acquire(ctx)
	if err != nil {
		return "", c.Explain(err)
	}
	defer conn.Release()
	now, err := here(ctx, conn.Conn())
	if err != nil {
		return "", c.Explain(fmt.Errorf("finding out where the catalog is: %w", err))
	}
	return now.String(), nil
}

// settle records where the catalog lives, unless it says so already: a copy
// stays one.
func (c *Catalog) settle(ctx context.Context) error {
	now, err := c.Place(ctx)
	if err != nil {
		return err
	}
	return c.keep(ctx, settingPlace, now)
}
