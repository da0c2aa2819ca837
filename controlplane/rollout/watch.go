package rollout

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/controlplane/pg"
)

const (
	watchAfter = 10 * time.Second // most migrations are over by then
	watchEvery = 5 * time.Second
	// unheard is how long a server may not be asked before a session counts as lost.
	unheard = time.Minute
)

var errHalfOpen = errors.New("the server has ended or answered long ago, and nothing arrived: the connection is half-open")

// watched is a context for work on a session that ends when the server does
// nothing for that session any more, as when a firewall has forgotten it:
// nobody else would ever end the wait for an answer.
func (s *Service) watched(ctx context.Context, way *fleet.Way, conn *pgx.Conn) (context.Context, func()) {
	ctx, stop := context.WithCancelCause(ctx)
	pid := conn.PgConn().PID()
	watch := time.AfterFunc(watchAfter, func() { watch(ctx, way, pid, stop) })
	return ctx, func() { watch.Stop(); stop(nil) }
}

func watch(ctx context.Context, way *fleet.Way, pid uint32, stop context.CancelCauseFunc) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for heard := time.Now(); ; {
		working, err := isWorking(ctx, way, pid)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			heard = time.Now()
		}
		if err == nil && !working || time.Since(heard) > unheard {
			stop(errHalfOpen)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// isWorking asks over another connection whether a backend works on something,
// or has only just ended to.
func isWorking(ctx context.Context, way *fleet.Way, pid uint32) (working bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, watchEvery)
	defer cancel()
	err = way.Beside(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1
			AND NOT (state LIKE 'idle%' AND state_change < clock_timestamp() - interval '5 s'))`, pid).Scan(&working)
	})
	return working, err
}

// A replica that is this far behind makes a rollout go slower.
const (
	farBehindBytes = 256 << 20
	farBehindTime  = 10 * time.Second
)

// watchReplicas looks now and then whether the cluster's replicas keep up with
// a batch. One that cannot be asked does.
func (s *Service) watchReplicas(ctx context.Context, l *lease) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var lag pg.ReplicaLag
		err := s.fleet.AsControl(ctx, l.batch.ClusterID, func(control *pgx.Conn) (err error) {
			lag, err = pg.ReadReplicaLag(ctx, control)
			return err
		})
		l.mu.Lock()
		l.lagging = err == nil && (lag.Bytes > farBehindBytes || lag.Time > farBehindTime)
		l.mu.Unlock()
	}
}

// lags reports whether a replica was far behind when it was last asked.
func (l *lease) lags() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lagging
}

// nameBlocker adds to a failure who held the lock that was waited for: the
// owner knows the process, the control login may know more.
func (s *Service) nameBlocker(ctx context.Context, t leased, failure *controlplane.Failure) {
	if failure == nil || failure.Blocker == nil {
		return
	}
	err := s.fleet.AsControl(ctx, t.placement.ClusterID, func(control *pgx.Conn) error {
		return migrator.LookAt(ctx, control, failure.Blocker)
	})
	if err != nil {
		s.log.Debug("cannot look at who holds a lock", "tenant", t.Slug, "pid", failure.Blocker.PID, "err", err)
	}
}
