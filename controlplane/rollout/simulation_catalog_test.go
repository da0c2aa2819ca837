package rollout

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/ent"
)

// The catalog's transactions, as store.go, lease.go, report.go and late.go
// write them. A defect's name says what the room would do wrong.

// moveTarget gives a target a status, which must be a legal move.
func (w *world) moveTarget(t *ent.Target, to controlplane.TargetStatus) {
	if t.Status != to && !t.Status.CanBecome(to, controlplane.Direction(t.Direction)) {
		w.breaks("target %s of %s on its way %s goes from %s to %s", t.Slug, t.RolloutID, t.Direction, t.Status, to)
	}
	switch t.Status = to; to {
	case controlplane.TargetNeedsAttention:
		w.excused(t)
	case controlplane.TargetUnknown:
		w.guessed[t.ID] = true
	}
}

func (w *world) moveBatch(b *ent.Batch, to string) {
	if !BatchCanBecome(b.State, to) {
		w.breaks("batch %d goes from %s to %s", b.ID, b.State, to)
	}
	b.State, b.UpdatedAt = to, w.now()
}

// load is loadState.
func (w *world) load(r *run) State {
	s := State{Now: w.now(), Rollout: r.State, Wanted: r.Wanted, WantedBy: r.WantedBy, Reason: r.Reason, OnError: r.OnError, Budget: r.Strategy.Budget,
		Forgiven: r.Forgiven, Closed: r.ClosedAt != nil, Clusters: maps.Clone(w.courses), Concurrency: r.Concurrency, PerCluster: r.PerCluster, PerDatabase: r.PerDatabase,
		Gates: r.Strategy.Gates, Windows: r.Strategy.Windows, Waves: w.waveStates(r), Counts: w.counts(r)}
	s = w.flawed(s)
	wave := s.present()
	for _, o := range w.runs {
		for _, b := range o.batches {
			state := BatchState{ID: b.ID, Number: b.Number, Wave: b.Wave, Window: b.Window, State: b.State, ClusterID: b.ClusterID, DatabaseID: b.DatabaseID, Size: b.Size, Parallelism: b.Parallelism}
			switch {
			case o != r && state.live() && w.broken != "a decision overlooks other rollouts":
				s.Elsewhere = append(s.Elsewhere, state)
			case o == r && b.State != batchDone && b.Direction == direction(r.State):
				s.Batches = append(s.Batches, state)
			}
		}
	}
	for _, t := range r.targets {
		if w.standing(t) {
			s.Standing++
		}
		if t.Status == controlplane.TargetSkipped && w.seatOf(t.TenantID).isGone() {
			s.Gone++
		}
		if t.Status.Done() || t.Direction != direction(r.State) {
			continue
		}
		s.Open++
		if w.seatOf(t.TenantID).State == controlplane.TenantProvisioning {
			s.Making++
		}
		switch {
		case t.BatchID != nil || wave > 0 && t.Wave != wave:
		case w.isDue(r, t, s.Now):
			s.Due++
		case t.NotBefore != nil:
			s.NextDue = sooner(s.NextDue, *t.NotBefore)
		}
	}
	return s
}

func (w *world) counts(r *run) controlplane.Counts {
	c := controlplane.Counts{}
	for _, t := range r.targets {
		c[t.Status]++
	}
	return c
}

func (w *world) isDue(r *run, t *ent.Target, now time.Time) bool {
	if r.State == controlplane.RolloutRunning && slices.Contains(shutAt(r.Strategy.Windows, now), t.Window) {
		return false
	}
	if w.seatOf(t.TenantID).State == controlplane.TenantProvisioning && w.broken != "a home in the making is worked on" {
		return false
	}
	return t.NotBefore == nil || !t.NotBefore.After(now) || t.NotBefore.After(now.Add(2*maxPause)) && w.broken != "a deferred target waits for a clock that was put back"
}

func (w *world) standing(t *ent.Target) bool {
	return t.Status == controlplane.TargetUnknown || (unsure(t) || t.Version != t.FromVersion) && w.seatOf(t.TenantID).State != controlplane.TenantDeleted &&
		t.Status != controlplane.TargetRolledBack && t.Status != controlplane.TargetCurrent && t.Status != controlplane.TargetSkipped
}

// hand gives batches to workers.
func (w *world) hand(grants []Grant) {
	for _, g := range grants {
		b := w.batches[g.Batch]
		w.enqueue(job{run: w.runOf(b.RolloutID), batch: b, at: w.elapsed})
		if b.State != batchWaiting && b.State != batchQueued && w.broken != "a lost batch is handed out unseen" {
			continue
		}
		w.moveBatch(b, batchQueued)
		b.Parallelism = g.Parallelism
		w.tell("batch %d of %s is handed out for %d at a time", b.ID, b.RolloutID, g.Parallelism)
	}
}

