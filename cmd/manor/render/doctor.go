package render

import (
	"fmt"
	"strings"

	"github.com/manorhq/manor/controlplane"
)

// Verification shows how the catalog compares with the tenants.
func (p *Printer) Verification(v *controlplane.Verification) error {
	return p.print(v, func() string {
		return blocks(p.verificationHead(v), p.differences(v.Differences), p.unreached(v.Unreached))
	})
}

func (p *Printer) verificationHead(v *controlplane.Verification) string {
	text := p.style.paint(green, fmt.Sprintf("%d of %s %s with the catalog", v.Agree, plural(v.Tenants, "tenant"), agree(v.Agree, "agrees", "agree")))
	if n := len(v.Differences); n > 0 {
		text += "; " + p.style.bad(fmt.Sprintf("%d %s not", n, agree(n, "does", "do")))
		if v.DryRun {
			text += ", and nothing was corrected"
		}
	}
	if v.AtWork > 0 {
		text += fmt.Sprintf("; %d %s being changed just now", v.AtWork, agree(v.AtWork, "is", "are"))
	}
	return text + ".\n"
}

func agree(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func (p *Printer) differences(differences []controlplane.Difference) string {
	g := p.grid("TENANT", "CLUSTER", "CATALOG", "STAMP", "ACTUAL", "CORRECTED", "WHY")
	for _, d := range differences {
		corrected := "no"
		if d.Corrected {
			corrected = p.style.paint(green, "yes")
		}
		g.row(d.Tenant, d.Cluster, d.Catalog, d.Stamp, d.Actual, corrected, d.Reason)
	}
	return g.String()
}

// unreached names what did not answer, and why.
func (p *Printer) unreached(places []controlplane.Unreached) string {
	g := p.grid("NOT REACHED", "DATABASE", ">TENANTS", "WHY")
	for _, u := range places {
		why := ""
		if u.Error != nil {
			why = u.Error.Message
		}
		g.row(p.style.bad(u.Cluster), u.Database, u.Tenants, why)
	}
	return g.String()
}

// Checkup shows what is not as it should be, kind by kind.
func (p *Printer) Checkup(c *controlplane.Checkup) error {
	return p.print(c, func() string {
		parts := []string{p.checkupHead(c)}
		for _, kind := range controlplane.FindingKinds {
			parts = append(parts, p.findings(kind, c.Findings))
		}
		return blocks(append(parts, p.unreached(c.Unreached))...)
	})
}

func (p *Printer) checkupHead(c *controlplane.Checkup) string {
	text := fmt.Sprintf("Looked at %s, %s and %s: ", plural(c.Clusters, "cluster"), plural(c.Databases, "database"), plural(c.Tenants, "tenant"))
	open, fixed, notes := c.Open(), 0, 0
	for _, f := range c.Findings {
		switch {
		case f.Fixed:
			fixed++
		case f.Note:
			notes++
		}
	}
	switch {
	case open == 0 && fixed == 0:
		text += p.style.paint(green, "all is as it should be")
	default:
		text += p.style.count(open, red) + " to look at"
	}
	if fixed > 0 {
		text += ", " + p.style.paint(green, itoa(fixed)+" mended")
	}
	if notes > 0 {
		text += ", " + plural(notes, "note")
	}
	return text + ".\n"
}

// shownFindings is how many of a kind people see; scripts see all.
const shownFindings = 20

func (p *Printer) findings(kind controlplane.FindingKind, all []controlplane.Finding) string {
	var of []controlplane.Finding
	for _, f := range all {
		if f.Kind == kind {
			of = append(of, f)
		}
	}
	if len(of) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(p.style.bold(strings.ReplaceAll(string(kind), "_", " ")) + "\n")
	for i, f := range of {
		if i == shownFindings {
			fmt.Fprintf(&b, "  … and %d more: -o json lists them\n", len(of)-i)
			break
		}
		b.WriteString(p.finding(f))
		if then := p.then(f); i == len(of)-1 || i == shownFindings-1 || then != p.then(of[i+1]) {
			b.WriteString(then) // once for those for which it is the same
		}
	}
	return b.String()
}

// finding is a sentence.
func (p *Printer) finding(f controlplane.Finding) string {
	mark, where := p.style.bad("✗"), f.Cluster
	if f.Database != "" {
		where += "/" + f.Database
	}
	if where != "" {
		where = p.style.note(where + ": ")
	}
	switch {
	case f.Fixed:
		mark = p.style.paint(green, "✓")
	case f.Note:
		mark = p.style.note("·")
	}
	return "  " + mark + " " + where + f.Message + "\n"
}

// then is what was done about a finding, or can be.
func (p *Printer) then(f controlplane.Finding) string {
	var lines []string
	switch {
	case f.Fixed:
		lines = append(lines, "mended ("+f.Remedy+")")
	case f.Error != nil:
		lines = append(lines, p.style.bad("not mended: ")+f.Error.Message)
	case f.Remedy != "":
		lines = append(lines, "--fix would "+f.Remedy)
	}
	if f.Advice != "" && !f.Fixed {
		lines = append(lines, p.style.note(f.Advice))
	}
	text := ""
	for _, line := range lines {
		text += "      " + line + "\n"
	}
	return text
}

// Claim shows what a copy of the catalog took over.
func (p *Printer) Claim(c *controlplane.Claim) error {
	return p.print(c, func() string {
		return blocks(p.claimHead(c), p.left(c.Left), p.unreached(c.Unreached))
	})
}

func (p *Printer) claimHead(c *controlplane.Claim) string {
	text := fmt.Sprintf("%d of %s now belong to catalog %s", c.Claimed, plural(c.Tenants, "tenant"), p.style.bold(c.Catalog))
	if c.DryRun {
		text = fmt.Sprintf("%d of %s would belong to catalog %s (dry run)", c.Claimed, plural(c.Tenants, "tenant"), p.style.bold(c.Catalog))
	}
	if c.Strangers > 0 {
		text += fmt.Sprintf(", and %s that it does not know: `manor doctor` lists them", plural(c.Strangers, "home"))
	}
	text += ".\n"
	switch {
	case c.DryRun:
	case c.Done && len(c.Unreached) == 0:
		text += p.style.paint(green, "It is a catalog of its own: the one that it was copied from is locked out.") + "\n"
	case c.Done:
		text += "It is a catalog of its own, but for the tenants that were not reached: claim it again for those.\n"
	default:
		text += p.style.bad("It is still a copy") + ": claim it again when all clusters answer, or --partly without them.\n"
	}
	return text
}

func (p *Printer) left(left []controlplane.ClaimLeft) string {
	g := p.grid("NOT TAKEN OVER", "CLUSTER", "WHY")
	for _, l := range left {
		g.row(l.Tenant, l.Cluster, l.Reason)
	}
	return g.String()
}
