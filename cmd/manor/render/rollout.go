package render

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/manorhq/manor/controlplane"
)

// Rollouts lists rollouts.
func (p *Printer) Rollouts(rollouts []controlplane.Rollout) error {
	return p.print(list(rollouts), func() string {
		if len(rollouts) == 0 {
			return "No rollouts yet. `manor rollout start --release NAME` starts one.\n"
		}
		return p.rolloutGrid(rollouts)
	})
}

func (p *Printer) rolloutGrid(rollouts []controlplane.Rollout) string {
	g := p.grid("ID", "STATE", "RELEASE", "VERSION", ">DONE", "TARGETS", "BY", "AGE")
	for i := range rollouts {
		r := &rollouts[i]
		g.row(r.ID, p.style.state(string(r.State)), r.Release, r.Version,
			fmt.Sprintf("%d/%d", r.Counts.Done(), r.Targets), p.style.counts(r.Counts), r.CreatedBy, p.age(r.CreatedAt))
	}
	return g.String()
}

// Rollout shows one rollout.
func (p *Printer) Rollout(r *controlplane.Rollout) error {
	return p.print(r, func() string { return p.rolloutFields(r) })
}

func (p *Printer) rolloutFields(r *controlplane.Rollout) string {
	selection := r.Select
	if selection == "" {
		selection = "all tenants"
	}
	f := p.fields()
	f.add("Rollout", r.ID)
	f.add("State", p.style.state(string(r.State)))
	f.add("Reason", r.Reason)
	f.add("Release", r.Release)
	f.add("Version", r.Version)
	f.add("Selection", selection)
	f.add("Targets", itoa(r.Targets)+targetDetail(p.style.counts(r.Counts)))
	f.add("At a time", limitsOf(r)+fmt.Sprintf(", in batches of %d", r.BatchSize))
	f.add("On error", onError(r))
	if r.Wanted != "" {
		f.add("Wanted", string(r.Wanted)+", once the tenants in hand are done")
	}
	p.flows(f, r)
	f.add("Snapshots", p.snapshots(r))
	f.add("Started", p.age(r.CreatedAt)+" ago by "+r.CreatedBy)
	if r.FinishedAt != nil {
		f.add("Finished", p.age(*r.FinishedAt)+" ago, after "+took(r.FinishedAt.Sub(r.CreatedAt)))
	}
	return blocks(f.String(), p.waves(r))
}

// snapshots says how many copies a rollout keeps, and until when.
func (p *Printer) snapshots(r *controlplane.Rollout) string {
	switch kept := r.Snapshots; {
	case kept == nil:
		return ""
	case kept.Until == nil:
		return "none"
	default:
		return fmt.Sprintf("%d of %s, dropped from %s on", kept.Count, size(kept.Bytes), kept.Until.Format(time.RFC3339))
	}
}

// flows says of each cluster how much is worked on at a time, and why, and what
// has been worked on for longest.
func (p *Printer) flows(f *fields, r *controlplane.Rollout) {
	var clusters, tenants []string
	for _, c := range r.Clusters {
		clusters = append(clusters, c.Cluster+": "+p.flow(c))
	}
	for _, t := range r.InHand {
		tenants = append(tenants, t.Tenant+" for "+p.age(t.Since))
	}
	f.add("Clusters", strings.Join(clusters, "\n"))
	f.add("In hand", strings.Join(tenants, ", "))
}

// Waits names what an unfinished rollout waits for, if it has for a while:
// clusters that are stopped, and the tenant that takes longest.
func (p *Printer) Waits(r *controlplane.Rollout) string {
	text := ""
	if w := r.Now(); w != nil && w.State != controlplane.WaveRunning {
		text += "; " + p.waveWaits(r, w)
	}
	for _, c := range r.Clusters {
		if c.Flow.Alarm != nil {
			text += fmt.Sprintf("; cluster %s stopped: %s", c.Cluster, p.alarm(c.Flow.Alarm))
		}
	}
	if len(r.InHand) > 0 && p.Now().Sub(r.InHand[0].Since) > controlplane.WorkerSilence {
		text += fmt.Sprintf("; %s in hand for %s", r.InHand[0].Tenant, p.age(r.InHand[0].Since))
	}
	return text
}

// flow is "12 to do, 4 at work, at most 8 (halved: 3 tenants waited for locks)".
func (p *Printer) flow(c controlplane.RolloutFlow) string {
	text := fmt.Sprintf("%d to do, %d at work", c.Open, c.AtWork)
	if alarm := c.Flow.Alarm; alarm != nil {
		return text + ", " + p.style.bad("stopped: "+p.alarm(alarm))
	}
	text += fmt.Sprintf(", at most %d of %d", c.Flow.Pace, c.Flow.Ceiling)
	if c.Flow.Reason != "" {
		text += " (" + c.Flow.Reason + ")"
	}
	return text
}