// makeBatches puts what is due into batches.
func (w *world) makeBatches(r *run, wave int, now time.Time) {
	var due []waiter
	for _, t := range r.targets {
		if !t.Status.Done() && t.Direction == direction(r.State) && t.BatchID == nil && (wave == 0 || t.Wave == wave) && w.isDue(r, t, now) {
			due = append(due, waiterOf(t, w.seatOf(t.TenantID).shared))
		}
	}
	for _, plan := range planBatches(due, r.BatchSize) {
		b := &ent.Batch{ID: len(w.batches), RolloutID: r.ID, Number: len(r.batches) + 1, Wave: max(1, wave), Window: plan.Window, ClusterID: plan.ClusterID, DatabaseID: plan.DatabaseID,
			Direction: direction(r.State), State: batchWaiting, Size: len(plan.Targets), Parallelism: 1}
		w.batches, r.batches = append(w.batches, b), append(r.batches, b)
		for _, id := range plan.Targets {
			w.targets[id].BatchID, w.targets[id].NotBefore = &b.ID, nil
		}
		w.tell("batch %d of %s: %d targets of wave %d %s on %s %s", b.ID, r.ID, b.Size, b.Wave, b.Direction, b.ClusterID, b.DatabaseID)
	}
}

// welcome lets newcomers join.
func (w *world) welcome(r *run) (joined int) {
	if r.State != controlplane.RolloutRunning || r.ClosedAt != nil {
		return 0
	}
	for _, s := range w.seats {
		if s.CreatedAt.After(r.CreatedAt.Add(-overlap)) && hasHome(s.noun()) && s.group&r.groups != 0 && !w.targeted(s, r) {
			w.enter(r, s)
			joined++
		}
	}
	return joined
}

// giveUp skips the targets whose homes are still being made long after their
// rollout was done with all others.
func (w *world) giveUp(r *run) {
	if r.ClosedAt == nil || w.now().Sub(*r.ClosedAt) < makingAfter {
		return
	}
	for _, t := range r.targets {
		if !t.Status.Done() && w.seatOf(t.TenantID).State == controlplane.TenantProvisioning {
			w.moveTarget(t, controlplane.TargetSkipped)
			w.tell("%s waits for %s no longer", r.ID, t.Slug)
		}
	}
}

// targeted reports whether a tenant is a target of a rollout, or an unfinished one of any.
func (w *world) targeted(s *seat, r *run) bool {
	return slices.ContainsFunc(r.targets, func(t *ent.Target) bool { return t.TenantID == s.ID }) ||
		w.claimed(s, nil) != nil && w.broken != "a newcomer joins two rollouts"
}

// claimed is the unfinished target of a tenant, in another rollout than r.
func (w *world) claimed(s *seat, r *run) *ent.Target {
	for _, t := range w.targets {
		if t.TenantID == s.ID && !t.Status.Done() && (r == nil || t.RolloutID != r.ID) {
			return t
		}
	}
	return nil
}

// enter makes a tenant a target.
func (w *world) enter(r *run, s *seat) {
	f := freeze(s.noun(), r.Version, nil)
	if !controlplane.TargetStatus("").CanBecome(f.status, controlplane.Up) {
		w.breaks("a target begins as %s", f.status)
	}
	t := &ent.Target{ID: len(w.targets), RolloutID: r.ID, TenantID: s.ID, Slug: s.Slug, ClusterID: s.placement.ClusterID, DatabaseID: s.placement.DatabaseID,
		Wave: r.wave[s.group], Window: r.window[s.group], Direction: up, Status: f.status, FromVersion: s.Version, Version: s.Version}
	w.targets, r.targets = append(w.targets, t), append(r.targets, t)
	slices.SortFunc(r.targets, func(a, b *ent.Target) int { return cmp.Compare(a.Slug, b.Slug) })
	r.selected++
	w.tell(toldEntered, s.Slug, r.ID, t.Wave, t.Status, t.Version)
}

// isGone reports whether a rollout wants nothing of a tenant any more.
func (s *seat) isGone() bool {
	return s.State == controlplane.TenantDeleting || s.State == controlplane.TenantDeleted || s.State == controlplane.TenantFailed
}

// noun is a tenant as rollouts select it.
func (s *seat) noun() *controlplane.Tenant {
	return &controlplane.Tenant{ID: s.ID, Slug: s.Slug, State: s.State, Version: s.Version,
		Placement: controlplane.Placement{ClusterID: s.placement.ClusterID, DatabaseID: s.placement.DatabaseID}}
}

// become moves a rollout to a state.
func (w *world) become(r *run, to controlplane.RolloutState, reason string) {
	if !r.State.CanBecome(to) {
		w.breaks("%s goes from %s to %s", r.ID, r.State, to)
	}
	r.State, r.Reason, r.Wanted, r.WantedBy = to, reason, "", ""
	w.tell("%s is %s (%s), %s", r.ID, to, reason, fmt.Sprint(w.counts(r)))
}
