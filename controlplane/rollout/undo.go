package rollout

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/predicate"
	"github.com/manorhq/manor/ent/target"
	"github.com/manorhq/manor/ent/tenant"
)

// undo is a rollback as it is going to be: which targets, which not and why.
type undo struct {
	plan  controlplane.RollbackPlan
	asked scope
	back  []int          // targets taken back, by id
	mend  []int          // the same of those that failed in the middle of a file and changed no version: by their copies
	copy  []string       // tenants of both that get their copies back, by id
	stuck map[int]string // targets left alone, by id, with the reason
	half  map[int]string // the same for targets that stopped in the middle of a file that has no transaction
	lost  map[int]bool   // targets of which nobody knows how far they came, taken back or left alone
	whole bool           // all of the rollout, not one tenant or wave
	open  int            // targets that are not done, which a whole rollback skips
}

// scope is what of a rollout is to be undone; the zero scope is all.
type scope struct {
	tenant  string // slug
	wave    int    // number
	restore bool   // by the copies, where there are some
}

func (s scope) whole() bool { return s.tenant == "" && s.wave == 0 }

func (s scope) where() []predicate.Target {
	var where []predicate.Target
	if s.tenant != "" {
		where = append(where, target.Slug(s.tenant))
	}
	if s.wave > 0 {
		where = append(where, target.Wave(s.wave))
	}
	return where
}

// planUndo finds what a rollout has changed and how each version is undone.
func (s *Service) planUndo(ctx context.Context, id string, asked scope) (*undo, error) {
	row, err := find(ctx, s.cat.Ent(), id)
	if err != nil {
		return nil, err
	}
	targets, err := s.standingTargets(ctx, id, asked)
	if err != nil {
		return nil, err
	}
	r, err := s.cat.Ent().Release.Get(ctx, row.ReleaseID)
	if err != nil {
		return nil, fmt.Errorf("read the release of rollout %s: %w", id, err)
	}
	noun := &controlplane.Release{Name: r.Name, Versions: r.Versions}
	copies, err := s.restorable(ctx, row, asked.restore)
	if err != nil {
		return nil, err
	}
	reverses, err := s.reversesFor(ctx, row, noun, slices.DeleteFunc(slices.Clone(targets), func(t *ent.Target) bool { return copies[t.TenantID] }))
	if err != nil {
		return nil, err
	}
	half, err := s.halfDone(ctx, id, asked, noun)
	if err != nil {
		return nil, err
	}
	elsewhere, err := movedOn(ctx, s.cat.Ent(), row, slices.Concat(targets, half))
	if err != nil {
		return nil, err
	}
	u := &undo{asked: asked, plan: controlplane.RollbackPlan{Rollout: id, Irreversible: []controlplane.TenantResult{}}, stuck: map[int]string{}, half: map[int]string{}, lost: map[int]bool{}, whole: asked.whole()}
	used := map[string]bool{}
	for _, t := range targets {
		u.lost[t.ID] = unsure(t)
		versions := between(noun, t.FromVersion, reached(row, t))
		reason := elsewhere[t.TenantID]
		if reason == "" && !copies[t.TenantID] {
			reason = irreversible(versions, reverses)
		}
		if reason != "" {
			u.leave(u.stuck, t, reason)
			continue
		}
		u.back = append(u.back, t.ID)
		if copies[t.TenantID] {
			u.copy = append(u.copy, t.TenantID)
			continue
		}
		for _, v := range versions {
			used[v.Version] = true
		}
	}
	for _, t := range half {
		if copies[t.TenantID] && elsewhere[t.TenantID] == "" {
			u.mend, u.copy = append(u.mend, t.ID), append(u.copy, t.TenantID)
			continue
		}
		u.leave(u.half, t, fmt.Sprintf("%s has no transaction and stopped at statement %d; what ran before it stays", t.Failure.File, t.Failure.Statement))
	}
	if u.whole {
		u.open, err = s.cat.Ent().Target.Query().Where(target.RolloutID(id), target.StatusIn(controlplane.UnfinishedStatuses...)).Count(ctx)
		if err != nil {
			return nil, fmt.Errorf("count what is open of rollout %s: %w", id, err)
		}
	}
	u.plan.Tenants, u.plan.Restored = len(u.back)+len(u.mend), len(u.copy)
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

// halfDone are the targets that stopped after the first statement of a file
// that has no transaction: their version says nothing of what ran. Those that
// wait to go on are left to do so, unless all of the rollout is undone.
func (s *Service) halfDone(ctx context.Context, id string, asked scope, r *controlplane.Release) ([]*ent.Target, error) {
	stopped := []controlplane.TargetStatus{controlplane.TargetFailed, controlplane.TargetNeedsAttention}
	if asked.whole() {
		stopped = append(stopped, controlplane.TargetPending, controlplane.TargetDeferred)
	}
	targets, err := s.cat.Ent().Target.Query().Where(target.RolloutID(id), target.Or(target.Direction(up), target.Status(controlplane.TargetNeedsAttention)), target.StatusIn(stopped...), target.Not(changed)).Where(asked.where()...).Order(target.BySlug()).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read what rollout %s has begun: %w", id, err)
	}
	return slices.DeleteFunc(targets, func(t *ent.Target) bool { return !half(t, r.Versions) }), nil
}

