package event

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
)

// Log reads events. Safe for concurrent use.
type Log struct{ cat *catalog.Catalog }

// NewLog reads the events of a catalog.
func NewLog(cat *catalog.Catalog) *Log { return &Log{cat} }

const (
	defaultLimit = 100
	maxLimit     = 1000
	busyPoll     = 50 * time.Millisecond  // while events come
	idlePoll     = 200 * time.Millisecond // at most, when none did
)

// horizon is the transaction id below which nothing more can appear: the oldest
// running transaction, or the next one when none runs. Unlike
// pg_snapshot_xmin it passes over transactions of other databases of the
// server, which cannot write here: else one long migration in a cluster that
// also holds the catalog would hold back every event. A transaction that has
// ended since the snapshot was taken is found in no database and so still counts.
const horizon = `(
	SELECT coalesce(min(x::text::bigint), pg_snapshot_xmax(s)::text::bigint)
	FROM pg_current_snapshot() s
	LEFT JOIN LATERAL pg_snapshot_xip(s) x ON NOT EXISTS (
		SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
		  AND l.transactionid = x::xid AND a.datname <> current_database())
	GROUP BY s::text, pg_snapshot_xmax(s)
)`

const readEvents = `
	SELECT xid, id, kind, subject, data::text, at FROM events
	WHERE (xid, id) > ($1, $2) AND xid < ` + horizon + `
	ORDER BY xid, id LIMIT $3`

// Read returns the events after a cursor, oldest first; "" is before the first.
// Limit 0 is 100; at most 1000.
func (l *Log) Read(ctx context.Context, after string, limit int) ([]controlplane.Event, error) {
	at, err := parseCursor(after)
	if err != nil {
		return nil, err
	}
	if limit <= 0 {
		limit = defaultLimit
	}
	rows, err := l.cat.Pool().Query(ctx, readEvents, at.xid, at.id, min(limit, maxLimit))
	if err != nil {
		return nil, l.failed(err)
	}
	events, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, l.failed(err)
	}
	return events, nil
}

func scan(row pgx.CollectableRow) (controlplane.Event, error) {
	var e controlplane.Event
	var at cursor
	var data string
	err := row.Scan(&at.xid, &at.id, &e.Kind, &e.Subject, &data, &e.At)
	e.Cursor, e.Data = at.String(), []byte(data)
	return e, err
}

// Head is the cursor after which comes everything that commits from now on. An
// event that is committed already may come too, while an older transaction runs.
func (l *Log) Head(ctx context.Context) (string, error) {
	var at cursor
	if err := l.cat.Pool().QueryRow(ctx, `SELECT `+horizon).Scan(&at.xid); err != nil {
		return "", l.failed(err)
	}
	return at.String(), nil
}

// Watch calls f with each event after a cursor, in order, until ctx ends or f
// returns an error, which it returns.
func (l *Log) Watch(ctx context.Context, after string, f func(controlplane.Event) error) error {
	wait := busyPoll
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		events, err := l.Read(ctx, after, maxLimit)
		if err != nil {
			return err
		}
		for _, e := range events {
			if err := f(e); err != nil {
				return err
			}
			after = e.Cursor
		}
		if len(events) == maxLimit {
			continue // there is more
		}
		if wait = min(wait*2, idlePoll); len(events) > 0 {
			wait = busyPoll
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
		}
	}
}

func (l *Log) failed(err error) error {
	return l.cat.Explain(fmt.Errorf("reading events: %w", err))
}

// cursor is a place in the log.
type cursor struct{ xid, id int64 }

func (c cursor) String() string { return fmt.Sprintf("%d.%d", c.xid, c.id) }

func parseCursor(s string) (cursor, error) {
	if s == "" {
		return cursor{}, nil
	}
	xid, id, _ := strings.Cut(s, ".")
	var c cursor
	var errXID, errID error
	c.xid, errXID = strconv.ParseInt(xid, 10, 64)
	c.id, errID = strconv.ParseInt(id, 10, 64)
	if errXID != nil || errID != nil || c.xid < 0 || c.id < 0 {
		return cursor{}, controlplane.Errorf(controlplane.Invalid, "event cursor %q is not one that Manor gave", s).
			WithHint("use the cursor of an event, or none to start from the beginning")
	}
	return c, nil
}
