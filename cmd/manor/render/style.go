package render

import (
	"slices"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/manorhq/manor/controlplane"
)

// style colours words, with the sixteen colours every terminal lets its user
// choose; off, it returns them as they are.
type style struct{ on bool }

var (
	green  = lipgloss.NewStyle().Foreground(lipgloss.Green)
	red    = lipgloss.NewStyle().Foreground(lipgloss.Red)
	yellow = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
	cyan   = lipgloss.NewStyle().Foreground(lipgloss.Cyan)
	faint  = lipgloss.NewStyle().Faint(true)
	bold   = lipgloss.NewStyle().Bold(true)
)

func (s style) paint(with lipgloss.Style, text string) string {
	if !s.on || text == "" {
		return text
	}
	return with.Render(text)
}

func (s style) head(text string) string { return s.paint(faint, text) }
func (s style) bold(text string) string { return s.paint(bold, text) }
func (s style) note(text string) string { return s.paint(faint, text) }
func (s style) bad(text string) string  { return s.paint(red, text) }

// words by how they should look. A state that is in none of the lists stays
// as it is.
var (
	goodWords    = []string{"active", "succeeded", "current"}
	badWords     = []string{"failed", "aborted"}
	warnWords    = []string{"paused", "deferred", "unknown", "needs_attention", "draining", "deleting", "suspended"}
	movingWords  = []string{"running", "rolling_back", "provisioning", "planned", "pending"}
	settledWords = []string{"offline", "deleted", "skipped", "rolled_back"}
)

// state colours a state or a status by what it asks of the reader.
func (s style) state(word string) string {
	for _, c := range []struct {
		words []string
		with  lipgloss.Style
	}{{goodWords, green}, {badWords, red}, {warnWords, yellow}, {movingWords, cyan}, {settledWords, faint}} {
		if slices.Contains(c.words, word) {
			return s.paint(c.with, word)
		}
	}
	return word
}

// count is a number that stands out when it is not zero.
func (s style) count(n int, with lipgloss.Style) string {
	text := itoa(n)
	if n == 0 {
		return s.paint(faint, text)
	}
	return s.paint(with, text)
}

// words are a state or a status as people write it.
func words[S ~string](status S) string { return strings.ReplaceAll(string(status), "_", " ") }

// counts writes "219 succeeded, 1 failed" in the order of the statuses.
func (s style) counts(c controlplane.Counts) string {
	var parts []string
	for _, status := range controlplane.TargetStatuses {
		if n := c[status]; n > 0 {
			text := itoa(n) + " " + words(status)
			parts = append(parts, strings.Replace(s.state(string(status)), string(status), text, 1))
		}
	}
	return strings.Join(parts, ", ")
}
