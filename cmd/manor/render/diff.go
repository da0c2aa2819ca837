package render

import (
	"fmt"
	"slices"
	"strings"

	"github.com/manorhq/manor/controlplane"
)

// Diff shows the migration that leads dir to the schema, or says that it was
// written, and what has to be known of it.
func (p *Printer) Diff(d *controlplane.Diff, dir, schema string, wrote bool) error {
	return p.print(d, func() string {
		switch {
		case d.InSync:
			return fmt.Sprintf("%s leads to %s: in sync.\n", dir, schema)
		case wrote:
			return blocks(fmt.Sprintf("Wrote %s to %s.\n", enumerate(d.Names()), dir), p.remarks(d))
		}
		return blocks(p.sql(d), p.remarks(d))
	})
}

// sql is the text of the migration and of its down file.
func (p *Printer) sql(d *controlplane.Diff) string {
	var parts []string
	for _, name := range d.Names() {
		if strings.HasSuffix(name, ".sql") {
			parts = append(parts, p.style.head("-- "+name)+"\n"+d.Files[name])
		}
	}
	return blocks(parts...)
}

// enumerate writes "a, b and c".
func enumerate(names []string) string {
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// remarks are what stands between the migration and the schema, then what it
// drops, then what else to know.
func (p *Printer) remarks(d *controlplane.Diff) string {
	var lines []string
	add := func(mark, format string, args ...any) { lines = append(lines, mark+" "+fmt.Sprintf(format, args...)) }
	cross, drop, dot := p.style.bad("✗"), p.style.paint(yellow, "!"), p.style.note("·")
	if d.Failure != nil {
		add(cross, "it fails on an empty schema already: %s", d.Failure)
	}
	for _, r := range d.Renames {
		add(cross, "looks like a rename of %s %s to %s: Atlas drops and adds, and the rows are lost; write it by hand", r.Kind, r.From, strings.Join(r.To, " or "))
	}
	for _, o := range d.ByHand {
		add(cross, "does not %s %s %s: write it by hand", o.Do, o.Kind, o.Name)
	}
	for _, what := range d.Drops {
		add(drop, "drops %s", what)
	}
	for _, note := range d.Notes {
		add(dot, "%s", note)
	}
	if d.NoDown != "" {
		add(dot, "no down file: %s", d.NoDown)
	}
	return strings.Join(slices.Concat(lines, []string{""}), "\n")
}
