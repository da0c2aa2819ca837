package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/batch"
	"github.com/manorhq/manor/ent/predicate"
	"github.com/manorhq/manor/ent/target"
)

// Pause starts nothing more of a rollout, and pauses it once the tenants in
// hand are done: nothing is killed in the middle of DDL.
func (s *Service) Pause(ctx context.Context, by controlplane.Actor, id string, c controlplane.RolloutCommand) (*controlplane.Rollout, error) {
	return s.steer(ctx, by, id, "rollout.pause", c, func(tx *catalog.Tx, row *ent.Rollout) (*ent.Rollout, error) {
		if row.State != controlplane.RolloutRunning {
			return nil, controlplane.Errorf(controlplane.Refused, "rollout %s is %s, not running", id, row.State).WithHint("%s", nextStep(row))
		}
		if row.Wanted == controlplane.RolloutAborted {
			return nil, controlplane.Errorf(controlplane.Conflict, "rollout %s is being aborted, as %s wants it", id, row.WantedBy)
		}
		return s.want(ctx, tx, row, controlplane.RolloutPaused, by)
	})
}

// Abort ends a rollout where it is, once the tenants in hand are done: what was
// not started is skipped, what is done stays, and can still be rolled back.
func (s *Service) Abort(ctx context.Context, by controlplane.Actor, id string, c controlplane.RolloutCommand) (*controlplane.Rollout, error) {
	return s.steer(ctx, by, id, "rollout.abort", c, func(tx *catalog.Tx, row *ent.Rollout) (*ent.Rollout, error) {
		switch row.State {
		case controlplane.RolloutRunning:
			return s.want(ctx, tx, row, controlplane.RolloutAborted, by)
		case controlplane.RolloutPaused: // nothing is in hand
			if err := leaveOpen(ctx, tx, id); err != nil {
				return nil, err
			}
			return become(ctx, tx, row, controlplane.RolloutAborted, "aborted by "+by.String())
		}
		return nil, controlplane.Errorf(controlplane.Refused, "rollout %s is %s", id, row.State).WithHint("%s", nextStep(row))
	})
}

// want has a rollout come to a state as soon as nothing of it is in hand; "" lets it go on.
func (s *Service) want(ctx context.Context, tx *catalog.Tx, row *ent.Rollout, state controlplane.RolloutState, by controlplane.Actor) (*ent.Rollout, error) {
	row, err := row.Update().SetWanted(state).SetWantedBy(by.String()).Save(ctx)
	if err != nil {
		return nil, fmt.Errorf("store rollout %s: %w", row.ID, err)
	}
	return row, s.queue.Enqueue(ctx, tx, advanceJob{Rollout: row.ID})
}

// Approve passes the approval that a rollout waits for.
func (s *Service) Approve(ctx context.Context, by controlplane.Actor, id string, c controlplane.RolloutCommand) (*controlplane.Rollout, error) {
	return s.steer(ctx, by, id, "rollout.approve", c, func(tx *catalog.Tx, row *ent.Rollout) (*ent.Rollout, error) {
		state, err := loadState(ctx, tx, row)
		if err != nil {
			return nil, err
		}
		at := state.awaited()
		if at.Wave == 0 || !state.Gates[at.Gate].Approval {
			return nil, controlplane.Errorf(controlplane.Refused, "rollout %s waits for no approval now", id).WithHint("`manor rollout show %s` says where it is", id)
		}
		w, err := waveOf(ctx, tx, id, at.Wave)
		if err != nil {
			return nil, err
		}
		result := controlplane.GateResult{Gate: row.Strategy.Gates[at.Gate].String(), AskedAt: &state.Now, PassedAt: &state.Now, By: by.String()}
		return row, s.noteGate(ctx, tx, row, w, at.Gate, result)
	})
}

// Skip takes tenants out of a rollout that it has not begun to change.
func (s *Service) Skip(ctx context.Context, by controlplane.Actor, id string, c controlplane.RolloutCommand) (*controlplane.Rollout, error) {
	return s.steer(ctx, by, id, "rollout.skip", c, func(tx *catalog.Tx, row *ent.Rollout) (*ent.Rollout, error) {
		if len(c.Tenants) == 0 {
			return nil, controlplane.Errorf(controlplane.Invalid, "no tenant to skip is named")
		}
		if row.State != controlplane.RolloutRunning && row.State != controlplane.RolloutPaused {
			return nil, controlplane.Errorf(controlplane.Refused, "rollout %s is %s", id, row.State).WithHint("%s", nextStep(row))
		}
		for _, slug := range c.Tenants {
			if err := skippable(ctx, tx, id, slug); err != nil {
				return nil, err
			}
		}
		why := controlplane.Failure{Message: "skipped by " + by.String(), SkippedBy: by.String()}
		if c.Reason != "" {
			why.Message += ": " + c.Reason
		}
		n, err := skip(ctx, tx, id, why, target.SlugIn(c.Tenants...))
		if err != nil {
			return nil, err
		}
		if n < len(slices.Compact(slices.Sorted(slices.Values(c.Tenants)))) { // a worker has taken it since
			return nil, controlplane.Errorf(controlplane.Conflict, "one of the tenants was begun just now").WithHint("try again")
		}
		return row, s.queue.Enqueue(ctx, tx, advanceJob{Rollout: id})
	})
}