// alarm is "no space left on device (SQLSTATE 53100), since 2m, next try in 40s".
func (p *Printer) alarm(a *controlplane.Alarm) string {
	text := a.Message
	if a.SQLState != "" && !strings.Contains(text, a.SQLState) {
		text += " (SQLSTATE " + a.SQLState + ")"
	}
	next := "now"
	if left := a.Until.Sub(p.Now()); left > 0 {
		next = "in " + span(left)
	}
	return fmt.Sprintf("%s, since %s, next try %s", text, p.age(a.Since), next)
}

// limitsOf is "8 tenants, 4 on a cluster, 1 in a shared database".
func limitsOf(r *controlplane.Rollout) string {
	text := plural(r.Concurrency, "tenant")
	if r.PerCluster > 0 {
		text += fmt.Sprintf(", %d on a cluster", r.PerCluster)
	}
	if r.PerDatabase > 0 {
		text += fmt.Sprintf(", %d in a shared database", r.PerDatabase)
	}
	return text
}

func targetDetail(counts string) string {
	if counts == "" {
		return ""
	}
	return ": " + counts
}

// RolloutResult is the last word on a rollout: what it is now, and its failed
// targets. more is how many of those are not among them.
func (p *Printer) RolloutResult(r *controlplane.Rollout, failed []controlplane.Target, more int) error {
	return p.print(r, func() string {
		text := blocks(p.rolloutFields(r), p.failures(failed))
		if more > 0 {
			text += fmt.Sprintf("… and %d more: manor rollout targets %s --status failed\n", more, r.ID)
		}
		return text + p.whatNext(r, failed, more)
	})
}

// RolloutStarted says how to follow a rollout that nobody waits for.
func (p *Printer) RolloutStarted(r *controlplane.Rollout, did string) error {
	return p.Done(r, "Rollout %s %s: %s to release %s, version %s.\nFollow it: manor rollout watch %s",
		p.style.bold(r.ID), did, plural(r.Targets, "tenant"), r.Release, r.Version, r.ID)
}

// whatNext names the commands that go on from where a rollout rests.
func (p *Printer) whatNext(r *controlplane.Rollout, failed []controlplane.Target, more int) string {
	return p.next(nextCommands(r, more > 0 || causesOf(failed).moved)...)
}

// nextCommands are those that go on from where a rollout rests, each with what
// it does, out of those that have something to do. moved says that a failed
// target may have been changed in part.
func nextCommands(r *controlplane.Rollout, moved bool) []string {
	var next []string
	switch {
	case r.State == controlplane.RolloutPaused:
		next = append(next, "manor rollout resume "+r.ID, "go on")
	case r.State != controlplane.RolloutFailed:
		return nil
	case r.Counts[controlplane.TargetFailed] > 0 && r.Counts[controlplane.TargetNeedsAttention] == 0:
		next = append(next, "manor rollout retry "+r.ID, "try the failed ones again")
	}
	if moved || r.Counts[controlplane.TargetSucceeded] > 0 || r.Counts[controlplane.TargetNeedsAttention] > 0 { // a rollback has something to undo
		next = append(next, "manor rollout rollback "+r.ID, "take every tenant back")
	}
	return next
}

func (p *Printer) next(commandsAndWhy ...string) string {
	if len(commandsAndWhy) == 0 {
		return ""
	}
	text := "\nNext:\n"
	for pair := range slices.Chunk(commandsAndWhy, 2) {
		text += fmt.Sprintf("  %-40s %s\n", pair[0], p.style.note("# "+pair[1]))
	}
	return text
}

// failures is one line for each failed target.
func (p *Printer) failures(targets []controlplane.Target) string {
	g := p.grid("TENANT", "STATUS", "CLUSTER", "SQLSTATE", "FAILURE")
	for i := range targets {
		t := &targets[i]
		f := failureOf(t)
		bare := *f
		bare.SQLState = "" // in a column of its own
		g.row(t.Tenant, p.style.state(string(t.Status)), t.Cluster, f.SQLState, bare.String())
	}
	return g.String()
}

// TargetFailure is a failed target in a few lines for the error stream:
// tenant, place in the migration, message, statement with a caret.
func (p *Printer) TargetFailure(t *controlplane.Target) string {
	s := style{on: p.ErrColor}
	where := words(t.Status)
	if t.Cluster != "" {
		where += " on " + t.Cluster
	}
	head := s.bad("✗ ") + s.bold(t.Tenant) + s.note(" "+where)
	if t.Failure == nil {
		return head
	}
	body := (&Printer{style: s}).failure(t.Failure)
	return head + "\n  " + strings.ReplaceAll(body, "\n", "\n  ")
}

