package pg

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// ReplicaLag is how far the standby that is furthest behind is.
type ReplicaLag struct {
	Bytes int64         // of WAL that it has not replayed
	Time  time.Duration // as PostgreSQL last measured it
}

// ReadReplicaLag asks a primary about its standbys; the zero lag is that of a
// server without any. A login without pg_read_all_stats sees none.
func ReadReplicaLag(ctx context.Context, control *pgx.Conn) (lag ReplicaLag, err error) {
	var seconds float64
	err = control.QueryRow(ctx, `
		SELECT coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)), 0)::bigint,
			coalesce(max(extract(epoch FROM replay_lag)), 0)::float8
		FROM pg_stat_replication WHERE NOT pg_is_in_recovery()`).Scan(&lag.Bytes, &seconds)
	lag.Time = time.Duration(seconds * float64(time.Second))
	return lag, fault(err, "ask how far the replicas are")
}