// skippable refuses a tenant that the rollout has begun to change, or has done.
func skippable(ctx context.Context, tx *catalog.Tx, id, slug string) error {
	t, err := tx.Target.Query().Where(target.RolloutID(id), target.Slug(slug)).Only(ctx)
	switch {
	case ent.IsNotFound(err):
		return controlplane.Errorf(controlplane.NotFound, "tenant %s is no target of rollout %s", slug, id).
			WithHint("`manor rollout targets %s` lists them", id)
	case err != nil:
		return fmt.Errorf("read tenant %s of rollout %s: %w", slug, id, err)
	case t.Failure != nil && t.Failure.Statement > 1: // in a file without transaction what ran before it stays
		return controlplane.Errorf(controlplane.Refused, "tenant %s has been begun: it waits in %s at statement %d", slug, t.Failure.File, t.Failure.Statement).
			WithHint("what it waits for: `manor rollout targets %s --status %s`", id, t.Status)
	case t.Version != t.FromVersion, t.Status != controlplane.TargetPending && t.Status != controlplane.TargetDeferred:
		return controlplane.Errorf(controlplane.Refused, "tenant %s is %s at version %s: only who was not begun can be skipped", slug, t.Status, t.Version).
			WithHint("`manor rollout rollback %s --tenant %s` takes it back", id, slug)
	}
	return nil
}

// leaveOpen closes the batches of a rollout that nobody works on, and skips its
// targets that were not started. One of which nobody knows how far it came, or
// that is on the way, or within a file, needs attention: a rollback looks at it.
func leaveOpen(ctx context.Context, tx *catalog.Tx, id string) error {
	if err := tx.Batch.Update().Where(batch.RolloutID(id), batch.State(batchWaiting)).SetState(batchDone).Exec(ctx); err != nil {
		return fmt.Errorf("close the batches of rollout %s: %w", id, err)
	}
	halfway := controlplane.Failure{Message: "the rollout was aborted when it was half-way"}
	unknown := controlplane.Failure{Message: "the rollout was aborted when nobody knew how far it had come; a rollback reads that first", Unknown: true}
	err := leave(ctx, tx, id, unknown, target.Status(controlplane.TargetUnknown))
	if err == nil {
		err = leave(ctx, tx, id, halfway, changed)
	}
	if err == nil {
		err = leaveHalf(ctx, tx, id)
	}
	if err != nil {
		return fmt.Errorf("mark what is half-way of rollout %s: %w", id, err)
	}
	_, err = skip(ctx, tx, id, controlplane.Failure{Message: "the rollout was aborted before its turn"})
	return err
}

// leaveHalf marks the targets that wait in the middle of a file that has no
// transaction: what of it ran stays.
func leaveHalf(ctx context.Context, tx *catalog.Tx, id string) error {
	row, err := find(ctx, tx.Client(), id)
	if err != nil {
		return err
	}
	r, err := tx.Release.Get(ctx, row.ReleaseID)
	if err != nil {
		return fmt.Errorf("read its release: %w", err)
	}
	waiting, err := tx.Target.Query().Where(target.RolloutID(id), target.StatusIn(controlplane.TargetPending, controlplane.TargetDeferred)).All(ctx)
	if err != nil {
		return err
	}
	for _, t := range waiting {
		if !half(t, r.Versions) {
			continue
		}
		why := *t.Failure
		why.Message = fmt.Sprintf("the rollout was aborted when it waited at statement %d of a file that has no transaction, and what ran before it stays: %s", why.Statement, why.Message)
		if err := leave(ctx, tx, id, why, target.ID(t.ID)); err != nil {
			return err
		}
	}
	return nil
}

// leave marks open targets of a rollout that nothing more happens to by itself.
func leave(ctx context.Context, tx *catalog.Tx, id string, why controlplane.Failure, which predicate.Target) error {
	return tx.Target.Update().Where(target.RolloutID(id), target.StatusIn(controlplane.UnfinishedStatuses...), which).
		SetStatus(controlplane.TargetNeedsAttention).SetFailure(&why).ClearBatchID().ClearNotBefore().SetUpdatedAt(time.Now()).Exec(ctx)
}

// skip takes targets that were not started out of their rollout, and its batches.
func skip(ctx context.Context, tx *catalog.Tx, id string, why controlplane.Failure, which ...predicate.Target) (int, error) {
	n, err := tx.Target.Update().Where(target.RolloutID(id), target.StatusIn(controlplane.TargetPending, controlplane.TargetDeferred)).Where(which...).
		SetStatus(controlplane.TargetSkipped).SetFailure(&why).
		ClearBatchID().ClearNotBefore().SetUpdatedAt(time.Now()).Save(ctx)
	if err != nil {
		return 0, fmt.Errorf("skip targets of rollout %s: %w", id, err)
	}
	return n, recount(ctx, tx, id)
}

// errDry ends the transaction of a dry run.
var errDry = errors.New("dry run")

// steer changes a rollout that is at work, as f says. A dry run returns it as it is.
func (s *Service) steer(ctx context.Context, by controlplane.Actor, id, action string, c controlplane.RolloutCommand, f func(*catalog.Tx, *ent.Rollout) (*ent.Rollout, error)) (*controlplane.Rollout, error) {
	if err := s.guard.See(by, action, id); err != nil {
		return nil, err
	}
	var row *ent.Rollout
	err := s.cat.InTx(ctx, func(tx *catalog.Tx) (err error) {
		if row, err = lock(ctx, tx, id); err != nil {
			return err
		}
		if err := s.guard.Permit(ctx, tx, by, action, id, c); err != nil {
			return err
		}
		after, err := f(tx, row)
		switch {
		case err != nil:
			return err
		case c.DryRun:
			return errDry
		}
		row = after
		return nil
	})
	if err != nil && !errors.Is(err, errDry) {
		return nil, err
	}
	return s.noun(ctx, row)
}
