package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/tenant"
)

// read returns what the catalog says now, in one snapshot.
func (s *Service) read(ctx context.Context) (*known, error) {
	clusters, err := s.fleet.Clusters(ctx)
	if err != nil {
		return nil, err
	}
	k := &known{clusters: clusters}
	if k.incarnation, err = s.cat.Incarnation(ctx); err != nil {
		return nil, err
	}
	snapshot := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, s.cat.Pool(), snapshot, func(tx pgx.Tx) error { return k.read(ctx, tx) })
	if err != nil {
		return nil, s.cat.Explain(fmt.Errorf("read what the catalog knows: %w", err))
	}
	return k, s.attended(ctx, k)
}

func (k *known) read(ctx context.Context, tx pgx.Tx) (err error) {
	err = tx.QueryRow(ctx, `SELECT clock_timestamp(), CASE WHEN is_called THEN last_value ELSE 0 END FROM epoch`).Scan(&k.at, &k.epoch)
	if err != nil {
		return err
	}
	databases, err := collect[database](ctx, tx, `SELECT id, cluster_id, name, isolation, owner, connect_role, state = 'ready' FROM databases`)
	if err != nil {
		return err
	}
	k.databases = make(map[string]*database, len(databases))
	for i := range databases {
		k.databases[databases[i].ID] = &databases[i]
	}
	if k.copies, err = collect[copied](ctx, tx, `SELECT cluster_id, name FROM snapshots, unnest(ARRAY[id, replaced]) AS name WHERE state <> 'gone'`); err != nil {
		return err
	}
	if k.residents, err = collect[resident](ctx, tx, readResidents); err != nil {
		return err
	}
	if k.releases, err = collect[pushed](ctx, tx, `SELECT id, name, hash, versions FROM releases ORDER BY created_at, name`); err != nil {
		return err
	}
	if k.leases, err = collect[lease](ctx, tx, `
		SELECT rollout_id, number, cluster_id, worker, lease_until FROM batches
		WHERE state = 'running' AND lease_until < clock_timestamp() ORDER BY lease_until`); err != nil {
		return err
	}
	k.workers, err = collect[worker](ctx, tx, `
		SELECT id, seen_at FROM workers WHERE works AND seen_at < clock_timestamp() - make_interval(secs => $1) ORDER BY id`,
		controlplane.WorkerSilence.Seconds())
	return err
}

// readResidents reads the tenants that have a home, or are to have one, or of
// whose home something may be left.
const readResidents = `
	SELECT n.id, n.slug, n.state, n.settled, n.isolation, n.version, n.release_id, coalesce(n.failure ->> 'message', ''), n.wanted_at, n.updated_at,
		coalesce(p.cluster_id, ''), coalesce(p.database_id, ''), coalesce(p.schema, ''), coalesce(p.role, ''),
		coalesce(p.logins, '["", ""]'), coalesce(p.generation, 0), coalesce(t.rollout_id, ''), false
	FROM tenants n LEFT JOIN placements p ON p.tenant_id = n.id
	LEFT JOIN targets t ON t.tenant_id = n.id AND t.status IN ('pending', 'running', 'deferred', 'unknown')
	WHERE p.id IS NOT NULL OR NOT n.settled ORDER BY n.slug`

func collect[T any](ctx context.Context, tx pgx.Tx, query string, args ...any) ([]T, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[T])
}

// grace is how long a tenant may be on its way before somebody asks.
const grace = 5 * time.Minute

// attended asks of the tenants that have been on their way for long whether
// somebody works on them.
func (s *Service) attended(ctx context.Context, k *known) error {
	var names []string
	for i := range k.residents {
		if r := &k.residents[i]; !r.Settled && k.at.Sub(r.WantedAt) > grace {
			names = append(names, tenant.LockName(r.ID))
		}
	}
	if len(names) == 0 {
		return nil
	}
	locked, err := s.cat.Locked(ctx, names)
	for i := range k.residents {
		k.residents[i].Attended = locked[tenant.LockName(k.residents[i].ID)]
	}
	return err
}
