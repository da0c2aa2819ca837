package rollout

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/access"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/controlplane/release"
	"github.com/manorhq/manor/controlplane/selector"
	"github.com/manorhq/manor/controlplane/tenant"
	"github.com/manorhq/manor/controlplane/work"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/predicate"
	"github.com/manorhq/manor/ent/target"
)

// Service is the rollout room.
type Service struct {
	cat      *catalog.Catalog
	guard    access.Guard
	fleet    *fleet.Service
	releases *release.Service
	queue    *work.Queue
	log      *slog.Logger
	worker   string // this process, in leases

	drain    chan struct{} // closed when no new target is to be started
	drainOne sync.Once
}

// New furnishes the room and registers its loops with the queue. worker names
// this process in leases.
func New(cat *catalog.Catalog, f *fleet.Service, r *release.Service, q *work.Queue, log *slog.Logger, worker string) *Service {
	s := &Service{cat: cat, fleet: f, releases: r, queue: q, log: log, worker: worker, drain: make(chan struct{})}
	work.Handle(q, time.Minute, func(ctx context.Context, job advanceJob) error { return s.Advance(ctx, job.Rollout) })
	work.Handle(q, time.Minute, func(ctx context.Context, job wakeJob) error { return s.Advance(ctx, job.Rollout) })
	work.Handle(q, batchTimeout, func(ctx context.Context, job batchJob) error { return s.WorkBatch(ctx, job.Batch) })
	work.Handle(q, gateTimeout, func(ctx context.Context, job gateJob) error { return s.askGate(ctx, job) })
	work.Every(q, sweepInterval, "rollout sweep", s.Sweep)
	work.Every(q, fleet.ForgetScratchesEvery, "forget scratches", f.ForgetScratches)
	work.Every(q, snapshotSweep, "snapshot sweep", s.SweepSnapshots)
	return s
}

// Drain makes running batches start no further tenant; those in hand are
// finished and the rest is given back.
func (s *Service) Drain() { s.drainOne.Do(func() { close(s.drain) }) }

// frozen is one tenant of a selection, as a rollout finds it.
type frozen struct {
	tenant      controlplane.Tenant
	status      controlplane.TargetStatus
	reason      string // why it is skipped
	fromRelease string
	place       place
}

