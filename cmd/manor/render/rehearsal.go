package render

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/manorhq/manor/controlplane"
)

// Rehearsal shows what was seen when a release was rehearsed.
func (p *Printer) Rehearsal(r *controlplane.Rehearsal) error {
	return p.print(r, func() string {
		parts := []string{p.rehearsalHead(r)}
		for i := range r.Versions {
			parts = append(parts, p.rehearsed(&r.Versions[i]))
		}
		return blocks(parts...)
	})
}

// seen shows what the rehearsals of a plan saw. Those from later versions say
// nothing new of what one from before them has shown.
func (p *Printer) seen(plan *controlplane.RolloutPlan) string {
	var parts []string
	shown := map[string]bool{}
	for i := range plan.Rehearsals {
		r := &plan.Rehearsals[i]
		parts = append(parts, fmt.Sprintf("Rehearsed from %s on PostgreSQL %d (cluster %s):\n", orEmptyHome(r.From), r.ServerVersion, r.Cluster))
		for j := range r.Versions {
			v := &r.Versions[j]
			if key := fmt.Sprint(r.ServerVersion, v.File, v.Proved, v.Why); !shown[key] {
				shown[key] = true
				parts = append(parts, p.rehearsed(v))
			}
		}
	}
	return blocks(parts...)
}

// planWarnings shows the warnings of a plan, those of severity note left out.
func (p *Printer) planWarnings(plan *controlplane.RolloutPlan) string {
	grave := slices.DeleteFunc(slices.Clone(plan.Warnings), func(w controlplane.Warning) bool { return w.Severity == controlplane.SeverityNote })
	var parts []string
	for len(grave) > 0 {
		n := slices.IndexFunc(grave, func(w controlplane.Warning) bool { return w.File != grave[0].File })
		if n < 0 {
			n = len(grave)
		}
		parts = append(parts, p.warnings("", grave[:n]))
		grave = grave[n:]
	}
	return blocks(parts...)
}

func (p *Printer) rehearsalHead(r *controlplane.Rehearsal) string {
	proved := 0
	for _, v := range r.Versions {
		if v.Proved {
			proved++
		}
	}
	f := p.fields()
	f.add("Release", r.Release)
	f.add("Versions", fmt.Sprintf("%d, from %s to %s", len(r.Versions), orEmptyHome(r.From), orEmptyHome(r.To)))
	f.add("Ways back", fmt.Sprintf("%d of %d proved", proved, len(r.Versions)))
	f.add("Seen on", fmt.Sprintf("cluster %s, PostgreSQL %d, in %s", r.Cluster, r.ServerVersion, took(time.Duration(r.DurationMS)*time.Millisecond)))
	return f.String()
}

// rehearsed shows one version: what its statements do, and its way back.
func (p *Printer) rehearsed(v *controlplane.RehearsedVersion) string {
	g := p.grid(">#", "STATEMENT", "LOCKS", "WORK", "TRANSACTION")
	g.indent = "  "
	for i := range v.Statements {
		s := &v.Statements[i]
		g.row(s.Statement, strings.TrimSuffix(lineOf(s.SQL, 60), ";"), locks(s.Locks), work(s), yesNo(s.InTransaction))
	}
	f := p.fields()
	if v.Failure != nil {
		f.add("Refuses", p.refuses(v))
	}
	f.add("Way back", p.provedBack(v))
	f.add("Going up loses", strings.Join(v.LosesUp, ", "))
	f.add("Coming back loses", strings.Join(v.LosesDown, ", "))
	for _, t := range v.Unfilled {
		f.add("No rows in", t.Table+": "+t.Why)
	}
	return p.style.bold(v.File) + "\n" + g.String() + trimLines(f.String(), "  ")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// locks is "ACCESS EXCLUSIVE on notes, SHARE on members, tags since 1".
func locks(held []controlplane.RehearsedLock) string {
	var b strings.Builder
	for i, l := range held {
		switch {
		case i > 0 && l.Mode == held[i-1].Mode && l.Since == held[i-1].Since:
			b.WriteString(", " + l.Relation)
		case i > 0:
			b.WriteString("; " + l.Mode + " on " + l.Relation)
		default:
			b.WriteString(l.Mode + " on " + l.Relation)
		}
		if last := i == len(held)-1 || held[i+1].Mode != l.Mode || held[i+1].Since != l.Since; last && l.Since > 0 {
			fmt.Fprintf(&b, " since %d", l.Since)
		}
	}
	return b.String()
}

// work is "rewrites notes, scans notes, tags".
func work(s *controlplane.RehearsedStatement) string {
	var parts []string
	if len(s.Rewrites) > 0 {
		parts = append(parts, "rewrites "+strings.Join(s.Rewrites, ", "))
	}
	if len(s.Scans) > 0 {
		parts = append(parts, "scans "+strings.Join(s.Scans, ", "))
	}
	return strings.Join(parts, "; ")
}

// refuses is "some of the generated rows: 3_stars.sql statement 2: …".
func (p *Printer) refuses(v *controlplane.RehearsedVersion) string {
	rows := map[string]string{
		controlplane.RefusesSome: "some of the generated rows", controlplane.RefusesAll: "every generated row", controlplane.RefusesTenant: "the tenant's rows",
	}[v.Refuses]
	if rows == "" {
		rows = "even an empty home"
	}
	return p.style.bad(rows) + ": " + v.Failure.String()
}

// provedBack is how a version is undone, and whether that is proved.
func (p *Printer) provedBack(v *controlplane.RehearsedVersion) string {
	by := map[string]string{controlplane.DownFile: "by its down file", controlplane.DownComputed: "by the computed reverse"}[v.Down]
	switch {
	case v.Proved:
		return p.style.paint(green, "proved") + " " + by
	case by != "":
		return p.style.paint(yellow, "unproved") + " " + by + ": " + v.Why
	}
	return p.style.bad("none") + ": " + v.Why
}