// Targets lists a page of targets.
func (p *Printer) Targets(page controlplane.Page[controlplane.Target]) error {
	if page.Items == nil {
		page.Items = []controlplane.Target{}
	}
	err := p.print(page, func() string {
		if len(page.Items) == 0 {
			return "No targets found.\n"
		}
		g := p.grid("TENANT", "STATUS", "CLUSTER", "WAVE", "FROM", "VERSION", ">BATCH", ">ATTEMPTS", ">TOOK", "FAILURE")
		for i := range page.Items {
			t := &page.Items[i]
			g.row(t.Tenant, p.style.state(string(t.Status)), t.Cluster, t.Wave, t.From, t.Version, t.Batch, t.Attempts,
				milliseconds(t.DurationMS), t.Failure.String())
		}
		return g.String()
	})
	if p.Format == Table && page.Next != "" {
		p.Remark("There are more: --cursor %s goes on.", page.Next)
	}
	return err
}

func milliseconds(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%dms", n)
}

// RolloutPlan shows what a rollout is going to do.
func (p *Printer) RolloutPlan(plan *controlplane.RolloutPlan) error {
	return p.print(plan, func() string {
		f := p.fields()
		f.add("Release", plan.Release)
		f.add("Version", plan.Version)
		f.add("Plan", plan.ID)
		f.add("Tenants", fmt.Sprintf("%d selected, %d to change, %d already there", plan.Tenants, plan.ToChange(), plan.Current))
		f.add("Batches", plan.Batches)
		if s := plan.Snapshots; s != nil {
			f.add("Snapshots", fmt.Sprintf("%s, about %s; each tenant is closed while its database is copied", plural(s.Count, "database"), size(s.Bytes)))
		}
		p.rules(f, plan.Strategy)
		f.add("On copies", p.onCopies(plan))
		from := p.grid("FROM", ">TENANTS")
		for _, v := range slices.Sorted(maps.Keys(plan.From)) {
			from.row(orEmptyHome(v), plan.From[v])
		}
		where := p.grid("CLUSTER", ">TENANTS")
		for _, c := range slices.Sorted(maps.Keys(plan.Clusters)) {
			where.row(c, plan.Clusters[c])
		}
		return blocks(f.String(), from.String(), where.String(), p.plannedWaves(plan), p.versions(plan.Versions), p.seen(plan), p.clones(plan), p.planWarnings(plan), p.leftOut(plan.Skipped), planned(plan))
	})
}

// planned says how to go on from a plan.
func planned(plan *controlplane.RolloutPlan) string {
	switch {
	case plan.ToChange() == 0:
		return "There is nothing to do.\n"
	case plan.ID != "" && len(plan.Unproved()) > 0:
		return "Nothing was changed. The way back of some versions is not proved; start it all the same: manor rollout start --plan " + plan.ID + " --allow-unproved\n"
	case plan.ID != "":
		return "Nothing was changed. Start it: manor rollout start --plan " + plan.ID + "\n"
	}
	return "Nothing was changed: this is the plan.\n"
}

func orEmptyHome(version string) string {
	if version == "" {
		return "(empty)"
	}
	return version
}

func (p *Printer) leftOut(results []controlplane.TenantResult) string {
	g := p.grid("LEFT OUT", "WHY")
	for _, r := range results {
		why := Problem(r)
		if why == "" {
			why = "not migratable"
		}
		g.row(r.Slug, why)
	}
	return g.String()
}

// RollbackPlan shows what a rollback undoes and what it cannot.
func (p *Printer) RollbackPlan(plan *controlplane.RollbackPlan) error {
	return p.print(plan, func() string { return blocks(p.rollbackPlan(plan), "Nothing was changed: this is the plan.\n") })
}

// RollbackNotice is the same for a rollback that is about to happen, as a remark.
func (p *Printer) RollbackNotice(plan *controlplane.RollbackPlan) {
	on := &Printer{Config: p.Config, style: style{on: p.ErrColor}}
	fmt.Fprintln(p.Err, on.rollbackPlan(plan))
}

func (p *Printer) rollbackPlan(plan *controlplane.RollbackPlan) string {
	head := fmt.Sprintf("Rollback of %s: %s, %s to undo.\n", p.style.bold(plan.Rollout), plural(plan.Tenants, "tenant"), plural(len(plan.Versions), "version"))
	if plan.Restored > 0 {
		head += p.style.bad(plural(plan.Restored, "tenant")+" from snapshots: everything written since they were taken is lost.") + "\n"
	}
	stuck := ""
	if n := len(plan.Irreversible); n > 0 {
		stuck = p.style.bad(plural(n, "tenant")+" cannot be taken back and will be left alone:") + "\n" + p.leftOut(plan.Irreversible)
	}
	return blocks(head, p.versions(plan.Versions), stuck)
}
