package rollout

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/batch"
)

// columns are the results of a batch, column by column, for unnest.
type columns struct {
	ids       []int
	statuses  []string
	versions  []string
	failures  []*string
	durations []int64
	dues      []*time.Time
	tried     []bool
}

func columnsOf(results []result) (columns, error) {
	var c columns
	for _, r := range results {
		var failure *string
		if r.Failure != nil {
			raw, err := json.Marshal(r.Failure)
			if err != nil {
				return c, fmt.Errorf("encode a failure: %w", err)
			}
			text := string(raw)
			failure = &text
		}
		c.ids = append(c.ids, r.ID)
		c.statuses = append(c.statuses, string(r.Status))
		c.versions = append(c.versions, r.Version)
		c.failures = append(c.failures, failure)
		c.durations = append(c.durations, r.Duration.Milliseconds())
		c.dues = append(c.dues, r.NotBefore)
		c.tried = append(c.tried, r.Tried)
	}
	return c, nil
}

// report stores what happened to a batch: targets, tenants, event and the next
// job commit together, in a handful of statements however large the batch. A
// batch whose lease went to somebody else reports nothing: what is true then
// is for the new holder to find out from the tenants.
func (s *Service) report(ctx context.Context, l *lease, results []result) error {
	c, err := columnsOf(results)
	if err != nil {
		return err
	}
	clusters, err := s.clusterNames(ctx)
	if err != nil {
		return err
	}
	return s.cat.InTx(ctx, func(tx *catalog.Tx) error {
		// Whoever decides about the rollout sees all of this or nothing of it.
		row, err := lock(ctx, tx, l.rollout.ID)
		if err != nil {
			return err
		}
		b, err := tx.Batch.Query().Where(batch.ID(l.batch.ID)).ForUpdate().Only(ctx)
		if err != nil {
			return fmt.Errorf("lock batch %d: %w", l.batch.ID, err)
		}
		if b.State != batchRunning || b.Epoch != l.batch.Epoch {
			s.log.Warn("the batch was taken over; its late results are dropped", "rollout", b.RolloutID, "batch", b.Number)
			return nil
		}
		if err := storeResults(ctx, tx, l, c); err != nil {
			return err
		}
		if err := b.Update().SetState(batchDone).ClearLeaseUntil().SetUpdatedAt(time.Now()).Exec(ctx); err != nil {
			return fmt.Errorf("close batch %d: %w", b.ID, err)
		}
		if err := announce(ctx, tx, controlplane.EventBatchFinished, row, failedTargets(l, results, clusters)); err != nil {
			return err
		}
		return s.queue.Enqueue(ctx, tx, advanceJob{Rollout: row.ID})
	})
}

// storeResults writes the results of a batch to its targets and tenants. A
// target that comes back leaves the batch.
func storeResults(ctx context.Context, tx *catalog.Tx, l *lease, c columns) error {
	const rows = `unnest($2::bigint[], $3::text[], $4::text[], $5::jsonb[], $6::bigint[], $7::timestamptz[], $8::bool[])
		AS r(id, status, version, failure, duration, due, tried)`
	err := exec(ctx, tx, `UPDATE targets t SET status = r.status, version = r.version, failure = r.failure, duration_ms = r.duration,
			not_before = r.due, attempts = t.attempts + r.tried::int, updated_at = clock_timestamp(),
			batch_id = CASE WHEN r.status IN ('pending', 'deferred', 'unknown') THEN NULL ELSE t.batch_id END
		FROM `+rows+` WHERE t.id = r.id AND t.batch_id = $1`,
		l.batch.ID, c.ids, c.statuses, c.versions, c.failures, c.durations, c.dues, c.tried)
	if err != nil {
		return fmt.Errorf("store the results of batch %d: %w", l.batch.ID, err)
	}
	// The tenant is at the rollout's release, unless it is back where it was.
	err = exec(ctx, tx, `UPDATE tenants n SET version = t.version, updated_at = clock_timestamp(),
			release_id = CASE WHEN t.version = t.from_version THEN t.from_release_id ELSE $2 END
		FROM targets t WHERE t.id = ANY($1) AND n.id = t.tenant_id AND n.version <> t.version`, c.ids, l.rollout.ReleaseID)
	if err != nil {
		return fmt.Errorf("store the tenants' versions of batch %d: %w", l.batch.ID, err)
	}
	return nil
}

// failedTargets are the targets of a batch that an operator wants to hear of.
func failedTargets(l *lease, results []result, clusters map[string]string) []controlplane.Target {
	var failed []controlplane.Target
	for i, r := range results {
		if r.Status != controlplane.TargetFailed && r.Status != controlplane.TargetNeedsAttention {
			continue
		}
		t := noun(l.targets[i].Target, clusters, l.batch.Number)
		t.Attempts++
		t.Status, t.Version, t.Failure, t.DurationMS = r.Status, r.Version, r.Failure, r.Duration.Milliseconds()
		failed = append(failed, t)
	}
	return failed
}

// noun is a target as people see it; clusters are names by id.
func noun(t *ent.Target, clusters map[string]string, batchNumber int) controlplane.Target {
	return controlplane.Target{Rollout: t.RolloutID, Tenant: t.Slug, TenantID: t.TenantID, Cluster: clusters[t.ClusterID],
		Status: t.Status, From: t.FromVersion, Version: t.Version, Attempts: t.Attempts, Batch: batchNumber,
		Failure: t.Failure, DurationMS: t.DurationMs, UpdatedAt: t.UpdatedAt}
}
