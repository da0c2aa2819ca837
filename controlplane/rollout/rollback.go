package rollout

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/batch"
	"github.com/manorhq/manor/ent/target"
)

// PlanRollback says what a rollback would undo and what it cannot.
func (s *Service) PlanRollback(ctx context.Context, by controlplane.Actor, id string, q controlplane.RollbackRequest) (*controlplane.RollbackPlan, error) {
	if err := s.guard.See(by, "rollout.rollback", id); err != nil {
		return nil, err
	}
	u, err := s.planAsked(ctx, id, q)
	if err != nil {
		return nil, err
	}
	return &u.plan, nil
}

// Rollback undoes exactly what a rollout did, to one tenant or to all. What it
// cannot undo becomes needs_attention with the reason, and is not touched.
func (s *Service) Rollback(ctx context.Context, by controlplane.Actor, id string, q controlplane.RollbackRequest) (*controlplane.Rollout, error) {
	if err := s.guard.See(by, "rollout.rollback", id); err != nil {
		return nil, err
	}
	u, err := s.planAsked(ctx, id, q)
	if err != nil {
		return nil, err
	}
	if u.plan.Tenants == 0 && u.open == 0 {
		return nil, nothingToUndo(id, u)
	}
	row, err := s.begin(ctx, by, id, u, "")
	if err != nil {
		return nil, err
	}
	return s.noun(ctx, row)
}

// planAsked plans the rollback that somebody asks for.
func (s *Service) planAsked(ctx context.Context, id string, q controlplane.RollbackRequest) (*undo, error) {
	row, err := find(ctx, s.cat.Ent(), id)
	if err != nil {
		return nil, err
	}
	if q.Restore && row.Strategy.Snapshot == nil {
		return nil, controlplane.Errorf(controlplane.Refused, "rollout %s took no snapshots: there is nothing to restore", id).
			WithHint("leave --restore out; the next time, `manor rollout start --snapshot`")
	}
	asked := scope{tenant: q.Tenant, restore: q.Restore}
	if q.Wave != "" {
		if asked.wave, err = waveNumber(row, q.Wave); err != nil {
			return nil, err
		}
	}
	return s.planUndo(ctx, id, asked)
}

func nothingToUndo(id string, u *undo) error {
	if len(u.plan.Irreversible) > 0 {
		first := u.plan.Irreversible[0]
		return controlplane.Errorf(controlplane.Refused, "nothing of rollout %s can be undone; tenant %s: %s", id, first.Slug, first.Error.Message).
			WithHint("go forward instead: a new version that puts things right; for the next time, write a down file before the release is pushed")
	}
	return controlplane.Errorf(controlplane.Refused, "rollout %s has nothing to undo", id)
}

// turnRound is the rollback that on-error asked for.
func (s *Service) turnRound(ctx context.Context, id string, asked scope, reason string) error {
	u, err := s.planUndo(ctx, id, asked)
	if err != nil {
		return err
	}
	_, err = s.begin(ctx, controlplane.Loop("rollout"), id, u, reason)
	return err
}

// begin turns a rollout round: the targets to take back wait for batches that
// go down, those that never started are skipped.
func (s *Service) begin(ctx context.Context, by controlplane.Actor, id string, u *undo, reason string) (*ent.Rollout, error) {
	var row *ent.Rollout
	err := s.cat.InTx(ctx, func(tx *catalog.Tx) (err error) {
		if row, err = lock(ctx, tx, id); err != nil {
			return err
		}
		if wanted, err := stillWanted(ctx, tx, row, u.asked, reason == ""); err != nil || !wanted {
			return err
		}
		if err := u.holds(ctx, tx, row); err != nil {
			return err
		}
		if err := s.guard.Permit(ctx, tx, by, "rollout.rollback", id, u.plan); err != nil {
			return err
		}
		if err := turn(ctx, tx, id, u); err != nil {
			return err
		}
		if row, err = become(ctx, tx, row, controlplane.RolloutRollingBack, reason); err != nil {
			return err
		}
		return s.queue.Enqueue(ctx, tx, advanceJob{Rollout: id})
	})
	return row, err
}

// stillWanted reports whether a rollback is to begin now: it was planned outside
// the lock, and what called for it may be over, or call for another wave.
func stillWanted(ctx context.Context, tx *catalog.Tx, row *ent.Rollout, planned scope, asked bool) (bool, error) {
	if !asked {
		state, err := loadState(ctx, tx, row)
		return err == nil && Next(state).undoes(planned), err
	}
	if !row.State.Resting() {
		return false, controlplane.Errorf(controlplane.Conflict, "rollout %s is %s", row.ID, row.State).WithHint("%s", nextStep(row))
	}
	return true, nil
}

