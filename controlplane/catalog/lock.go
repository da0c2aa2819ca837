package catalog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// lockBeat is how often the holder of a lock makes sure that it has it, and
	// how long the catalog may take to answer.
	lockBeat = 3 * time.Second
	// lockSilence is for how long a holder of whom nothing is heard keeps its lock.
	// Longer than a cluster keeps a session that does nothing. A statement under
	// way goes on: what it does is fenced by the marker, or may be done twice.
	lockSilence = 17 * time.Second
)

var errLockLost = errors.New("the lock was lost, and somebody else may have it")

// Alone runs f under a lock that all processes on the catalog respect, or
// answers ran false when somebody else has it. The lock is held by a connection
// of its own: when its holder dies, or says nothing for 17 s, so does the lock.
// The context of f ends when the lock is lost.
func (c *Catalog) Alone(ctx context.Context, name string, f func(context.Context) error) (ran bool, err error) {
	config := c.pool.Config().ConnConfig
	config.RuntimeParams["idle_session_timeout"] = fmt.Sprint(lockSilence.Milliseconds())
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return false, c.Explain(fmt.Errorf("connecting to lock %s: %w", name, err))
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock(hashtextextended($1, 0))`, name).Scan(&ran); err != nil || !ran {
		return false, c.Explain(err)
	}
	held, lose := context.WithCancelCause(ctx)
	var holding sync.WaitGroup
	holding.Go(func() { hold(held, conn, lose) })
	err = f(held)
	if lost := context.Cause(held); errors.Is(lost, errLockLost) {
		err = fmt.Errorf("%s: %w", name, lost)
	}
	lose(nil)
	holding.Wait()
	return true, err
}

// hold makes sure of a lock until its holder is done, or it is lost.
func hold(ctx context.Context, conn *pgx.Conn, lose context.CancelCauseFunc) {
	tick := time.NewTicker(lockBeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockBeat)
		err := conn.Ping(asking)
		cancel()
		if err != nil {
			lose(fmt.Errorf("%w: %w", errLockLost, err))
			return
		}
	}
}

// Locked tells which of the names are locked by [Catalog.Alone] now.
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
