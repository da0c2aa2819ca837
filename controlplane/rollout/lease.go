package rollout

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"entgo.io/ent/dialect/sql"
	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/batch"
	"github.com/manorhq/manor/ent/placement"
	"github.com/manorhq/manor/ent/rollout"
	"github.com/manorhq/manor/ent/target"
	"github.com/manorhq/manor/ent/tenant"
	"github.com/manorhq/manor/internal/failpoint"
)

// takeBatch leases a queued batch under a new epoch. Leases run on the
// catalog's clock. It returns nil when there is nothing to take, or nothing of
// the rollout is to be started any more: then the batch waits again.
func takeBatch(ctx context.Context, tx *catalog.Tx, id int, worker string) (*ent.Batch, error) {
	b, err := tx.Batch.Query().Where(batch.ID(id)).ForUpdate().Only(ctx)
	if err != nil {
		return nil, fmt.Errorf("lock batch %d: %w", id, err)
	}
	if b.State != batchQueued {
		return nil, nil
	}
	now, err := tx.Now(ctx)
	if err != nil {
		return nil, err
	}
	if over, err := isOver(ctx, tx.Client(), b, now); err != nil || over {
		return nil, putBack(ctx, tx, b, err)
	}
	if open, err := isOpen(ctx, tx, b.ClusterID, now); err != nil || !open {
		return nil, putBack(ctx, tx, b, err)
	}
	epoch, err := tx.NextEpoch(ctx)
	if err != nil {
		return nil, err
	}
	err = exec(ctx, tx, `UPDATE batches SET state = $2, epoch = $3, worker = $4, updated_at = clock_timestamp(), leased_at = clock_timestamp(),
		lease_until = clock_timestamp() + make_interval(secs => $5) WHERE id = $1`, id, batchRunning, epoch, worker, leaseTime.Seconds())
	if err != nil {
		return nil, fmt.Errorf("lease batch %d: %w", id, err)
	}
	b.State, b.Epoch, b.Worker = batchRunning, epoch, worker
	return b, nil
}

// isOpen reports whether a batch that was handed out may be started on a cluster
// now: its pace may have gone down since.
func isOpen(ctx context.Context, tx *catalog.Tx, clusterID string, now time.Time) (bool, error) {
	courses, err := fleet.Courses(ctx, tx.Client())
	if err != nil {
		return false, err
	}
	used, err := usedOn(ctx, tx, clusterID)
	n, _ := pace(courses[clusterID], now)
	return used <= n, err
}

// accused is the only tenant that has met the present trouble of a cluster.
func accused(ctx context.Context, tx *catalog.Tx, clusterID string) (slug string, err error) {
	courses, err := fleet.Courses(ctx, tx.Client())
	if err != nil {
		return "", err
	}
	if alarm := courses[clusterID].Flow.Alarm; alarm != nil {
		slug = alarm.Tenant
	}
	return slug, nil
}

func putBack(ctx context.Context, tx *catalog.Tx, b *ent.Batch, err error) error {
	if err != nil {
		return err
	}
	if err := b.Update().SetState(batchWaiting).Exec(ctx); err != nil {
		return fmt.Errorf("put batch %d back: %w", b.ID, err)
	}
	return recount(ctx, tx, b.RolloutID)
}

// isOver reports whether nothing more of a batch is to be started: failures have
// used the budget of its rollout up, somebody wants it to stop, or the window is
// shut. A rollback goes on all the same.
func isOver(ctx context.Context, client *ent.Client, b *ent.Batch, now time.Time) (bool, error) {
	if b.Direction == down {
		return false, nil
	}
	row, err := find(ctx, client, b.RolloutID)
	if err != nil {
		return false, err
	}
	if row.Wanted != "" || slices.Contains(shutAt(row.Strategy.Windows, now), b.Window) {
		return true, nil
	}
	if row.OnError == controlplane.OnErrorContinue {
		return false, nil
	}
	budget := orFirst(row.Strategy.Budget)
	failed, err := client.Target.Query().Where(target.RolloutID(row.ID), target.Status(controlplane.TargetFailed)).Count(ctx)
	if err != nil {
		return false, fmt.Errorf("count the failures of rollout %s: %w", row.ID, err)
	}
	targets := 0
	if budget.Ratio > 0 {
		if targets, err = client.Target.Query().Where(target.RolloutID(row.ID)).Count(ctx); err != nil {
			return false, fmt.Errorf("count the targets of rollout %s: %w", row.ID, err)
		}
	}
	return budget.Spent(failed-row.Forgiven, targets), nil
}