// holds refuses a plan that the rollout's targets, or their tenants, have left
// behind: planning may have taken seconds.
func (u *undo) holds(ctx context.Context, tx *catalog.Tx, row *ent.Rollout) error {
	now, err := tx.Target.Query().Where(standing(row.ID)...).All(ctx)
	if err != nil {
		return fmt.Errorf("read what rollout %s has changed: %w", row.ID, err)
	}
	stands := map[int]*ent.Target{}
	for _, t := range now {
		stands[t.ID] = t
	}
	var back []*ent.Target
	for _, id := range u.back {
		back = append(back, stands[id])
	}
	changed := u.whole && len(now) != len(u.back)+len(u.stuck) || slices.Contains(back, nil)
	if !changed {
		moved, err := movedOn(ctx, tx.Client(), row, back)
		if err != nil {
			return err
		}
		changed = len(moved) > 0
	}
	if changed {
		return controlplane.Errorf(controlplane.Conflict, "rollout %s changed while its rollback was planned", row.ID).WithHint("try again")
	}
	return nil
}

// turn gives the targets their new direction. One of which it is not known how
// far it came stays unknown, until its revisions have been read.
func turn(ctx context.Context, tx *catalog.Tx, id string, u *undo) error {
	back := slices.Concat(u.back, u.mend)
	lost := slices.DeleteFunc(slices.Clone(back), func(id int) bool { return !u.lost[id] })
	err := u.wantCopies(ctx, tx, id)
	if err == nil {
		err = tx.Target.Update().Where(target.IDIn(lost...)).SetStatus(controlplane.TargetUnknown).Exec(ctx)
	}
	if err == nil {
		err = tx.Target.Update().Where(target.IDIn(back...), target.StatusNEQ(controlplane.TargetUnknown)).SetStatus(controlplane.TargetPending).Exec(ctx)
	}
	if err == nil {
		err = tx.Target.Update().Where(target.IDIn(back...)).SetDirection(down).
			SetAttempts(0).ClearBatchID().ClearNotBefore().SetUpdatedAt(time.Now()).Exec(ctx)
	}
	if err == nil { // of the others it says where they stopped
		err = tx.Target.Update().Where(target.IDIn(u.back...)).ClearFailure().Exec(ctx)
	}
	if catalog.IsUnique(err, "target_unfinished") {
		return controlplane.Errorf(controlplane.Conflict, "another rollout works on some of the tenants of rollout %s", id).
			WithHint("`manor rollout list` shows which")
	}
	if err != nil {
		return fmt.Errorf("turn the targets of rollout %s round: %w", id, err)
	}
	for targetID, reason := range u.alone() {
		left, err := tx.Target.Get(ctx, targetID)
		if err != nil {
			return fmt.Errorf("read what cannot be undone of rollout %s: %w", id, err)
		}
		failure := &controlplane.Failure{Message: "not rolled back: " + reason, Unknown: u.lost[targetID]}
		if u.half[targetID] != "" { // where it stopped is still to be told
			failure = stillToldOf(left.Failure, false, failure)
		}
		err = left.Update().SetStatus(controlplane.TargetNeedsAttention).ClearBatchID().ClearNotBefore().SetFailure(failure).SetUpdatedAt(time.Now()).Exec(ctx)
		if err != nil {
			return fmt.Errorf("mark what cannot be undone of rollout %s: %w", id, err)
		}
	}
	if !u.whole {
		return recount(ctx, tx, id)
	}
	if err := tx.Batch.Update().Where(batch.RolloutID(id), batch.Direction(up)).SetState(batchDone).Exec(ctx); err != nil {
		return fmt.Errorf("close the batches of rollout %s: %w", id, err)
	}
	err = tx.Target.Update().Where(target.RolloutID(id), target.Direction(up), target.StatusIn(controlplane.UnfinishedStatuses...)).
		SetStatus(controlplane.TargetSkipped).SetFailure(&controlplane.Failure{Message: "the rollout was rolled back before its turn"}).
		ClearBatchID().Exec(ctx)
	if err != nil {
		return fmt.Errorf("skip what never started of rollout %s: %w", id, err)
	}
	return nil
}
