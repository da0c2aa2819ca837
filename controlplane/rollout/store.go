package rollout

import (
	"context"
	"fmt"
	"time"

	"entgo.io/ent/dialect/sql"
	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/event"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/batch"
	"github.com/manorhq/manor/ent/predicate"
	"github.com/manorhq/manor/ent/release"
	"github.com/manorhq/manor/ent/rollout"
	"github.com/manorhq/manor/ent/target"
	"github.com/manorhq/manor/ent/tenant"
)

// insertChunk is how many targets one INSERT takes: 14 columns stay far below
// the protocol's 65,535 parameters.
const insertChunk = 1000

// find reads a rollout by its id.
func find(ctx context.Context, client *ent.Client, id string) (*ent.Rollout, error) {
	row, err := client.Rollout.Get(ctx, id)
	return found(row, err, id)
}

// lock reads a rollout and keeps it from changing until the transaction ends.
func lock(ctx context.Context, tx *catalog.Tx, id string) (*ent.Rollout, error) {
	row, err := tx.Rollout.Query().Where(rollout.ID(id)).ForUpdate().Only(ctx)
	return found(row, err, id)
}

func found(row *ent.Rollout, err error, id string) (*ent.Rollout, error) {
	if ent.IsNotFound(err) {
		return nil, controlplane.Errorf(controlplane.NotFound, "there is no rollout %s", id).WithHint("`manor rollout list` lists them")
	}
	if err != nil {
		return nil, fmt.Errorf("read rollout %s: %w", id, err)
	}
	return row, nil
}

// countsOf counts the targets of rollouts by status.
func countsOf(ctx context.Context, client *ent.Client, ids ...string) (map[string]controlplane.Counts, error) {
	var rows []struct {
		RolloutID string                    `json:"rollout_id"`
		Status    controlplane.TargetStatus `json:"status"`
		Count     int                       `json:"count"`
	}
	err := client.Target.Query().Where(target.RolloutIDIn(ids...)).
		GroupBy(target.FieldRolloutID, target.FieldStatus).Aggregate(ent.Count()).Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("count targets: %w", err)
	}
	counts := map[string]controlplane.Counts{}
	for _, id := range ids {
		counts[id] = controlplane.Counts{}
	}
	for _, r := range rows {
		counts[r.RolloutID][r.Status] = r.Count
	}
	return counts, nil
}

// loadState reads what [Next] looks at, with the rollout locked.
func loadState(ctx context.Context, tx *catalog.Tx, row *ent.Rollout) (State, error) {
	s := State{Rollout: row.State, Wanted: row.Wanted, WantedBy: row.WantedBy, Reason: row.Reason, OnError: row.OnError, Budget: row.Strategy.Budget, Forgiven: row.Forgiven, Closed: row.ClosedAt != nil,
		Concurrency: row.Concurrency, PerCluster: row.PerCluster, PerDatabase: row.PerDatabase,
		Gates: row.Strategy.Gates, Windows: row.Strategy.Windows}
	counts, err := countsOf(ctx, tx.Client(), row.ID)
	if err != nil {
		return s, err
	}
	s.Counts = counts[row.ID]
	if s.Clusters, err = fleet.Courses(ctx, tx.Client()); err != nil {
		return s, err
	}
	if s.Batches, s.Elsewhere, err = batchStates(ctx, tx, row); err != nil {
		return s, err
	}
	// One now for all: a target that falls due between two questions would be in neither answer.
	if s.Now, err = tx.Now(ctx); err != nil {
		return s, err
	}
	if s.Waves, err = waveStates(ctx, tx, row); err != nil {
		return s, err
	}
	wave := s.present()
	if s.Due, err = tx.Target.Query().Where(due(row, wave, s.Now)...).Count(ctx); err != nil {
		return s, fmt.Errorf("count what is due of rollout %s: %w", row.ID, err)
	}
	if s.NextDue, err = nextDue(ctx, tx, row, wave, s.Now); err != nil {
		return s, err
	}
	s.Open, err = tx.Target.Query().
		Where(target.RolloutID(row.ID), target.Direction(direction(row.State)), target.StatusIn(controlplane.UnfinishedStatuses...)).Count(ctx)
	if err != nil {
		return s, fmt.Errorf("count what is open of rollout %s: %w", row.ID, err)
	}
	if s.Making, err = making(ctx, tx, row.ID); err != nil {
		return s, err
	}
	s.Gone, err = tx.Target.Query().Where(target.RolloutID(row.ID), target.Status(controlplane.TargetSkipped),
		ofTenants(controlplane.TenantDeleting, controlplane.TenantDeleted, controlplane.TenantFailed)).Count(ctx)
	if err != nil {
		return s, fmt.Errorf("count the tenants of rollout %s that are no more: %w", row.ID, err)
	}
	s.Standing, err = tx.Target.Query().Where(standing(row.ID)...).Count(ctx)
	if err != nil {
		return s, fmt.Errorf("count what rollout %s has changed: %w", row.ID, err)
	}
	return s, nil
}

