package fleet

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/work"
)

// ledger is the catalog's account of who may have how many connections to which
// cluster. Those of all living processes stay within the cluster's: a process
// counts as living for [work.LostAfter] after its last heartbeat, and has let
// go of everything by then.
type ledger struct {
	cat      *catalog.Catalog
	presence *work.Presence
}

// errLost says that the catalog does not have on record for this process what
// the process goes by: others have counted it as lost.
var errLost = errors.New("what was allotted to this process has been given to others")

// request is what a process asks for.
type request struct {
	cluster  string
	recorded int  // what the process goes by, so far
	have     int  // of it, what it needs still
	want     int  // connections more
	second   bool // the one kept back, too
}

// grant is the answer.
type grant struct {
	limit, more, spare int
}

// raise gives a process more connections, as far as there are some. A process
// that gets none has a record of 0: the others see by it that somebody waits.
func (l ledger) raise(ctx context.Context, r request) (g grant, err error) {
	err = l.cat.InTx(ctx, func(tx *catalog.Tx) error {
		return tx.Conn(func(conn *pgx.Conn) error {
			g, err = raise(ctx, conn, l.presence.ID(), r)
			return err
		})
	})
	if err != nil {
		return g, fmt.Errorf("ask the catalog for connections: %w", err)
	}
	return g, nil
}

func raise(ctx context.Context, conn *pgx.Conn, worker string, r request) (g grant, err error) {
	// Nobody else counts until this transaction ends. The cluster's row would do,
	// and is held for seconds where hundreds of tenants are placed at a time.
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('manor.fleet.connections.' || $1, 0))`, r.cluster); err != nil {
		return g, fmt.Errorf("lock the connections of cluster %s: %w", r.cluster, err)
	}
	if err := conn.QueryRow(ctx, `SELECT connections FROM clusters WHERE id = $1`, r.cluster).Scan(&g.limit); err != nil {
		return g, fmt.Errorf("read cluster %s: %w", r.cluster, err)
	}
	_, err = conn.Exec(ctx, `DELETE FROM allotments a WHERE cluster_id = $1 AND worker_id <> $2 AND NOT EXISTS (
			SELECT FROM workers w WHERE w.id = a.worker_id AND w.seen_at > clock_timestamp() - make_interval(secs => $3))`,
		r.cluster, worker, work.LostAfter.Seconds())
	if err != nil {
		return g, err
	}
	var others, mine int
	err = conn.QueryRow(ctx, `SELECT coalesce(sum(connections) FILTER (WHERE worker_id <> $2), 0),
			coalesce(sum(connections) FILTER (WHERE worker_id = $2), 0) FROM allotments WHERE cluster_id = $1`,
		r.cluster, worker).Scan(&others, &mine)
	if err != nil {
		return g, err
	}
	if mine < r.recorded {
		return g, errLost
	}
	g.more, g.spare = granted(g.limit, others, r.have, r.want, r.second)
	_, err = conn.Exec(ctx, `INSERT INTO allotments (cluster_id, worker_id, connections) VALUES ($1, $2, $3)
		ON CONFLICT (cluster_id, worker_id) DO UPDATE SET connections = EXCLUDED.connections`,
		r.cluster, worker, r.have+g.more+g.spare)
	return g, err
}

// lower gives connections back; to is how many the process keeps.
func (l ledger) lower(ctx context.Context, cluster string, to int) error {
	tag, err := l.cat.Pool().Exec(ctx, `UPDATE allotments SET connections = $3 WHERE cluster_id = $1 AND worker_id = $2 AND connections >= $3`,
		cluster, l.presence.ID(), to)
	if err != nil {
		return l.cat.Explain(fmt.Errorf("give connections back: %w", err))
	}
	if tag.RowsAffected() == 0 && to > 0 {
		return errLost
	}
	return nil
}

// leave takes a process off a cluster's account ("": off every one's).
func (l ledger) leave(ctx context.Context, cluster string) error {
	_, err := l.cat.Pool().Exec(ctx, `DELETE FROM allotments WHERE worker_id = $1 AND $2 IN ('', cluster_id)`, l.presence.ID(), cluster)
	if err != nil {
		return l.cat.Explain(fmt.Errorf("give connections back: %w", err))
	}
	return nil
}

// balance is the account of a cluster.
type balance struct {
	limit, taken, processes int
	wanting                 bool // a process has none, and asked for some
}

func (l ledger) read(ctx context.Context, cluster string) (b balance, err error) {
	err = l.cat.Pool().QueryRow(ctx, `SELECT c.connections, coalesce(sum(a.connections), 0), count(a.id),
			coalesce(bool_or(a.connections = 0 AND a.worker_id <> $2), false)
		FROM clusters c LEFT JOIN (allotments a JOIN workers w ON w.id = a.worker_id AND w.seen_at > clock_timestamp() - make_interval(secs => $3))
			ON a.cluster_id = c.id
		WHERE c.id = $1 GROUP BY c.id`, cluster, l.presence.ID(), work.LostAfter.Seconds()).Scan(&b.limit, &b.taken, &b.processes, &b.wanting)
	if err != nil {
		return b, l.cat.Explain(fmt.Errorf("read who has connections to cluster %s: %w", cluster, err))
	}
	return b, nil
}
