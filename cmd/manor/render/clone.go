package render

import (
	"fmt"
	"strings"
	"time"

	"github.com/manorhq/manor/controlplane"
)

// onCopies says in a line for whom a plan would fail, if it was tried on copies.
func (p *Printer) onCopies(plan *controlplane.RolloutPlan) string {
	if len(plan.Clones) == 0 {
		return ""
	}
	copied := 0
	for i := range plan.Clones {
		if plan.Clones[i].Copied {
			copied++
		}
	}
	text := fmt.Sprintf("of %d tenants, %d made", len(plan.Clones), copied)
	if slugs := plan.FailsFor(); len(slugs) > 0 {
		return text + ": " + p.style.bad("the rollout would fail for "+strings.Join(slugs, ", "))
	}
	return text
}

// clones shows what was seen on copies of tenants.
func (p *Printer) clones(plan *controlplane.RolloutPlan) string {
	g := p.grid("COPY OF", "FROM", "CLUSTER", ">ROWS", ">SIZE", ">COPIED IN", "SEEN")
	parts := []string{""}
	for i := range plan.Clones {
		c := &plan.Clones[i]
		if c.Copied {
			g.row(c.Tenant, orEmptyHome(c.From), c.Cluster, c.Rows, size(c.Bytes), took(time.Duration(c.CopyMS)*time.Millisecond), p.seenOn(c))
			parts = append(parts, p.cloned(c))
		} else {
			g.row(c.Tenant, orEmptyHome(c.From), c.Cluster, "", "", "", p.seenOn(c))
		}
	}
	parts[0] = g.String()
	return blocks(parts...)
}

// seenOn is what became of one copy.
func (p *Printer) seenOn(c *controlplane.Clone) string {
	proved := 0
	for i := range c.Versions {
		if c.Versions[i].Proved {
			proved++
		}
	}
	refused := c.Refused()
	switch {
	case !c.Copied:
		return p.style.paint(yellow, "not copied") + ": " + c.Why
	case refused != nil:
		return p.style.bad("fails") + " at " + refused.File
	case c.Why != "":
		return p.style.paint(yellow, "not to the end") + ": " + c.Why
	}
	return fmt.Sprintf("runs, %d of %d ways back proved", proved, len(c.Versions))
}

// cloned shows what each statement did over a tenant's rows.
func (p *Printer) cloned(c *controlplane.Clone) string {
	var parts []string
	for i := range c.Versions {
		v := &c.Versions[i]
		g := p.grid(">#", "STATEMENT", "LOCKS", "WORK", ">TOOK")
		g.indent = "  "
		for j := range v.Statements {
			s := &v.Statements[j]
			g.row(s.Statement, strings.TrimSuffix(lineOf(s.SQL, 60), ";"), locks(s.Locks), work(s), took(time.Duration(s.DurationMS)*time.Millisecond))
		}
		f := p.fields()
		if v.Refuses != "" {
			f.add("Refuses", p.refuses(v)+nulls(v))
		} else {
			f.add("Way back", p.provedBack(v))
		}
		f.add("Going up loses", strings.Join(v.LosesUp, ", "))
		parts = append(parts, p.style.bold(v.File)+" on a copy of "+c.Tenant+"\n"+g.String()+trimLines(f.String(), "  "))
	}
	return blocks(parts...)
}

func nulls(v *controlplane.RehearsedVersion) string {
	if v.Nulls == 0 {
		return ""
	}
	return ", " + plural(int(v.Nulls), "row")
}

// size is a number of bytes for people: "512 B", "1.4 MB".
func size(bytes int64) string {
	const units = "kMGTPE"
	if bytes < 1<<10 {
		return fmt.Sprintf("%d B", bytes)
	}
	n, unit := float64(bytes)/(1<<10), 0
	for n >= 999.5 && unit < len(units)-1 {
		n, unit = n/(1<<10), unit+1
	}
	if n < 10 {
		return fmt.Sprintf("%.1f %cB", n, units[unit])
	}
	return fmt.Sprintf("%.0f %cB", n, units[unit])
}