// half reports whether a target stopped, or waits, in the middle of a file that
// has no transaction: after its first statement.
func half(t *ent.Target, versions []controlplane.Version) bool {
	return t.Failure != nil && t.Failure.Statement > 1 && slices.ContainsFunc(versions, func(v controlplane.Version) bool {
		return v.Version == t.Failure.Version && v.TxMode == "none"
	})
}

// reached is the highest version that a rollout may have left a target at.
func reached(row *ent.Rollout, t *ent.Target) string {
	if unsure(t) {
		return row.Version
	}
	return t.Version
}

// standingTargets are the targets whose change stands.
func (s *Service) standingTargets(ctx context.Context, id string, asked scope) ([]*ent.Target, error) {
	targets, err := s.cat.Ent().Target.Query().Where(standing(id)...).Where(asked.where()...).Order(target.BySlug()).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read what rollout %s has changed: %w", id, err)
	}
	slug := asked.tenant
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
	if asked.restore && (t.Status == controlplane.TargetFailed || t.Status == controlplane.TargetNeedsAttention) { // in the middle of a file, it may be
		return nil, nil
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
		rows, err := client.Tenant.Query().Where(tenant.IDIn(ids...)).Select(tenant.FieldVersion, tenant.FieldState, tenant.FieldPin).All(ctx)
		if err != nil {
			return nil, fmt.Errorf("read where the tenants are: %w", err)
		}
		for _, t := range rows {
			switch {
			case !t.State.Migratable():
				reasons[t.ID] = "the tenant is " + string(t.State)
			case t.Pin.Holds(time.Now()):
				reasons[t.ID] = "the tenant is pinned: " + t.Pin.String()
			case t.Version > row.Version || t.Version != at[t.ID].Version && !unsure(at[t.ID]):
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
		later, err := client.Target.Query().Where(target.RolloutIDNEQ(row.ID), target.TenantIDIn(ids...), changed,
			target.StatusNotIn(controlplane.TargetRolledBack, controlplane.TargetCurrent, controlplane.TargetSkipped)).All(ctx)
		if err != nil {
			return nil, fmt.Errorf("look for later rollouts of the tenants: %w", err)
		}
		for _, t := range later { // what it applied, nobody else can tell from what this one did
			if reasons[t.TenantID] == "" && unsure(at[t.TenantID]) && t.ID > at[t.TenantID].ID && t.Version > at[t.TenantID].FromVersion {
				reasons[t.TenantID] = "rollout " + t.RolloutID + " has changed the tenant since; roll that back first"
			}
		}
	}
	return reasons, nil
}

// reversible refuses a rollout that is to be rolled back on an error and could
// not be.
func (s *Service) reversible(ctx context.Context, r *controlplane.Release, version string, targets []frozen) error {
	versions := between(r, lowestOf(targets, version), version)
	if len(versions) == 0 {
		return nil
	}
	i := slices.IndexFunc(targets, func(t frozen) bool { return t.status == controlplane.TargetPending })
	reverses, err := s.releases.Reverses(ctx, r.ID, names(versions), targets[i].tenant.Placement.ClusterID)
	if err != nil {
		return err
	}
	if reason := irreversible(versions, reverses); reason != "" {
		return controlplane.Errorf(controlplane.Refused, "--on-error rollback: %s", reason).
			WithHint("write a down file for it, or start with --on-error pause")
	}
	return nil
}
