package rollout

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/batch"
	"github.com/manorhq/manor/ent/target"
	"github.com/manorhq/manor/ent/tenant"
)

// undo is a rollback as it is going to be: which targets, which not and why.
type undo struct {
	plan  controlplane.RollbackPlan
	back  []int          // targets taken back, by id
	stuck map[int]string // targets left alone, by id, with the reason
	half  map[int]string // the same for targets that failed in the middle of a file that has no transaction
	whole bool           // all of the rollout, not one tenant
	open  int            // targets that are not done, which a whole rollback skips
}

// PlanRollback says what a rollback would undo and what it cannot.
func (s *Service) PlanRollback(ctx context.Context, by controlplane.Actor, id string, q controlplane.RollbackRequest) (*controlplane.RollbackPlan, error) {
	if err := s.guard.See(by, "rollout.rollback", id); err != nil {
		return nil, err
	}
	u, err := s.planUndo(ctx, id, q.Tenant)
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
	u, err := s.planUndo(ctx, id, q.Tenant)
	if err != nil {
		return nil, err
	}
	if len(u.back) == 0 && u.open == 0 {
		return nil, nothingToUndo(id, u)
	}
	row, err := s.begin(ctx, by, id, u, "")
	if err != nil {
		return nil, err
	}
	return s.noun(ctx, row)
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
func (s *Service) turnRound(ctx context.Context, id, reason string) error {
	u, err := s.planUndo(ctx, id, "")
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
		if wanted, err := stillWanted(ctx, tx, row, reason == ""); err != nil || !wanted {
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
// the lock, and what called for it may be over.
func stillWanted(ctx context.Context, tx *catalog.Tx, row *ent.Rollout, asked bool) (bool, error) {
	if !asked {
		state, err := loadState(ctx, tx, row)
		return err == nil && Next(state).Undo, err
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
	err := tx.Target.Update().Where(target.IDIn(u.back...), target.StatusNEQ(controlplane.TargetUnknown)).SetStatus(controlplane.TargetPending).Exec(ctx)
	if err == nil {
		err = tx.Target.Update().Where(target.IDIn(u.back...)).SetDirection(down).
			SetAttempts(0).ClearBatchID().ClearNotBefore().ClearFailure().SetUpdatedAt(time.Now()).Exec(ctx)
	}
	if catalog.IsUnique(err, "target_unfinished") {
		return controlplane.Errorf(controlplane.Conflict, "another rollout works on some of the tenants of rollout %s", id).
			WithHint("`manor rollout list` shows which")
	}
	if err != nil {
		return fmt.Errorf("turn the targets of rollout %s round: %w", id, err)
	}
	for targetID, reason := range u.alone() {
		err := tx.Target.UpdateOneID(targetID).SetStatus(controlplane.TargetNeedsAttention).
			SetFailure(&controlplane.Failure{Message: "not rolled back: " + reason}).SetUpdatedAt(time.Now()).Exec(ctx)
		if err != nil {
			return fmt.Errorf("mark what cannot be undone of rollout %s: %w", id, err)
		}
	}
	if !u.whole {
		return nil
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

// planUndo finds what a rollout has changed and how each version is undone.
func (s *Service) planUndo(ctx context.Context, id, slug string) (*undo, error) {
	row, err := find(ctx, s.cat.Ent(), id)
	if err != nil {
		return nil, err
	}
	targets, err := s.standingTargets(ctx, id, slug)
	if err != nil {
		return nil, err
	}
	r, err := s.cat.Ent().Release.Get(ctx, row.ReleaseID)
	if err != nil {
		return nil, fmt.Errorf("read the release of rollout %s: %w", id, err)
	}
	noun := &controlplane.Release{Name: r.Name, Versions: r.Versions}
	reverses, err := s.reversesFor(ctx, row, noun, targets)
	if err != nil {
		return nil, err
	}
	elsewhere, err := movedOn(ctx, s.cat.Ent(), row, targets)
	if err != nil {
		return nil, err
	}
	half, err := s.halfDone(ctx, id, slug, noun)
	if err != nil {
		return nil, err
	}
	u := &undo{plan: controlplane.RollbackPlan{Rollout: id, Irreversible: []controlplane.TenantResult{}}, stuck: map[int]string{}, half: map[int]string{}, whole: slug == ""}
	used := map[string]bool{}
	for _, t := range targets {
		versions := between(noun, t.FromVersion, reached(row, t))
		reason := elsewhere[t.TenantID]
		if reason == "" {
			reason = irreversible(versions, reverses)
		}
		if reason != "" {
			u.leave(u.stuck, t, reason)
			continue
		}
		u.back = append(u.back, t.ID)
		for _, v := range versions {
			used[v.Version] = true
		}
	}
	for _, t := range half {
		u.leave(u.half, t, fmt.Sprintf("%s has no transaction and failed in statement %d; what ran before it stays", t.Failure.File, t.Failure.Statement))
	}
	if u.whole {
		u.open, err = s.cat.Ent().Target.Query().Where(target.RolloutID(id), target.StatusIn(controlplane.UnfinishedStatuses...)).Count(ctx)
		if err != nil {
			return nil, fmt.Errorf("count what is open of rollout %s: %w", id, err)
		}
	}
	u.plan.Tenants = len(u.back)
	u.plan.Versions = undone(noun, used, reverses)
	return u, nil
}

// leave notes a target that is not taken back, and why.
func (u *undo) leave(where map[int]string, t *ent.Target, reason string) {
	where[t.ID] = reason
	u.plan.Irreversible = append(u.plan.Irreversible, controlplane.TenantResult{Slug: t.Slug, Error: controlplane.Errorf(controlplane.Refused, "%s", reason)})
}

// alone are all targets that are left alone, with the reasons.
func (u *undo) alone() map[int]string {
	all := maps.Clone(u.stuck)
	maps.Copy(all, u.half)
	return all
}

// halfDone are the targets that failed after the first statement of a file
// that has no transaction: their version says nothing of what ran.
func (s *Service) halfDone(ctx context.Context, id, slug string, r *controlplane.Release) ([]*ent.Target, error) {
	query := s.cat.Ent().Target.Query().Where(target.RolloutID(id), target.Status(controlplane.TargetFailed), target.Not(changed))
	if slug != "" {
		query.Where(target.Slug(slug))
	}
	failed, err := query.Order(target.BySlug()).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the failures of rollout %s: %w", id, err)
	}
	return slices.DeleteFunc(failed, func(t *ent.Target) bool {
		return t.Failure == nil || t.Failure.Statement < 2 || !slices.ContainsFunc(r.Versions, func(v controlplane.Version) bool {
			return v.Version == t.Failure.Version && v.TxMode == "none"
		})
	}), nil
}

// reached is the highest version that a rollout may have left a target at.
func reached(row *ent.Rollout, t *ent.Target) string {
	if t.Status == controlplane.TargetUnknown {
		return row.Version
	}
	return t.Version
}

// standingTargets are the targets whose change stands, of one tenant or of all.
func (s *Service) standingTargets(ctx context.Context, id, slug string) ([]*ent.Target, error) {
	query := s.cat.Ent().Target.Query().Where(standing(id)...).Order(target.BySlug())
	if slug != "" {
		query.Where(target.Slug(slug))
	}
	targets, err := query.All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read what rollout %s has changed: %w", id, err)
	}
	if slug == "" || len(targets) > 0 {
		return targets, nil
	}
	t, err := s.cat.Ent().Target.Query().Where(target.RolloutID(id), target.Slug(slug)).Only(ctx)
	if ent.IsNotFound(err) {
		return nil, controlplane.Errorf(controlplane.NotFound, "tenant %s is no target of rollout %s", slug, id).
			WithHint("`manor rollout targets %s` lists them", id)
	}
	if err != nil {
		return nil, fmt.Errorf("read tenant %s of rollout %s: %w", slug, id, err)
	}
	return nil, controlplane.Errorf(controlplane.Refused, "rollout %s has nothing to undo on tenant %s: it is %s", id, slug, t.Status)
}

// reversesFor gets the reverse of every version that any of the targets ran.
func (s *Service) reversesFor(ctx context.Context, row *ent.Rollout, r *controlplane.Release, targets []*ent.Target) (migrator.Reverses, error) {
	if len(targets) == 0 {
		return nil, nil
	}
	lowest, highest := row.Version, ""
	for _, t := range targets {
		lowest, highest = min(lowest, t.FromVersion), max(highest, reached(row, t))
	}
	return s.releases.Reverses(ctx, row.ReleaseID, names(between(r, lowest, min(highest, row.Version))), targets[0].ClusterID)
}

func names(versions []controlplane.Version) []string {
	out := make([]string, len(versions))
	for i, v := range versions {
		out[i] = v.Version
	}
	return out
}

// irreversible names the versions that cannot be undone, or is empty.
func irreversible(versions []controlplane.Version, reverses migrator.Reverses) string {
	for _, v := range slices.Backward(versions) {
		if r := reverses[v.Version]; r.Kind == controlplane.DownNone || r.Kind == "" {
			return fmt.Sprintf("%s cannot be undone: %s", v.Name, r.Reason)
		}
	}
	return ""
}

// undone lists the versions that are undone, last first, with how.
func undone(r *controlplane.Release, used map[string]bool, reverses migrator.Reverses) []controlplane.Version {
	versions := []controlplane.Version{}
	for _, v := range slices.Backward(r.Versions) {
		if used[v.Version] {
			v.Down, v.Reason = reverses[v.Version].Kind, reverses[v.Version].Reason
			versions = append(versions, v)
		}
	}
	return versions
}

// movedOn tells of the tenants that are not at the version any more where the
// rollout left them: a later rollout or another tool has moved them.
func movedOn(ctx context.Context, client *ent.Client, row *ent.Rollout, targets []*ent.Target) (map[string]string, error) {
	reasons := map[string]string{}
	for chunk := range slices.Chunk(targets, insertChunk) {
		at := map[string]*ent.Target{}
		ids := make([]string, len(chunk))
		for i, t := range chunk {
			ids[i], at[t.TenantID] = t.TenantID, t
		}
		rows, err := client.Tenant.Query().Where(tenant.IDIn(ids...)).Select(tenant.FieldVersion, tenant.FieldState).All(ctx)
		if err != nil {
			return nil, fmt.Errorf("read where the tenants are: %w", err)
		}
		for _, t := range rows {
			switch {
			case !t.State.Migratable():
				reasons[t.ID] = "the tenant is " + string(t.State)
			case t.Version > row.Version || t.Version != at[t.ID].Version && at[t.ID].Status != controlplane.TargetUnknown:
				reasons[t.ID] = "the tenant has moved on to " + t.Version + "; roll that back first"
			}
		}
		busy, err := client.Target.Query().Where(target.RolloutIDNEQ(row.ID), target.TenantIDIn(ids...), target.StatusIn(controlplane.UnfinishedStatuses...)).All(ctx)
		if err != nil {
			return nil, fmt.Errorf("look for other rollouts of the tenants: %w", err)
		}
		for _, t := range busy {
			reasons[t.TenantID] = "rollout " + t.RolloutID + " is working on the tenant"
		}
	}
	return reasons, nil
}

// reversible refuses a rollout that is to be rolled back on an error and could
// not be.
func (s *Service) reversible(ctx context.Context, r *controlplane.Release, version string, targets []frozen) error {
	lowest, cluster := version, ""
	for _, t := range targets {
		if t.status == controlplane.TargetPending {
			lowest, cluster = min(lowest, t.tenant.Version), t.tenant.Placement.ClusterID
		}
	}
	versions := between(r, lowest, version)
	if len(versions) == 0 {
		return nil
	}
	reverses, err := s.releases.Reverses(ctx, r.ID, names(versions), cluster)
	if err != nil {
		return err
	}
	if reason := irreversible(versions, reverses); reason != "" {
		return controlplane.Errorf(controlplane.Refused, "--on-error rollback: %s", reason).
			WithHint("write a down file for it, or start with --on-error pause")
	}
	return nil
}