// takeTargets marks the unfinished targets of a leased batch as running and
// reads what the catalog knows of their tenants now. A target that the rollout
// is known not to have changed yet starts from where its tenant is now.
func takeTargets(ctx context.Context, tx *catalog.Tx, b *ent.Batch) ([]leased, error) {
	before, err := statuses(ctx, tx, b)
	if err != nil {
		return nil, err
	}
	ids := slices.Collect(maps.Keys(before))
	err = exec(ctx, tx, `UPDATE targets t SET from_version = n.version, from_release_id = n.release_id, version = n.version
		FROM tenants n WHERE n.id = t.tenant_id AND t.id = ANY($1) AND t.direction = $2
		AND t.version = t.from_version AND t.status IN ('pending', 'deferred')`, ids, up)
	if err == nil {
		err = exec(ctx, tx, `UPDATE targets SET status = $2, updated_at = clock_timestamp() WHERE id = ANY($1)`, ids, controlplane.TargetRunning)
	}
	if err != nil {
		return nil, fmt.Errorf("take the targets of batch %d: %w", b.ID, err)
	}
	targets, err := tx.Target.Query().Where(target.IDIn(ids...)).Order(target.BySlug()).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the targets of batch %d: %w", b.ID, err)
	}
	return withTenants(ctx, tx, targets, before)
}

// statuses are those of a batch's unfinished targets before they run, by id. One
// that runs already was left so by a holder that is gone.
func statuses(ctx context.Context, tx *catalog.Tx, b *ent.Batch) (map[int]controlplane.TargetStatus, error) {
	rows, err := tx.Target.Query().Where(target.BatchID(b.ID), target.StatusIn(controlplane.UnfinishedStatuses...)).ForUpdate().All(ctx)
	if err != nil {
		return nil, fmt.Errorf("lock the targets of batch %d: %w", b.ID, err)
	}
	before := make(map[int]controlplane.TargetStatus, len(rows))
	for _, t := range rows {
		before[t.ID] = t.Status
		if t.Status == controlplane.TargetRunning {
			before[t.ID] = controlplane.TargetUnknown
		}
	}
	return before, nil
}

func withTenants(ctx context.Context, tx *catalog.Tx, targets []*ent.Target, before map[int]controlplane.TargetStatus) ([]leased, error) {
	ids := make([]string, len(targets))
	for i, t := range targets {
		ids[i] = t.TenantID
	}
	tenants, err := tx.Tenant.Query().Where(tenant.IDIn(ids...)).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the tenants of a batch: %w", err)
	}
	placements, err := tx.Placement.Query().Where(placement.TenantIDIn(ids...)).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the placements of a batch: %w", err)
	}
	byID, at := map[string]*ent.Tenant{}, map[string]*ent.Placement{}
	for _, t := range tenants {
		byID[t.ID] = t
	}
	for _, p := range placements {
		at[p.TenantID] = p
	}
	out := make([]leased, len(targets))
	for i, t := range targets {
		out[i] = leased{Target: t, was: before[t.ID], tenant: byID[t.TenantID], placement: at[t.TenantID]}
	}
	return out, nil
}

// renew extends the lease of a batch, says which tenants are in hand, and
// reports whether it is still held.
func (s *Service) renew(ctx context.Context, l *lease) (held bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, heartbeat)
	defer cancel()
	failpoint.Reach("rollout.renew")
	tag, err := s.cat.Pool().Exec(ctx, `UPDATE batches SET lease_until = clock_timestamp() + make_interval(secs => $3), in_hand = $4
		WHERE id = $1 AND epoch = $2 AND state = 'running'`, l.batch.ID, l.batch.Epoch, leaseTime.Seconds(), l.inHand())
	failpoint.Reach("rollout.renewed")
	return tag.RowsAffected() == 1, err
}

