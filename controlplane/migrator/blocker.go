package migrator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
)

const (
	// lookFor bounds the look for a blocker: it must not hold up what comes after.
	lookFor = 2 * time.Second

	// A blocker is still there when those who queued behind the migration, and
	// got the lock the moment it gave up, are gone.
	lookAgain = 20 * time.Millisecond
	looks     = 4
)

// suspect is a session that may have held the lock, in one transaction of its own.
type suspect struct {
	controlplane.Blocker
	transaction string
}

// suspectQuery finds sessions that hold locks on relations of the home ($1),
// those first that hold one that the statement names ($2), and among them the
// oldest transaction. A concurrent build ($3) waits for all transactions of the
// database. $4 narrows the search to transactions seen before.
//
// It starts from the few locks: to look for a schema's relations takes the
// longer the more schemas there are. Of another role's session the owner of the
// database sees no more than the role and the transaction's id and horizon.
const suspectQuery = `
	SELECT a.pid, coalesce(a.usename::text, ''), coalesce(1000 * extract(epoch FROM clock_timestamp() - a.xact_start), 0)::bigint,
	       CASE WHEN a.xact_start IS NULL THEN '' ELSE a.query END, held.virtualtransaction
	FROM (SELECT l.pid, l.virtualtransaction, l.locktype = 'virtualxid' AS any,
	             (SELECT c.relname::text FROM pg_class c WHERE c.oid = l.relation AND c.relnamespace = quote_ident($1)::regnamespace) AS name
	      FROM pg_locks l
	      WHERE l.granted AND l.pid <> pg_backend_pid() AND ($4::text[] IS NULL OR l.virtualtransaction = ANY($4)) AND (l.locktype = 'virtualxid' OR
	            l.locktype = 'relation' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))) held
	JOIN pg_stat_activity a USING (pid)
	WHERE held.name IS NOT NULL OR $3 AND held.any AND a.datname = current_database()
	GROUP BY a.pid, a.usename, a.xact_start, a.query, held.virtualtransaction, a.backend_xid, a.backend_xmin
	ORDER BY bool_or(NOT $3 AND held.name = ANY($2)) DESC NULLS LAST, age(coalesce(a.backend_xmin, a.backend_xid)) DESC NULLS LAST,
	         a.backend_xid IS NULL, a.xact_start, a.pid`

// nameBlocker adds to a failure for want of a lock who held it, where that can
// be found out.
func (s *session) nameBlocker(ctx context.Context, f *controlplane.Failure) {
	if f == nil || f.SQLState != "55P03" || s.conn.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	var found []suspect
	for look := range looks {
		again, err := s.suspects(ctx, f.SQL, found)
		if err != nil || len(again) == 0 {
			break
		}
		found = again
		if len(found) == 1 || look == looks-1 || !wait(ctx, lookAgain) {
			break
		}
	}
	if len(found) > 0 {
		f.Blocker = &found[0].Blocker
	}
}

// suspects are the sessions that may have held the lock that a statement waited
// for: of those seen before, if any, the ones that still do.
func (s *session) suspects(ctx context.Context, sql string, before []suspect) ([]suspect, error) {
	var transactions []string
	for _, seen := range before {
		transactions = append(transactions, seen.transaction)
	}
	names, builds := mentioned(sql)
	rows, _ := s.conn.Query(ctx, suspectQuery, unprepared, s.target.Schema, names, builds, transactions)
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (found suspect, err error) {
		err = row.Scan(&found.PID, &found.Login, &found.AgeMS, &found.Query, &found.transaction)
		found.Query = masked(found.Query)
		return found, err
	})
}

// mentioned returns the names in a statement, and whether it is one that waits
// for all transactions of its database.
func mentioned(sql string) (names []string, builds bool) {
	names = []string{}
	s, err := newStatement(sql)
	if err != nil {
		return names, false
	}
	for _, t := range s.tokens {
		if name := t.name(); name != "" {
			names = append(names, name)
		}
	}
	return names, s.mode == concurrently
}

// wait reports whether the time passed before the context ended.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// LookAt fills in what the control login of the cluster may see of a blocker
// and the owner of one database may not: login, age of its transaction, and its
// query with the values masked. What may not be seen, or is no more, stays as it is.
func LookAt(ctx context.Context, control *pgx.Conn, b *controlplane.Blocker) error {
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	var login, query string
	var age *int64
	err := control.QueryRow(ctx, `
		SELECT coalesce(usename::text, ''), (1000 * extract(epoch FROM clock_timestamp() - xact_start))::bigint, coalesce(query, '')
		FROM pg_stat_activity WHERE pid = $1 AND $2 IN ('', usename::text)`, b.PID, b.Login).Scan(&login, &age, &query)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at session %d: %w", b.PID, err)
	}
	b.Login = login
	if age != nil { // there is a transaction, and it may be seen
		b.AgeMS, b.Query = *age, masked(query)
	}
	return nil
}
