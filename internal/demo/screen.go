package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"
	"golang.org/x/term"
)

// screen is where the demo is seen: a terminal with colours, or plain lines. It writes without a buffer, since the
// commands in between write to the same place.
type screen struct {
	out   *os.File
	color bool
}

func newScreen(out *os.File) screen {
	color := term.IsTerminal(int(out.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return screen{out: out, color: color}
}

var (
	bold  = lipgloss.NewStyle().Bold(true)
	faint = lipgloss.NewStyle().Faint(true)
	title = lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Cyan)
	good  = lipgloss.NewStyle().Foreground(lipgloss.Green)
	bad   = lipgloss.NewStyle().Foreground(lipgloss.Red)
)

func (s screen) paint(with lipgloss.Style, text string) string {
	if !s.color || text == "" {
		return text
	}
	return with.Render(text)
}

func (s screen) heading(n int, text string) {
	fmt.Fprintf(s.out, "\n%s\n\n", s.paint(title, fmt.Sprintf("── %d. %s %s", n, text, strings.Repeat("─", 70-len(text)))))
}

// say narrates.
func (s screen) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

// command echoes what is run next.
func (s screen) command(text string) {
	fmt.Fprintf(s.out, "\n%s %s\n", s.paint(faint, "$"), s.paint(bold, text))
}

// statement echoes SQL as psql would, with the tenant as the prompt.
func (s screen) statement(tenant, sql string) {
	fmt.Fprintf(s.out, "%s %s\n", s.paint(faint, tenant+"=>"), sql)
}

func (s screen) proved(text string) { fmt.Fprintf(s.out, "%s %s\n", s.paint(good, "✓"), text) }

// refusal shows what PostgreSQL answered.
func (s screen) refusal(text string) { fmt.Fprintf(s.out, "%s\n", s.paint(bad, text)) }

// check compares what came out with what the narration says, and shows the claim when it holds.
func check[T comparable](s screen, claim string, got, want T) error {
	if got != want {
		return fmt.Errorf("not so: %s: it is %v, expected was %v", claim, got, want)
	}
	s.proved(claim)
	return nil
}

// same is a check whose claim is what came out itself.
func same(s screen, got, want string) error {
	if got != want {
		return fmt.Errorf("not so: it is %q, expected was %q", got, want)
	}
	s.proved(got)
	return nil
}

// summary is the table at the end.
func (s screen) summary(results []result) {
	t := table.New().Headers(s.paint(faint, "ACT"), s.paint(faint, "WHAT WAS SHOWN"), s.paint(faint, "TOOK")).Wrap(false).
		BorderTop(false).BorderBottom(false).BorderLeft(false).BorderRight(false).
		BorderColumn(false).BorderRow(false).BorderHeader(false).
		StyleFunc(func(_, col int) lipgloss.Style {
			if col == 2 {
				return lipgloss.NewStyle().Align(lipgloss.Right)
			}
			return lipgloss.NewStyle().PaddingRight(3)
		})
	var whole time.Duration
	for _, r := range results {
		whole += r.took
		mark, shown := s.paint(good, "✓ "), r.shown
		if r.err != nil {
			mark, shown = s.paint(bad, "✗ "), s.paint(bad, "not as said")
		}
		t.Row(mark+r.title, shown, seconds(r.took))
	}
	t.Row("", "", s.paint(bold, seconds(whole)))
	fmt.Fprintln(s.out)
	for line := range strings.SplitSeq(strings.TrimRight(t.String(), "\n"), "\n") {
		fmt.Fprintln(s.out, strings.TrimRight(line, " "))
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }
