package catalog

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// TryLock takes a lock that all processes on the catalog respect, or answers
// ok false when somebody has it. It is held by a connection of its own: when
// its holder dies, so does the lock, however the process ended.
func (c *Catalog) TryLock(ctx context.Context, name string) (unlock func(), ok bool, err error) {
	conn, err := pgx.ConnectConfig(ctx, c.pool.Config().ConnConfig)
	if err != nil {
		return nil, false, c.Explain(fmt.Errorf("connecting to lock %s: %w", name, err))
	}
	unlock = func() { _ = conn.Close(context.WithoutCancel(ctx)) }
	if err = conn.QueryRow(ctx, `SELECT pg_try_advisory_lock(hashtextextended($1, 0))`, name).Scan(&ok); err != nil || !ok {
		unlock()
		return nil, false, err
	}
	return unlock, true, nil
}

// Locked tells which of the names are locked by [Catalog.TryLock] now.
func (c *Catalog) Locked(ctx context.Context, names []string) (map[string]bool, error) {
	rows, _ := c.pool.Query(ctx, `SELECT n FROM unnest($1::text[]) n
		WHERE hashtextextended(n, 0) IN (SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks
			WHERE locktype = 'advisory' AND granted AND objsubid = 1
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`, names)
	held, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, c.Explain(fmt.Errorf("looking at who works on what: %w", err))
	}
	locked := make(map[string]bool, len(held))
	for _, name := range held {
		locked[name] = true
	}
	return locked, nil
}
