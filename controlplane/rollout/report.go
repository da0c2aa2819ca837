package rollout

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/batch"
)

const (
	// reportEvery is how long what has happened to a tenant may be known to its worker only.
	reportEvery = time.Second
	// lastWords is how long storing the last results of a batch may take.
	lastWords = time.Minute
)

// reportAll stores what happens to a batch while it is worked through: every
// second, at once where it may stop the rollout, and at the end.
func (s *Service) reportAll(ctx context.Context, l *lease, results <-chan result) error {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	var news []result
	for {
		select {
		case r, open := <-results:
			if !open {
				return s.report(ctx, l, news, lastWords, true)
			}
			r, err := lawful(l, r)
			if err != nil {
				s.log.Error("a result is not stored as it is", "rollout", l.batch.RolloutID, "batch", l.batch.Number, "err", err)
			}
			if news = append(news, r); !r.urgent {
				continue
			}
		case <-tick.C:
		}
		if len(news) == 0 {
			continue
		}
		if err := s.report(ctx, l, news, heartbeat, false); err != nil {
			s.log.Warn("results not stored yet", "rollout", l.batch.RolloutID, "batch", l.batch.Number, "err", err)
			continue
		}
		l.said(news)
		news = nil
	}
}

// report stores what happened to targets of a batch: targets, tenants, the
// cluster's flow, event and the next job commit together, in a handful of
// statements however large the batch. A batch whose lease went to somebody else
// reports nothing: what is true then is for the new holder to find out from the
// tenants.
func (s *Service) report(ctx context.Context, l *lease, results []result, within time.Duration, last bool) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	c, err := columnsOf(results)
	if err != nil {
		return err
	}
	stop := false
	err = s.cat.InTx(ctx, func(tx *catalog.Tx) error {
		// Whoever decides about the rollout sees all of this or nothing of it.
		row, err := lock(ctx, tx, l.rollout.ID)
		if err != nil {
			return err
		}
		b, err := tx.Batch.Query().Where(batch.ID(l.batch.ID)).ForUpdate().Only(ctx)
		if err != nil {
			return fmt.Errorf("lock batch %d: %w", l.batch.ID, err)
		}
		if stop = b.State != batchRunning || b.Epoch != l.batch.Epoch; stop {
			s.log.Warn("the batch was taken over; its late results are dropped", "rollout", b.RolloutID, "batch", b.Number)
			return nil
		}
		stored, err := storeResults(ctx, tx, l, c)
		if err != nil {
			return err
		}
		freed, err := closeBatch(ctx, tx, l, b, stored, last)
		if err != nil {
			return err
		}
		if stop, err = storeFlow(ctx, tx, l, l.sight(results)); err != nil {
			return err
		}
		return s.tell(ctx, tx, l, row, results, last, freed)
	})
	if stop {
		l.halt()
	}
	return err
}

// closeBatch notes that targets of a batch are reported, and closes it after
// the last. freed says that others may use what it does not need any more.
func closeBatch(ctx context.Context, tx *catalog.Tx, l *lease, b *ent.Batch, reported int, last bool) (freed bool, err error) {
	left := b.Size - b.Finished - reported
	update := b.Update().SetFinished(b.Finished + reported).SetInHand(l.inHand()).SetUpdatedAt(time.Now())
	if parallelism := max(1, min(b.Parallelism, left)); parallelism < b.Parallelism {
		update.SetParallelism(parallelism)
		freed = true
	}
	if last {
		update.SetState(batchDone).ClearLeaseUntil()
		freed = true
	}
	if err := update.Exec(ctx); err != nil {
		return false, fmt.Errorf("note the progress of batch %d: %w", b.ID, err)
	}
	return freed, nil
}

// storeFlow adapts the cluster's flow to what the batch saw. over says that the
// batch is to start nothing more, since more is going on than the pace allows.
func storeFlow(ctx context.Context, tx *catalog.Tx, l *lease, saw sight) (over bool, err error) {
	now, err := tx.Now(ctx)
	if err != nil {
		return false, err
	}
	course, err := fleet.LockCourse(ctx, tx, l.batch.ClusterID)
	if err != nil {
		return false, err
	}
	was := course
	if course.Flow = adapt(was.Flow, saw, now); course.Name != "" && course.Flow != was.Flow {
		if err := fleet.SetFlow(ctx, tx, l.batch.ClusterID, was, course.Flow); err != nil {
			return false, err
		}
	}
	allowed, _ := pace(course, now)
	used, err := usedOn(ctx, tx, l.batch.ClusterID)
	return used > allowed, err
}

// tell announces what was stored, and has those advanced who may use what is free.
func (s *Service) tell(ctx context.Context, tx *catalog.Tx, l *lease, row *ent.Rollout, results []result, last, freed bool) error {
	kind := controlplane.EventBatchProgress
	if last {
		kind = controlplane.EventBatchFinished
	}
	names, err := fleet.ClusterNames(ctx, tx.Client())
	if err != nil {
		return err
	}
	if err := announce(ctx, tx, kind, row, failedTargets(l, results, names)); err != nil || !freed {
		return err
	}
	ids, err := atWork(ctx, tx)
	if err != nil {
		return err
	}
	return s.lookAgain(ctx, tx, ids)
}

