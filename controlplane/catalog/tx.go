package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/internal/failpoint"
)

// entClient hides the embedded field's name.
type entClient = ent.Client

// Tx is a transaction on the catalog: an ent client whose every call is part
// of it. It offers no Commit: [Catalog.InTx] alone commits.
type Tx struct {
	*entClient
	conn *sql.Conn
}

// Client is the ent client of the transaction, for bricks that read inside and
// outside of one.
func (tx *Tx) Client() *ent.Client { return tx.entClient }

// Conn lends the pgx connection below, inside the transaction: for COPY,
// set-wise updates and jobs. No ent call may be made until f returns; it would
// wait for itself.
func (tx *Tx) Conn(f func(*pgx.Conn) error) error {
	return tx.conn.Raw(func(driverConn any) error { return f(driverConn.(*stdlib.Conn).Conn()) })
}

// NextEpoch draws a fencing epoch, greater than every one drawn before it, also
// of transactions that never committed.
func (tx *Tx) NextEpoch(ctx context.Context) (int64, error) {
	var epoch int64
	err := tx.Conn(func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT nextval('epoch')`).Scan(&epoch)
	})
	if err != nil {
		return 0, fmt.Errorf("drawing an epoch: %w", err)
	}
	return epoch, nil
}

// Now is the catalog's clock, by which all processes go.
func (tx *Tx) Now(ctx context.Context) (now time.Time, err error) {
	err = tx.Conn(func(conn *pgx.Conn) error { return conn.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&now) })
	if err != nil {
		return now, fmt.Errorf("asking the catalog for the time: %w", err)
	}
	return now, nil
}

// InTx runs f in one transaction, committed when f returns nil. f runs again
// after a deadlock or serialization failure, so it may have no effects outside
// the transaction; in particular it dials no cluster.
func (c *Catalog) InTx(ctx context.Context, f func(tx *Tx) error) error {
	place := failpoint.Caller()
	policy := backoff.NewExponentialBackOff()
	policy.InitialInterval, policy.MaxInterval = 5*time.Millisecond, 100*time.Millisecond
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := c.inTx(ctx, place, f)
		if err != nil && !nothingHappened(err) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(policy), backoff.WithMaxTries(8))
	return c.Explain(err)
}

func (c *Catalog) inTx(ctx context.Context, place failpoint.Place, f func(tx *Tx) error) (err error) {
	conn, err := c.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	client := ent.NewClient(ent.Driver(onConn{entsql.OpenDB(dialect.Postgres, c.db), conn}))
	etx, err := client.Tx(ctx)
	if err != nil {
		return err
	}
	done := false
	defer func() { // also when f panics
		if !done {
			err = errors.Join(err, notDone(etx.Rollback()))
		}
	}()
	if err := f(&Tx{etx.Client(), conn}); err != nil {
		return err
	}
	done = true
	place.Reach("commit")
	err = etx.Commit()
	place.Reach("committed")
	return err
}

// notDone drops the answer of a rollback that came after the transaction's
// end, which the context or a broken connection brought about.
func notDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// nothingHappened reports whether PostgreSQL took the whole transaction back
// for reasons that pass, or was never asked.
func nothingHappened(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return slices.Contains([]string{"40001", "40P01"}, pg.Code)
	}
	return false
}

// onConn is an ent driver bound to one connection, so that what is below ent in
// the transaction can be lent out by [Tx.Conn].
type onConn struct {
	*entsql.Driver
	conn *sql.Conn
}

func (d onConn) Tx(ctx context.Context) (dialect.Tx, error) { return d.BeginTx(ctx, nil) }

func (d onConn) BeginTx(ctx context.Context, o *entsql.TxOptions) (dialect.Tx, error) {
	tx, err := d.conn.BeginTx(ctx, o)
	if err != nil {
		return nil, err
	}
	return &entsql.Tx{Conn: entsql.Conn{ExecQuerier: tx}, Tx: tx}, nil
}
