package rollout

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/controlplane/pg"
)

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
