package render

import (
	"fmt"
	"path"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/manorhq/manor/controlplane"
)

// Lint shows what reading a migration directory has found, file by file.
func (p *Printer) Lint(l *controlplane.Lint, dir string) error {
	return p.print(l, func() string {
		var parts []string
		for from := 0; from < len(l.Items); {
			to := from + 1
			for to < len(l.Items) && l.Items[to].File == l.Items[from].File {
				to++
			}
			parts = append(parts, p.warnings(dir, l.Items[from:to]))
			from = to
		}
		return blocks(append(parts, p.lintCounts(l))...)
	})
}

// warnings shows those about one file. A hint that several have in common
// stands below the last.
func (p *Printer) warnings(dir string, of []controlplane.Warning) string {
	var b strings.Builder
	b.WriteString(p.style.bold(path.Join(dir, of[0].File)) + "\n")
	for i, w := range of {
		where := "-"
		if w.Line > 0 {
			where = itoa(w.Line)
		}
		fmt.Fprintf(&b, "  %4s  %s  %s\n", where, p.style.paint(severityStyle[w.Severity], fmt.Sprintf("%-7s", w.Severity)), p.style.bold(string(w.Code)))
		b.WriteString("        " + w.Message + "\n")
		if w.Hint != "" && (i == len(of)-1 || of[i+1].Hint != w.Hint) {
			b.WriteString("        " + p.style.note("→ "+w.Hint) + "\n")
		}
	}
	return b.String()
}

var severityStyle = map[controlplane.Severity]lipgloss.Style{
	controlplane.SeverityError: red, controlplane.SeverityWarning: yellow, controlplane.SeverityNote: faint,
}

func (p *Printer) lintCounts(l *controlplane.Lint) string {
	text := plural(l.Files, "file")
	if l.Since != "" {
		text += " after " + l.Since
	}
	found := false
	for _, c := range []struct {
		n    int
		noun string
		with lipgloss.Style
	}{{l.Errors, "error", red}, {l.Warnings, "warning", yellow}, {l.Notes, "note", faint}} {
		if c.n > 0 {
			text, found = text+", "+p.style.paint(c.with, plural(c.n, c.noun)), true
		}
	}
	if !found {
		text += ", " + p.style.paint(green, "nothing to say")
	}
	if l.Silenced > 0 {
		text += fmt.Sprintf(" (%d silenced by atlas:nolint)", l.Silenced)
	}
	text += ".\n"
	if found {
		text += p.style.note("Each code is explained at "+strings.TrimSuffix(l.Items[0].Link, "#"+string(l.Items[0].Code))) + "\n"
	}
	return text
}
