package render

import (
	"fmt"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"
)

// grid is a table without borders, as kubectl draws them. Columns named with a
// leading > are aligned to the right.
type grid struct {
	style  style
	heads  []string
	right  []bool
	rows   [][]string
	indent string
}

func (p *Printer) grid(heads ...string) *grid {
	g := &grid{style: p.style}
	for _, h := range heads {
		g.right = append(g.right, strings.HasPrefix(h, ">"))
		g.heads = append(g.heads, strings.TrimPrefix(h, ">"))
	}
	return g
}

// row adds a row; every cell is printed with %v, an empty one as "-".
func (g *grid) row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		if row[i] = fmt.Sprint(c); row[i] == "" {
			row[i] = "-"
		}
	}
	g.rows = append(g.rows, row)
}

const gap = 3 // spaces between columns

func (g *grid) String() string {
	if len(g.rows) == 0 {
		return ""
	}
	heads := make([]string, len(g.heads))
	for i, h := range g.heads {
		heads[i] = g.style.head(h)
	}
	t := table.New().Headers(heads...).Rows(g.rows...).Wrap(false).
		BorderTop(false).BorderBottom(false).BorderLeft(false).BorderRight(false).
		BorderColumn(false).BorderRow(false).BorderHeader(false).
		StyleFunc(func(_, col int) lipgloss.Style {
			s := lipgloss.NewStyle()
			if g.right[col] {
				s = s.Align(lipgloss.Right)
			}
			if col < len(g.heads)-1 {
				s = s.PaddingRight(gap)
			}
			return s
		})
	return trimLines(t.String(), g.indent)
}

// trimLines takes trailing spaces off each line, so that narrow terminals do
// not wrap and golden files can be edited.
func trimLines(s, indent string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimRight(s, "\n"), "\n") {
		b.WriteString(strings.TrimRight(indent+line, " "))
		b.WriteByte('\n')
	}
	return b.String()
}

// fields is a noun of its own, one field a line.
type fields struct {
	style style
	names []string
	texts []string
}

func (p *Printer) fields() *fields { return &fields{style: p.style} }

// add adds a field; one without a text is left out.
func (f *fields) add(name string, value any) {
	text := fmt.Sprint(value)
	if text == "" {
		return
	}
	f.names, f.texts = append(f.names, name), append(f.texts, text)
}

func (f *fields) String() string {
	width := 0
	for _, n := range f.names {
		width = max(width, len(n)+1)
	}
	var b strings.Builder
	for i, n := range f.names {
		label := f.style.head(n+":") + strings.Repeat(" ", width-len(n)-1+2)
		text := strings.ReplaceAll(f.texts[i], "\n", "\n"+strings.Repeat(" ", width+2))
		b.WriteString(label + text + "\n")
	}
	return b.String()
}

// age writes how long ago t was, in the largest two units that say something.
func (p *Printer) age(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return span(p.Now().Sub(t))
}

func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 10*time.Minute:
		return pair(d, time.Minute, "m", time.Second, "s")
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 10*time.Hour:
		return pair(d, time.Hour, "h", time.Minute, "m")
	case d < 2*day:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d < 365*day:
		return fmt.Sprintf("%dd", d/day)
	default:
		return pair(d, 365*day, "y", day, "d")
	}
}

func pair(d, big time.Duration, b string, small time.Duration, s string) string {
	rest := d % big / small
	if rest == 0 {
		return fmt.Sprintf("%d%s", d/big, b)
	}
	return fmt.Sprintf("%d%s%d%s", d/big, b, rest, s)
}

// took writes a duration of work: "840ms", "12.3s", "4m10s".
func took(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	default:
		return span(d)
	}
}

// plural writes a number with its noun: "1 tenant", "2 tenants".
func plural(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "tch"):
		return fmt.Sprintf("%d %ses", n, noun)
	default:
		return fmt.Sprintf("%d %ss", n, noun)
	}
}

// short cuts a text that is for orientation only, such as a hash.
func short(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n]
}
