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
