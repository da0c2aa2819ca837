package migrator

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
)

func (f *file) txMode() string {
	if f.alone {
		return "none"
	}
	return "file"
}

// run runs a file, up or down, in its transaction if it has one, and tells what
// its statements do if somebody watches. What PostgreSQL refuses is a setback.
func (h *rehearsal) run(ctx context.Context, f *file, watch *observer) ([]controlplane.RehearsedStatement, error) {
	seen := []controlplane.RehearsedStatement{}
	each := func(run func(context.Context, *file, int, *observer) (controlplane.RehearsedStatement, error)) error {
		for i := range f.statements {
			s, err := run(ctx, f, i+1, watch)
			if err != nil {
				return err
			}
			seen = append(seen, s)
		}
		return nil
	}
	var err error
	if f.alone {
		err = each(h.alone)
	} else {
		err = h.transaction(ctx, f, watch, func() error { return each(h.one) })
	}
	if _, refused := errors.AsType[setback](err); err != nil && !refused {
		return seen, err
	}
	return seen, cmp.Or(h.enter(ctx), err)
}

// alone runs a statement of a file without transaction: in one of its own, if
// it can be.
func (h *rehearsal) alone(ctx context.Context, f *file, n int, watch *observer) (s controlplane.RehearsedStatement, err error) {
	mode := f.statements[n-1].mode
	if mode == inside || mode == ending {
		err = h.transaction(ctx, f, watch, func() error {
			s, err = h.one(ctx, f, n, watch)
			return err
		})
		if refused, ok := errors.AsType[setback](err); !ok || !outsideOnly[refused.SQLState] {
			return s, err
		}
	}
	if watch != nil {
		s, err = watch.outside(ctx, f, n)
	} else {
		_, err = send(ctx, h.conn.PgConn(), f.statements[n-1].sql)
	}
	return s, asSetback(err, step{file: f, statement: n})
}

// outsideOnly are the SQLSTATEs of a statement that refuses the transaction
// around it.
var outsideOnly = map[string]bool{"25001": true, "2D000": true}

// transaction runs f in a transaction, which it rolls back if f fails.
func (h *rehearsal) transaction(ctx context.Context, f *file, watch *observer, run func() error) error {
	conn := h.conn.PgConn()
	if _, err := send(ctx, conn, "BEGIN ISOLATION LEVEL READ COMMITTED"); err != nil {
		return err
	}
	if watch != nil {
		if err := watch.begin(ctx, true); err != nil {
			return err
		}
	}
	err := run()
	if err == nil {
		_, err = send(ctx, conn, "COMMIT")
		err = asSetback(err, step{file: f, commits: true})
	}
	if err == nil || h.conn.IsClosed() || conn.TxStatus() == 'I' {
		return err
	}
	if _, rollback := send(ctx, conn, "ROLLBACK"); rollback != nil {
		return rollback
	}
	return err
}

// one runs a statement in the transaction that is open.
func (h *rehearsal) one(ctx context.Context, f *file, n int, watch *observer) (controlplane.RehearsedStatement, error) {
	started := time.Now()
	_, err := send(ctx, h.conn.PgConn(), f.statements[n-1].sql)
	if err != nil || watch == nil {
		return controlplane.RehearsedStatement{}, asSetback(err, step{file: f, statement: n})
	}
	return watch.seen(ctx, f, n, nil, time.Since(started))
}

// asSetback tells what PostgreSQL holds against a statement from what
// keeps a rehearsal from being held.
func asSetback(err error, at step) error {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || outcomeOf(refused, 0, time.Hour) != Failed {
		return err
	}
	failure := describe(refused, at)
	failure.Position = int(refused.Position)
	return setback{failure, refused.TableName, refused.ColumnName}
}
