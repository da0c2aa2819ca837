package rollout

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/release"
	"github.com/manorhq/manor/controlplane/work"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/batch"
)

const sweepInterval = 5 * time.Second

// advanceJob obeys what [Next] decides about one rollout.
type advanceJob struct {
	Rollout string `json:"rollout"`
}

func (advanceJob) Kind() string { return "rollout.advance" }

// batchJob works through one batch.
type batchJob struct {
	Batch int `json:"batch"`
}

func (batchJob) Kind() string { return "rollout.batch" }
func (batchJob) Lane() string { return Lane }

// Lane is where the jobs wait that work through a batch.
const Lane = "batch"

// sweepJob takes back what dead workers held.
type sweepJob struct{}

func (sweepJob) Kind() string { return "rollout.sweep" }

// errUndo ends a transaction in which Next decided to turn round: preparing
// that dials a cluster, which no transaction may wait for.
var errUndo = errors.New("turn round")

// Advance asks [Next] what to do about a rollout and does it, until there is
// nothing to do but wait. It may be called any number of times.
func (s *Service) Advance(ctx context.Context, id string) error {
	for {
		var d Decision
		err := s.cat.InTx(ctx, func(tx *catalog.Tx) error {
			row, err := lock(ctx, tx, id)
			if err != nil {
				return err
			}
			state, err := loadState(ctx, tx, row)
			if err != nil {
				return err
			}
			d = Next(state)
			if d.Undo {
				return errUndo
			}
			return s.obey(ctx, tx, row, d)
		})
		switch {
		case errors.Is(err, errUndo):
			return s.turnRound(ctx, id, d.Reason)
		case err != nil || !d.Batch:
			return err
		}
	}
}

// obey does what was decided.
func (s *Service) obey(ctx context.Context, tx *catalog.Tx, row *ent.Rollout, d Decision) error {
	if d.Batch {
		return makeBatches(ctx, tx, row)
	}
	if len(d.Start) > 0 {
		return s.hand(ctx, tx, d.Start)
	}
	if d.Become != "" {
		return s.finish(ctx, tx, row, d)
	}
	if !d.WakeAt.IsZero() {
		return s.queue.EnqueueAt(ctx, tx, d.WakeAt, advanceJob{Rollout: row.ID})
	}
	return nil
}

// hand gives batches to workers.
func (s *Service) hand(ctx context.Context, tx *catalog.Tx, ids []int) error {
	err := tx.Batch.Update().Where(batch.IDIn(ids...)).SetState(batchQueued).SetUpdatedAt(time.Now()).Exec(ctx)
	if err != nil {
		return fmt.Errorf("hand out batches %v: %w", ids, err)
	}
	jobs := make([]work.Job, len(ids))
	for i, id := range ids {
		jobs[i] = batchJob{Batch: id}
	}
	return s.queue.Enqueue(ctx, tx, jobs...)
}

// finish ends a rollout's run. One that took every tenant to its version makes
// that the default of new tenants; taking it back takes that back too.
func (s *Service) finish(ctx context.Context, tx *catalog.Tx, row *ent.Rollout, d Decision) error {
	forwards := row.State == controlplane.RolloutRunning
	row, err := become(ctx, tx, row, d.Become, d.Reason)
	if err != nil {
		return err
	}
	switch {
	case d.Become == controlplane.RolloutRolledBack:
		return release.Demote(ctx, tx, row.ID)
	case d.Become != controlplane.RolloutSucceeded || !forwards:
		return nil
	}
	behind, err := tenantsElsewhere(ctx, tx, row.Version)
	if err != nil || behind {
		return err
	}
	return release.PromoteBy(ctx, tx, release.Default{ReleaseID: row.ReleaseID, Version: row.Version}, row.ID)
}

// Sweep takes back batches whose lease has run out, hands out again what was
// lost on its way to a worker, and advances every rollout that is at work.
func (s *Service) Sweep(ctx context.Context) error {
	return s.cat.InTx(ctx, func(tx *catalog.Tx) error {
		ids, err := lockAtWork(ctx, tx)
		if err != nil {
			return err
		}
		if err := takeBack(ctx, tx, ids); err != nil {
			return err
		}
		lost, err := lostBatches(ctx, tx)
		if err != nil {
			return err
		}
		if len(lost) > 0 {
			if err := s.hand(ctx, tx, lost); err != nil {
				return err
			}
		}
		jobs := make([]work.Job, len(ids))
		for i, id := range ids {
			jobs[i] = advanceJob{Rollout: id}
		}
		return s.queue.Enqueue(ctx, tx, jobs...)
	})
}
