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
)

const sweepInterval = 3 * time.Second

// advanceJob obeys what [Next] decides about one rollout.
type advanceJob struct {
	Rollout string `json:"rollout"`
}

func (advanceJob) Kind() string { return "rollout.advance" }

// wakeJob is advanceJob at a time; there is one of a rollout at most.
type wakeJob struct {
	Rollout string `json:"rollout"`
}

func (wakeJob) Kind() string { return "rollout.wake" }
func (wakeJob) Unique() bool { return true }

// batchJob works through one batch.
type batchJob struct {
	Batch int `json:"batch"`
}

func (batchJob) Kind() string { return "rollout.batch" }
func (batchJob) Lane() string { return Lane }

// Lane is where the jobs wait that work through a batch.
const Lane = "batch"

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
			state, err := s.survey(ctx, tx, row)
			if err != nil {
				return err
			}
			d = Next(state)
			if d.Undo {
				return errUndo
			}
			return s.obey(ctx, tx, row, d, state)
		})
		switch {
		case errors.Is(err, errUndo):
			return s.turnRound(ctx, id, scope{wave: d.UndoWave}, d.Reason)
		case err != nil || !d.again():
			return err
		}
	}
}

// survey lets tenants join that were created meanwhile, and reads the state to
// decide upon. One rollout is decided about at a time, since limits hold over
// all of them together.
func (s *Service) survey(ctx context.Context, tx *catalog.Tx, row *ent.Rollout) (State, error) {
	if row.State.Resting() {
		return State{Rollout: row.State}, nil
	}
	if err := exec(ctx, tx, "SELECT pg_advisory_xact_lock(hashtextextended('manor.rollout.decide', 0))"); err != nil {
		return State{}, fmt.Errorf("wait for others to decide: %w", err)
	}
	if _, err := welcome(ctx, tx, row); err != nil {
		return State{}, err
	}
	now, err := tx.Now(ctx)
	if err != nil {
		return State{}, err
	}
	if err := giveUp(ctx, tx, row, now); err != nil {
		return State{}, err
	}
	return loadState(ctx, tx, row)
}

// obey does what was decided.
func (s *Service) obey(ctx context.Context, tx *catalog.Tx, row *ent.Rollout, d Decision, state State) error {
	if len(d.Start) > 0 {
		if err := s.hand(ctx, tx, d.Start); err != nil {
			return err
		}
	}
	if d.Batch {
		return makeBatches(ctx, tx, row, state.present(), state.Now)
	}
	if d.Close {
		return shut(ctx, tx, row, state.Now)
	}
	if d.End > 0 || d.Pass > 0 {
		return s.mark(ctx, tx, row, d, state.Now)
	}
	if d.Ask.Wave > 0 {
		return s.toAsk(ctx, tx, row, d.Ask, state.Now)
	}
	if d.Become != "" {
		return s.finish(ctx, tx, row, d)
	}
	if !d.WakeAt.IsZero() && d.WakeAt.Sub(state.Now) < sweepInterval { // or the sweep is there first
		return s.queue.EnqueueAt(ctx, tx, d.WakeAt, wakeJob{Rollout: row.ID})
	}
	return nil
}

// hand gives batches to workers.
func (s *Service) hand(ctx context.Context, tx *catalog.Tx, grants []Grant) error {
	ids, parallelism := make([]int, len(grants)), make([]int, len(grants))
	jobs := make([]work.Job, len(grants))
	for i, g := range grants {
		ids[i], parallelism[i] = g.Batch, g.Parallelism
		jobs[i] = batchJob{Batch: g.Batch}
	}
	err := exec(ctx, tx, `UPDATE batches b SET state = $3, parallelism = g.parallelism, updated_at = clock_timestamp()
		FROM unnest($1::bigint[], $2::bigint[]) AS g(id, parallelism)
		WHERE b.id = g.id AND b.state IN ('waiting', 'queued')`, ids, parallelism, batchQueued)
	if err != nil {
		return fmt.Errorf("hand out batches %v: %w", ids, err)
	}
	return s.queue.Enqueue(ctx, tx, jobs...)
}

// finish ends a rollout's run. One that took every tenant to its version makes
// that the default of new tenants; taking it back takes that back too.
func (s *Service) finish(ctx context.Context, tx *catalog.Tx, row *ent.Rollout, d Decision) error {
	if err := release.LockDefault(ctx, tx); err != nil {
		return err
	}
	if d.Become == controlplane.RolloutAborted {
		if err := leaveOpen(ctx, tx, row.ID); err != nil {
			return err
		}
	}
	forwards := row.State == controlplane.RolloutRunning
	row, err := become(ctx, tx, row, d.Become, d.Reason)
	switch {
	case err != nil:
		return err
	case d.Become == controlplane.RolloutRolledBack:
		return release.Demote(ctx, tx, row.ID)
	case d.Become == controlplane.RolloutSucceeded && forwards:
		return promote(ctx, tx, row)
	}
	return nil
}

// Sweep takes back batches whose lease has run out, hands out again what was
// lost on its way to a worker, and advances every rollout that is at work. Every
// process sweeps; what another has locked, it leaves to that one.
func (s *Service) Sweep(ctx context.Context) error {
	return s.cat.InTx(ctx, func(tx *catalog.Tx) error {
		ids, err := lockAtWork(ctx, tx)
		if err != nil {
			return err
		}
		if err := takeBack(ctx, tx, ids); err != nil {
			return err
		}
		lost, err := lostBatches(ctx, tx, ids)
		if err != nil {
			return err
		}
		if len(lost) > 0 {
			if err := s.hand(ctx, tx, lost); err != nil {
				return err
			}
		}
		return s.lookAgain(ctx, tx, ids)
	})
}

// lookAgain has rollouts advanced.
func (s *Service) lookAgain(ctx context.Context, tx *catalog.Tx, rollouts []string) error {
	jobs := make([]work.Job, len(rollouts))
	for i, id := range rollouts {
		jobs[i] = advanceJob{Rollout: id}
	}
	return s.queue.Enqueue(ctx, tx, jobs...)
}