// sight is what results, and the cluster's replicas, tell of their cluster.
func (l *lease) sight(results []result) sight {
	saw := sight{waited: map[string]int{}}
	if l.lags() {
		saw.waited[waitReplicas] = len(results)
	}
	for _, r := range results {
		if r.waited != "" {
			saw.waited[r.waited]++
		}
		switch {
		case r.trouble && saw.trouble != nil:
			saw.trouble, saw.by = r.Failure, ""
		case r.trouble:
			saw.trouble, saw.by = r.Failure, l.slug(r.ID)
		case r.answered:
			saw.reached++
		}
	}
	return saw
}

// slug is the name of a target's tenant.
func (l *lease) slug(id int) string {
	for _, t := range l.targets {
		if t.ID == id {
			return t.Slug
		}
	}
	return ""
}

// columns are results, column by column, for unnest.
type columns struct {
	ids       []int
	statuses  []string
	versions  []string
	origins   []*string
	failures  []*string
	durations []int64
	pauses    []float64 // seconds
	tried     []bool
	answered  []bool
	prints    []string // fingerprints
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
		c.origins = append(c.origins, r.Origin)
		c.failures = append(c.failures, failure)
		c.durations = append(c.durations, r.Duration.Milliseconds())
		c.pauses = append(c.pauses, r.Pause.Seconds())
		c.tried = append(c.tried, r.Tried)
		c.answered = append(c.answered, r.answered)
		c.prints = append(c.prints, r.Fingerprint)
	}
	return c, nil
}

// storeResults writes results to targets and tenants, and counts them. A target
// that comes back leaves the batch. What was stored before is left as it is,
// since the answer to a COMMIT may have been lost, and so is the version of a
// tenant that was not asked.
func storeResults(ctx context.Context, tx *catalog.Tx, l *lease, c columns) (stored int, err error) {
	err = tx.Conn(func(conn *pgx.Conn) error {
		// The tenant is at the rollout's release, unless it is back where it was.
		return conn.QueryRow(ctx, `WITH stored AS (
				UPDATE targets t SET status = r.status, version = r.version, from_version = coalesce(r.origin, t.from_version),
					failure = r.failure, duration_ms = r.duration,
					not_before = CASE WHEN r.pause > 0 THEN clock_timestamp() + make_interval(secs => r.pause) END,
					attempts = t.attempts + r.tried::int, updated_at = clock_timestamp(),
					batch_id = CASE WHEN r.status IN ('pending', 'deferred', 'unknown') THEN NULL ELSE t.batch_id END
				FROM unnest($3::bigint[], $4::text[], $5::text[], $6::text[], $7::jsonb[], $8::bigint[], $9::float8[], $10::bool[], $11::bool[], $12::text[])
					AS r(id, status, version, origin, failure, duration, pause, tried, answered, fingerprint)
				WHERE t.id = r.id AND t.batch_id = $1 AND t.status = 'running'
				RETURNING t.tenant_id, t.status, t.version, t.from_version, t.from_release_id, r.answered, r.fingerprint
			), moved AS (
				UPDATE tenants n SET version = t.version, fingerprint = t.fingerprint, updated_at = clock_timestamp(),
					release_id = CASE WHEN t.version = t.from_version AND t.status <> 'current' THEN t.from_release_id ELSE $2 END
				FROM stored t WHERE n.id = t.tenant_id AND t.answered AND (n.version <> t.version OR t.status <> 'current')
			)
			SELECT count(*) FROM stored`,
			l.batch.ID, l.rollout.ReleaseID, c.ids, c.statuses, c.versions, c.origins, c.failures, c.durations, c.pauses, c.tried, c.answered, c.prints).Scan(&stored)
	})
	if err != nil {
		return 0, fmt.Errorf("store the results of batch %d: %w", l.batch.ID, err)
	}
	return stored, nil
}

// failedTargets are those of the results that an operator wants to hear of.
func failedTargets(l *lease, results []result, clusters map[string]string) []controlplane.Target {
	var failed []controlplane.Target
	for _, r := range results {
		if r.Status != controlplane.TargetFailed && r.Status != controlplane.TargetNeedsAttention {
			continue
		}
		i := slices.IndexFunc(l.targets, func(t leased) bool { return t.ID == r.ID })
		t := noun(l.targets[i].Target, l.rollout.Strategy, clusters, l.batch.Number)
		t.Attempts++
		t.Status, t.Version, t.Failure, t.DurationMS = r.Status, r.Version, r.Failure, r.Duration.Milliseconds()
		failed = append(failed, t)
	}
	return failed
}

// noun is a target as people see it; clusters are names by id.
func noun(t *ent.Target, how controlplane.Strategy, clusters map[string]string, batchNumber int) controlplane.Target {
	return controlplane.Target{Rollout: t.RolloutID, Tenant: t.Slug, TenantID: t.TenantID, Cluster: clusters[t.ClusterID], Wave: waveName(how, t.Wave),
		Status: t.Status, From: t.FromVersion, Version: t.Version, Attempts: t.Attempts, Batch: batchNumber,
		Failure: t.Failure, DurationMS: t.DurationMs, UpdatedAt: t.UpdatedAt}
}

// waveName is the name of a wave by its number. A rollout from before there were
// waves has one.
func waveName(how controlplane.Strategy, number int) string {
	return how.Filled().Waves[number-1].Name
}