// Start freezes the selection and starts the rollout over it.
func (s *Service) Start(ctx context.Context, by controlplane.Actor, n controlplane.NewRollout) (*controlplane.Rollout, error) {
	if err := s.guard.See(by, "rollout.start", n.Release); err != nil {
		return nil, err
	}
	if err := noClones(n); err != nil {
		return nil, err
	}
	kept, err := s.usePlan(ctx, &n)
	if err != nil {
		return nil, err
	}
	r, targets, err := s.prepare(ctx, s.cat.Ent(), &n)
	if err != nil {
		return nil, err
	}
	if err := copyable(n, targets); err != nil {
		return nil, err
	}
	if err := s.ready(ctx, r, targets); err != nil {
		return nil, err
	}
	if kept == nil {
		if err := s.proved(ctx, r, n, targets); err != nil {
			return nil, err
		}
	}
	if n.OnError == controlplane.OnErrorRollback || n.OnError == controlplane.OnErrorRollbackWave {
		if err := s.reversible(ctx, r, n.Version, targets); err != nil {
			return nil, err
		}
	}
	var row *ent.Rollout
	err = s.cat.InTx(ctx, func(tx *catalog.Tx) error {
		// Frozen again inside the transaction: what was dialled above may have taken seconds.
		before := targets
		if _, targets, err = s.prepare(ctx, tx.Client(), &n); err != nil {
			return err
		}
		if err := stillProved(before, targets, n); err != nil {
			return err
		}
		if err := stillPlanned(kept, r, n, targets); err != nil {
			return err
		}
		if err := copyable(n, targets); err != nil {
			return err
		}
		row, err = s.start(ctx, tx, by, n, r, targets)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.noun(ctx, row)
}

func (s *Service) start(ctx context.Context, tx *catalog.Tx, by controlplane.Actor, n controlplane.NewRollout, r *controlplane.Release, targets []frozen) (*ent.Rollout, error) {
	id := "r_" + pg.NewName("")[:8]
	if err := s.guard.Permit(ctx, tx, by, "rollout.start", id, n); err != nil {
		return nil, err
	}
	if err := unclaimed(ctx, tx, targets); err != nil {
		return nil, err
	}
	now, err := tx.Now(ctx)
	if err != nil {
		return nil, err
	}
	row, err := tx.Rollout.Create().SetID(id).SetState(controlplane.RolloutPlanned).SetReleaseID(r.ID).SetVersion(n.Version).
		SetSelector(n.Select).SetBatchSize(n.BatchSize).SetConcurrency(n.Concurrency).SetPerCluster(n.PerCluster).
		SetPerDatabase(perDatabase(r, n, targets)).SetOnError(n.OnError).SetStrategy(*n.Strategy).SetCreatedBy(by.String()).SetCreatedAt(now).Save(ctx)
	if err != nil {
		return nil, fmt.Errorf("store rollout %s: %w", id, err)
	}
	if err := insertTargets(ctx, tx, id, targets); err != nil {
		return nil, err
	}
	if err := insertWaves(ctx, tx, id, n.Strategy.Waves); err != nil {
		return nil, err
	}
	if row, err = become(ctx, tx, row, controlplane.RolloutRunning, ""); err != nil {
		return nil, err
	}
	return row, s.queue.Enqueue(ctx, tx, advanceJob{Rollout: id})
}

// perDatabase is how many tenants of one database are worked on at a time: one
// where an index may be built concurrently, since such a build waits for every
// transaction of its database.
func perDatabase(r *controlplane.Release, n controlplane.NewRollout, targets []frozen) int {
	for _, v := range between(r, lowestOf(targets, n.Version), n.Version) {
		if v.TxMode == "none" {
			return 1
		}
	}
	return n.PerDatabase
}

// prepare checks what is asked and freezes the selection.
func (s *Service) prepare(ctx context.Context, client *ent.Client, n *controlplane.NewRollout) (*controlplane.Release, []frozen, error) {
	if err := useNamed(ctx, client, n); err != nil {
		return nil, nil, err
	}
	if err := n.Validate(); err != nil {
		return nil, nil, err
	}
	l, err := compileLayout(*n.Strategy)
	if err != nil {
		return nil, nil, err
	}
	if _, err := selector.Compile(n.Select); err != nil {
		return nil, nil, err
	}
	r, err := release.ByName(ctx, client, n.Release)
	if err != nil {
		return nil, nil, err
	}
	if n.Version == "" {
		n.Version = r.Latest()
	}
	if !r.Has(n.Version) {
		return nil, nil, release.NoSuchVersion(r, n.Version)
	}
	releases, err := releaseIDs(ctx, client)
	if err != nil {
		return nil, nil, err
	}
	var targets []frozen
	err = tenant.Each(ctx, client, controlplane.TenantQuery{Select: n.Select}, func(t controlplane.Tenant) bool {
		if hasHome(&t) {
			targets = append(targets, freeze(&t, n.Version, releases))
		}
		return true
	})
	if err == nil && len(targets) == 0 {
		err = empty(n.Select)
	}
	if err != nil {
		return nil, nil, err
	}
	return r, targets, l.placeAll(targets)
}

func empty(selection string) error {
	err := controlplane.Errorf(controlplane.Refused, "the selection holds no tenant")
	if selection == "" {
		return err.WithHint("there is none yet: `manor tenant create`")
	}
	return err.WithHint("try it with `manor tenant list --select '%s'`", selection)
}

// ready refuses to start while a cluster of the selection is down or does not
// allow an extension that the release needs.
func (s *Service) ready(ctx context.Context, r *controlplane.Release, targets []frozen) error {
	clusters, err := s.fleet.Clusters(ctx)
	if err != nil {
		return err
	}
	on := map[string]int{}
	for _, t := range targets {
		if t.status == controlplane.TargetPending {
			on[t.tenant.Cluster]++
		}
	}
	clusters = slices.DeleteFunc(clusters, func(c controlplane.Cluster) bool { return on[c.Name] == 0 })
	for _, c := range clusters {
		if err := r.FitsOn(&c); err != nil {
			return err
		}
	}
	for name, err := range s.fleet.Down(ctx, clusters) {
		return controlplane.Errorf(controlplane.Unavailable, "cluster %s, home of %d of the selected tenants, does not answer: %w", name, on[name], err).
			WithHint("start it, or leave it out: --select 'tenant.cluster != %q'", name)
	}
	return nil
}

// unclaimed refuses tenants that are unfinished targets of another rollout,
// and names it.
func unclaimed(ctx context.Context, tx *catalog.Tx, targets []frozen) error {
	ids := make([]string, 0, len(targets))
	for _, t := range targets {
		ids = append(ids, t.tenant.ID)
	}
	for chunk := range slices.Chunk(ids, insertChunk) {
		busy, err := tx.Target.Query().Where(target.TenantIDIn(chunk...), target.StatusIn(controlplane.UnfinishedStatuses...)).First(ctx)
		if ent.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look for other rollouts: %w", err)
		}
		return controlplane.Errorf(controlplane.Conflict, "tenant %s is an unfinished target of rollout %s", busy.Slug, busy.RolloutID).
			WithHint("wait for it with `manor rollout watch %s`, or resume it", busy.RolloutID)
	}
	return nil
}

// Resume continues a paused rollout, or one that somebody wants to pause. The
// failures so far are forgiven: the next one pauses it again.
func (s *Service) Resume(ctx context.Context, by controlplane.Actor, id string) (*controlplane.Rollout, error) {
	return s.restart(ctx, by, id, "rollout.resume", func(tx *catalog.Tx, row *ent.Rollout) error {
		if row.State != controlplane.RolloutPaused {
			return controlplane.Errorf(controlplane.Refused, "rollout %s is %s, not paused", id, row.State).WithHint("%s", nextStep(row))
		}
		return forgive(ctx, tx, row)
	})
}

// Retry tries the failed and skipped targets of a rollout again.
func (s *Service) Retry(ctx context.Context, by controlplane.Actor, id string) (*controlplane.Rollout, error) {
	return s.restart(ctx, by, id, "rollout.retry", func(tx *catalog.Tx, row *ent.Rollout) error {
		if row.State != controlplane.RolloutFailed && row.State != controlplane.RolloutPaused {
			return controlplane.Errorf(controlplane.Refused, "rollout %s is %s: there is nothing to retry", id, row.State).WithHint("%s", nextStep(row))
		}
		if err := goingForward(ctx, tx, id); err != nil {
			return err
		}
		return retryFailed(ctx, tx, row)
	})
}

// goingForward refuses a rollout whose rollback did not take every tenant back:
// going forward again would leave them behind.
func goingForward(ctx context.Context, tx *catalog.Tx, id string) error {
	stuck, err := tx.Target.Query().Where(target.RolloutID(id), target.Direction(down), target.StatusNEQ(controlplane.TargetRolledBack)).Count(ctx)
	if err != nil {
		return fmt.Errorf("look for what is not rolled back of rollout %s: %w", id, err)
	}
	if stuck > 0 {
		return controlplane.Errorf(controlplane.Refused, "rollout %s is being rolled back, and %d tenants are not back yet", id, stuck).
			WithHint("`manor rollout targets %s --status needs_attention` says why; then `manor rollout rollback %s` goes on", id, id)
	}
	return nil
}

// restart takes a resting rollout to running after f has prepared it.
func (s *Service) restart(ctx context.Context, by controlplane.Actor, id, action string, f func(*catalog.Tx, *ent.Rollout) error) (*controlplane.Rollout, error) {
	return s.steer(ctx, by, id, action, controlplane.RolloutCommand{}, func(tx *catalog.Tx, row *ent.Rollout) (_ *ent.Rollout, err error) {
		if action == "rollout.resume" && row.State == controlplane.RolloutRunning && row.Wanted == controlplane.RolloutPaused { // nothing has stopped yet
			return s.want(ctx, tx, row, "", by)
		}
		if err := f(tx, row); err != nil {
			return nil, err
		}
		if row, err = become(ctx, tx, row, controlplane.RolloutRunning, ""); err != nil {
			return nil, err
		}
		if err := forgetAnswers(ctx, tx, id); err != nil {
			return nil, err
		}
		if row, err = row.Update().ClearClosedAt().Save(ctx); err != nil {
			return nil, fmt.Errorf("open rollout %s to newcomers: %w", id, err)
		}
		return row, s.queue.Enqueue(ctx, tx, advanceJob{Rollout: id})
	})
}

// nextStep says what an operator can do with a rollout in its state.
func nextStep(row *ent.Rollout) string {
	switch row.State {
	case controlplane.RolloutRunning, controlplane.RolloutRollingBack, controlplane.RolloutPlanned:
		return "it is at work: `manor rollout watch " + row.ID + "`"
	case controlplane.RolloutPaused:
		return "go on with `manor rollout resume " + row.ID + "` or `manor rollout rollback " + row.ID + "`"
	case controlplane.RolloutFailed:
		return "see `manor rollout targets " + row.ID + " --status failed`, then `manor rollout retry " + row.ID + "`"
	}
	return "start a new one with `manor rollout start`"
}

// forgive notes the failures that an operator resumed from.
func forgive(ctx context.Context, tx *catalog.Tx, row *ent.Rollout) error {
	counts, err := countsOf(ctx, tx.Client(), row.ID)
	if err != nil {
		return err
	}
	if err := tx.Rollout.UpdateOne(row).SetForgiven(counts[row.ID][controlplane.TargetFailed]).Exec(ctx); err != nil {
		return fmt.Errorf("store rollout %s: %w", row.ID, err)
	}
	return nil
}

// retryFailed puts the failed and skipped targets back to work, but for those
// that the rollout took part of the way and somebody else further.
func retryFailed(ctx context.Context, tx *catalog.Tx, row *ent.Rollout) error {
	again := []predicate.Target{target.RolloutID(row.ID), target.Direction(up), target.StatusIn(controlplane.TargetFailed, controlplane.TargetSkipped), unmoved, notSkippedBy}
	var waves []int
	if err := tx.Target.Query().Where(again...).Unique(true).Select(target.FieldWave).Scan(ctx, &waves); err != nil {
		return fmt.Errorf("look for the waves to open of rollout %s: %w", row.ID, err)
	}
	n, err := tx.Target.Update().Where(again...).
		SetStatus(controlplane.TargetPending).SetAttempts(0).ClearBatchID().ClearNotBefore().ClearFailure().SetUpdatedAt(time.Now()).Save(ctx)
	if catalog.IsUnique(err, "target_unfinished") {
		return controlplane.Errorf(controlplane.Conflict, "another rollout works on some of the failed tenants").WithHint("`manor rollout list` shows which")
	}
	if err != nil {
		return fmt.Errorf("put the failed targets of rollout %s back: %w", row.ID, err)
	}
	if n == 0 {
		return controlplane.Errorf(controlplane.Refused, "rollout %s has no failed target", row.ID)
	}
	if err := tx.Rollout.UpdateOne(row).SetForgiven(0).Exec(ctx); err != nil {
		return fmt.Errorf("store rollout %s: %w", row.ID, err)
	}
	return reopen(ctx, tx, row.ID, waves)
}