// batchStates are the rollout's batches that are not done, and those of other
// rollouts that are with workers.
func batchStates(ctx context.Context, tx *catalog.Tx, row *ent.Rollout) (own, others []BatchState, err error) {
	rows, err := tx.Batch.Query().Where(batch.Or(batch.StateIn(batchQueued, batchRunning),
		batch.And(batch.RolloutID(row.ID), batch.State(batchWaiting)))).All(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("read the batches that are not done: %w", err)
	}
	for _, b := range rows {
		state := BatchState{ID: b.ID, Number: b.Number, Wave: b.Wave, Window: b.Window, State: b.State, ClusterID: b.ClusterID, DatabaseID: b.DatabaseID,
			Size: b.Size, Parallelism: b.Parallelism}
		switch {
		case b.RolloutID != row.ID:
			others = append(others, state)
		case b.Direction == direction(row.State):
			own = append(own, state)
		}
	}
	return own, others, nil
}

// usedOn is how many tenants are worked on at a time at most on a cluster, by all rollouts.
func usedOn(ctx context.Context, tx *catalog.Tx, clusterID string) (used int, err error) {
	err = tx.Conn(func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT coalesce(sum(parallelism), 0) FROM batches
			WHERE cluster_id = $1 AND state IN ('queued', 'running')`, clusterID).Scan(&used)
	})
	if err != nil {
		return 0, fmt.Errorf("count what is at work on cluster %s: %w", clusterID, err)
	}
	return used, nil
}

func direction(s controlplane.RolloutState) string {
	if s == controlplane.RolloutRollingBack {
		return down
	}
	return up
}

// loose are the targets of a wave that wait outside any batch. Wave 0 is all.
func loose(row *ent.Rollout, wave int) []predicate.Target {
	where := []predicate.Target{target.RolloutID(row.ID), target.Direction(direction(row.State)), target.BatchIDIsNil(), target.StatusIn(controlplane.UnfinishedStatuses...)}
	if wave > 0 {
		where = append(where, target.Wave(wave))
	}
	return where
}

// due are the loose targets that may be worked on now: their homes are made, and
// their windows open. One that waits longer than any does shows that the clock
// was put back.
func due(row *ent.Rollout, wave int, now time.Time) []predicate.Target {
	where := append(loose(row, wave), target.Not(inTheMaking),
		target.Or(target.NotBeforeIsNil(), target.NotBeforeLTE(now), target.NotBeforeGT(now.Add(2*retryOf(row).longest()))))
	if shut := shutAt(row.Strategy.Windows, now); len(shut) > 0 && row.State != controlplane.RolloutRollingBack {
		where = append(where, target.WindowNotIn(shut...))
	}
	return where
}

// standing are the targets that the rollout has changed, or may have, and not
// taken back. Of a tenant that was purged there is nothing to take back.
func standing(id string) []predicate.Target {
	return []predicate.Target{target.RolloutID(id), target.Or(
		target.Status(controlplane.TargetUnknown),
		target.And(leftUnknown, target.Not(ofTenants(controlplane.TenantDeleted))),
		target.And(changed, target.Not(ofTenants(controlplane.TenantDeleted)), target.StatusNotIn(controlplane.TargetRolledBack, controlplane.TargetCurrent, controlplane.TargetSkipped)))}
}

// changed is a target whose tenant is at another version than before.
func changed(s *sql.Selector) {
	s.Where(sql.ColumnsNEQ(s.C(target.FieldVersion), s.C(target.FieldFromVersion)))
}

// leftUnknown is a target of which nobody knew how far it had come when its
// rollout was aborted.
func leftUnknown(s *sql.Selector) {
	s.Where(sql.And(sql.EQ(s.C(target.FieldStatus), controlplane.TargetNeedsAttention), sql.ExprP("("+s.C(target.FieldFailure)+" ->> 'unknown')::boolean")))
}

// unsure reports whether nobody knows how far a target came: its tenant is read
// before anything is done to it.
func unsure(t *ent.Target) bool {
	return t.Status == controlplane.TargetUnknown || t.Status == controlplane.TargetNeedsAttention && t.Failure != nil && t.Failure.Unknown
}

// inTheMaking is a target whose tenant's home is being made.
var inTheMaking = ofTenants(controlplane.TenantProvisioning)

// ofTenants is a target whose tenant is in one of these states.
func ofTenants(states ...controlplane.TenantState) predicate.Target {
	return func(s *sql.Selector) {
		n := sql.Table(tenant.Table)
		in := make([]any, len(states))
		for i, state := range states {
			in[i] = string(state)
		}
		s.Where(sql.In(s.C(target.FieldTenantID), sql.Select(n.C(tenant.FieldID)).From(n).Where(sql.In(n.C(tenant.FieldState), in...))))
	}
}

// unmoved is a target whose tenant nobody else has taken anywhere since the
// rollout changed it.
func unmoved(s *sql.Selector) {
	n := sql.Table(tenant.Table)
	s.Where(sql.Or(sql.ColumnsEQ(s.C(target.FieldVersion), s.C(target.FieldFromVersion)),
		sql.In(s.C(target.FieldTenantID), sql.Select(n.C(tenant.FieldID)).From(n).Where(sql.ColumnsEQ(n.C(tenant.FieldVersion), s.C(target.FieldVersion))))))
}

// notSkippedBy is a target that no operator has skipped.
func notSkippedBy(s *sql.Selector) {
	s.Where(sql.ExprP("coalesce(" + s.C(target.FieldFailure) + " ->> 'skipped_by', '') = ''"))
}

func nextDue(ctx context.Context, tx *catalog.Tx, row *ent.Rollout, wave int, now time.Time) (time.Time, error) {
	first, err := tx.Target.Query().Where(append(loose(row, wave), target.NotBeforeGT(now))...).Order(target.ByNotBefore()).First(ctx)
	if ent.IsNotFound(err) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("look for deferred targets of rollout %s: %w", row.ID, err)
	}
	return *first.NotBefore, nil
}

// insertTargets stores the frozen selection, set-wise.
func insertTargets(ctx context.Context, tx *catalog.Tx, rolloutID string, targets []frozen) error {
	for start := 0; start < len(targets); start += insertChunk {
		var rows []*ent.TargetCreate
		for _, t := range targets[start:min(start+insertChunk, len(targets))] {
			row := tx.Target.Create().SetRolloutID(rolloutID).SetTenantID(t.tenant.ID).SetSlug(t.tenant.Slug).
				SetClusterID(t.tenant.Placement.ClusterID).SetDatabaseID(t.tenant.Placement.DatabaseID).SetDirection(up).
				SetWave(t.place.wave).SetRank(t.place.rank).SetWindow(t.place.window).
				SetStatus(t.status).SetFromVersion(t.tenant.Version).SetVersion(t.tenant.Version).SetFromReleaseID(t.fromRelease)
			if t.reason != "" {
				row.SetFailure(&controlplane.Failure{Message: t.reason})
			}
			rows = append(rows, row)
		}
		err := tx.Target.CreateBulk(rows...).Exec(ctx)
		if catalog.IsUnique(err, "target_unfinished") {
			return controlplane.Errorf(controlplane.Conflict, "another rollout took some of the tenants meanwhile").
				WithHint("`manor rollout list` shows which are running")
		}
		if err != nil {
			return fmt.Errorf("store targets: %w", err)
		}
	}
	return nil
}

// makeBatches puts the targets that are due into new batches.
func makeBatches(ctx context.Context, tx *catalog.Tx, row *ent.Rollout, wave int, now time.Time) error {
	waiters, err := dueWaiters(ctx, tx, row, wave, now)
	if err != nil {
		return err
	}
	used, err := tx.Batch.Query().Where(batch.RolloutID(row.ID)).Count(ctx)
	if err != nil {
		return fmt.Errorf("count the batches of rollout %s: %w", row.ID, err)
	}
	for i, plan := range planBatches(waiters, row.BatchSize) {
		b, err := tx.Batch.Create().SetRolloutID(row.ID).SetNumber(used + i + 1).SetWave(max(1, wave)).SetWindow(plan.Window).SetClusterID(plan.ClusterID).SetDatabaseID(plan.DatabaseID).
			SetDirection(direction(row.State)).SetState(batchWaiting).SetSize(len(plan.Targets)).SetInHand([]controlplane.InHand{}).Save(ctx)
		if err != nil {
			return fmt.Errorf("store a batch of rollout %s: %w", row.ID, err)
		}
		if err := tx.Target.Update().Where(target.IDIn(plan.Targets...)).SetBatchID(b.ID).ClearNotBefore().Exec(ctx); err != nil {
			return fmt.Errorf("put targets into batch %d of rollout %s: %w", b.Number, row.ID, err)
		}
	}
	return nil
}

// recount notes how many targets the batches of a rollout that wait still have,
// once some were taken out. One that has none is done.
func recount(ctx context.Context, tx *catalog.Tx, id string) error {
	err := exec(ctx, tx, `UPDATE batches b SET size = n.size, state = CASE WHEN n.size = 0 THEN 'done' ELSE b.state END, updated_at = clock_timestamp()
		FROM (SELECT w.id, (SELECT count(*) FROM targets t WHERE t.batch_id = w.id) AS size FROM batches w WHERE w.rollout_id = $1) n
		WHERE b.id = n.id AND b.rollout_id = $1 AND b.state = 'waiting' AND b.size <> n.size`, id)
	if err != nil {
		return fmt.Errorf("count what is left in the batches of rollout %s: %w", id, err)
	}
	return nil
}

func dueWaiters(ctx context.Context, tx *catalog.Tx, row *ent.Rollout, wave int, now time.Time) ([]waiter, error) {
	rows, err := tx.Target.Query().Where(due(row, wave, now)...).
		Select(target.FieldRank, target.FieldWindow, target.FieldSlug, target.FieldClusterID, target.FieldDatabaseID, target.FieldStatus, target.FieldAttempts, target.FieldFailure).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read what is due of rollout %s: %w", row.ID, err)
	}
	shared, err := fleet.SharedDatabases(ctx, tx.Client())
	if err != nil {
		return nil, err
	}
	waiters := make([]waiter, len(rows))
	for i, t := range rows {
		waiters[i] = waiterOf(t, shared[t.DatabaseID])
	}
	return waiters, nil
}

func waiterOf(t *ent.Target, shared bool) waiter {
	return waiter{ID: t.ID, Slug: t.Slug, ClusterID: t.ClusterID, DatabaseID: t.DatabaseID, Shared: shared, Rank: t.Rank, Window: t.Window, Suspicion: suspicion(t.Status, t.Attempts, t.Failure)}
}

// become moves a rollout to a state, legally, and says so.
func become(ctx context.Context, tx *catalog.Tx, row *ent.Rollout, state controlplane.RolloutState, reason string) (*ent.Rollout, error) {
	if !row.State.CanBecome(state) {
		return nil, controlplane.Errorf(controlplane.Refused, "rollout %s is %s and cannot become %s", row.ID, row.State, state)
	}
	change := row.Update().SetState(state).SetReason(reason).SetWanted("").SetWantedBy("")
	if state.Resting() && state != controlplane.RolloutPaused {
		change.SetFinishedAt(time.Now())
	} else {
		change.ClearFinishedAt()
	}
	after, err := change.Save(ctx)
	if err != nil {
		return nil, fmt.Errorf("store rollout %s: %w", row.ID, err)
	}
	return after, announce(ctx, tx, controlplane.EventRolloutChanged, after, nil)
}

// announce emits where a rollout is, with the targets that failed just now.
func announce(ctx context.Context, tx *catalog.Tx, kind string, row *ent.Rollout, failed []controlplane.Target) error {
	counts, err := countsOf(ctx, tx.Client(), row.ID)
	if err != nil {
		return err
	}
	c := counts[row.ID]
	return event.Emit(ctx, tx, kind, row.ID, controlplane.RolloutEvent{State: row.State, Counts: c, Targets: c.Sum(), Failed: failed, Reason: row.Reason})
}

// releaseNames finds the names that belong to ids.
func releaseNames(ctx context.Context, client *ent.Client) (map[string]string, error) {
	rows, err := client.Release.Query().Select(release.FieldName).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the releases' names: %w", err)
	}
	names := make(map[string]string, len(rows))
	for _, r := range rows {
		names[r.ID] = r.Name
	}
	return names, nil
}

// releaseIDs finds the ids that belong to names.
func releaseIDs(ctx context.Context, client *ent.Client) (map[string]string, error) {
	names, err := releaseNames(ctx, client)
	ids := make(map[string]string, len(names))
	for id, name := range names {
		ids[name] = id
	}
	return ids, err
}

// exec runs a statement on the transaction's connection.
func exec(ctx context.Context, tx *catalog.Tx, statement string, args ...any) error {
	return tx.Conn(func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, statement, args...)
		return err
	})
}