// takeBack ends the leases of rollouts that have run out, or that end later than
// any can since the clock was put back; their targets wait for a new batch. How
// far the dead worker came with them is not known. It counts as an attempt for
// those that it had in hand when it was last heard of, or for all if it never said.
func takeBack(ctx context.Context, tx *catalog.Tx, rollouts []string) error {
	err := exec(ctx, tx, `WITH expired AS (
			SELECT id, in_hand FROM batches WHERE state = 'running' AND rollout_id = ANY($3)
			AND lease_until NOT BETWEEN clock_timestamp() AND clock_timestamp() + make_interval(secs => $4) FOR UPDATE
		), closed AS (
			UPDATE batches SET state = 'done', in_hand = '[]', updated_at = clock_timestamp() WHERE id IN (SELECT id FROM expired)
		)
		UPDATE targets t SET status = $1, batch_id = NULL, updated_at = clock_timestamp(),
			attempts = attempts + (e.in_hand = '[]' OR e.in_hand @> jsonb_build_array(jsonb_build_object('tenant', t.slug)))::int
		FROM expired e WHERE t.batch_id = e.id AND t.status = $2`, controlplane.TargetUnknown, controlplane.TargetRunning, rollouts, 2*leaseTime.Seconds())
	if err != nil {
		return fmt.Errorf("take back expired batches: %w", err)
	}
	return nil
}

// lostBatches are those handed out for longer than a lease that nobody took,
// or at a time that the clock has not come to: it was put back.
func lostBatches(ctx context.Context, tx *catalog.Tx, rollouts []string) (lost []Grant, err error) {
	err = tx.Conn(func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, `SELECT id, parallelism FROM batches WHERE state = 'queued' AND rollout_id = ANY($1)
			AND updated_at NOT BETWEEN clock_timestamp() - make_interval(secs => $2) AND clock_timestamp()
			FOR UPDATE SKIP LOCKED`, rollouts, leaseTime.Seconds())
		if err != nil {
			return err
		}
		lost, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Grant])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for lost batches: %w", err)
	}
	return lost, nil
}

// lockAtWork locks the rollouts that something is to be done about, so that
// nobody decides about one while its batches are taken back. Those that
// somebody else has locked are being looked after.
func lockAtWork(ctx context.Context, tx *catalog.Tx) ([]string, error) {
	rows, err := tx.Rollout.Query().Where(rollout.StateIn(controlplane.RolloutRunning, controlplane.RolloutRollingBack)).
		Order(rollout.ByID()).ForUpdate(sql.WithLockAction(sql.SkipLocked)).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for rollouts at work: %w", err)
	}
	ids := make([]string, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	return ids, nil
}

// atWork are the rollouts that something is to be done about.
func atWork(ctx context.Context, tx *catalog.Tx) ([]string, error) {
	ids, err := tx.Rollout.Query().Where(rollout.StateIn(controlplane.RolloutRunning, controlplane.RolloutRollingBack)).IDs(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for rollouts at work: %w", err)
	}
	return ids, nil
}

// notPinned is a tenant that no pin holds.
func notPinned(s *sql.Selector) {
	pin := s.C(tenant.FieldPin)
	s.Where(sql.ExprP("(" + pin + " IS NULL OR (" + pin + " ->> 'expires_at')::timestamptz <= clock_timestamp())"))
}

// tenantsElsewhere reports whether any tenant that can be migrated is not at a
// version. One that is pinned holds nobody back.
func tenantsElsewhere(ctx context.Context, tx *catalog.Tx, version string) (bool, error) {
	elsewhere, err := tx.Tenant.Query().
		Where(tenant.StateIn(controlplane.TenantActive, controlplane.TenantSuspended), tenant.VersionNEQ(version), notPinned).Exist(ctx)
	if err != nil {
		return false, fmt.Errorf("look for tenants at other versions than %s: %w", version, err)
	}
	return elsewhere, nil
}
