package render

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/manorhq/manor/controlplane"
)

// causesShown is how many causes a summary shows unfolded.
const causesShown = 20

// Summary writes the rollout as Markdown for a pull request.
func (r *Report) Summary(w io.Writer) error {
	c, err := r.causes()
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, blocks(r.summaryHead(), summaryWaves(r.Rollout), summaryCauses(c.sorted(), r.Rollout.ID), summaryNext(r.Rollout, c.moved)))
	return err
}

func (r *Report) summaryHead() string {
	of, mark := r.Rollout, "…"
	switch {
	case of.State == controlplane.RolloutSucceeded, r.Back && of.State == controlplane.RolloutRolledBack && r.counts()[failed] == 0:
		mark = "✓"
	case of.State == controlplane.RolloutPaused:
		mark = "⏸"
	case of.State.Resting():
		mark = "✗"
	}
	text := fmt.Sprintf("## %s Rollout %s: %s\n\nRelease %s, version %s. %s in %s%s.\n",
		mark, code(of.ID), words(of.State), code(of.Release), code(of.Version), plural(of.Counts.Sum(), "tenant"), took(r.took()), targetDetail(of.Counts.String()))
	if of.Reason != "" {
		text += "\n> " + code(of.Reason) + "\n"
	}
	return text
}

func summaryWaves(r *controlplane.Rollout) string {
	if len(r.Waves) < 2 {
		return ""
	}
	text := "| wave | state | done | tenants |\n|---|---|---:|---|\n"
	for _, w := range r.Waves {
		text += fmt.Sprintf("| %s | %s | %d/%d | %s |\n", w.Name, w.State, w.Counts.Done(), w.Targets, w.Counts)
	}
	return text
}

func summaryCauses(all []cause, id string) string {
	if len(all) == 0 {
		return ""
	}
	text := "### What failed\n\n"
	for i := range all {
		if i == causesShown {
			text += fmt.Sprintf("\n<details><summary>%d more</summary>\n\n", len(all)-causesShown)
		}
		text += summaryCause(&all[i])
	}
	if len(all) > causesShown {
		text += "\n</details>\n"
	}
	return text + fmt.Sprintf("\nEach tenant: `manor rollout targets %s --status failed`\n", id)
}

func summaryCause(c *cause) string {
	f := failureOf(&c.example)
	text := fmt.Sprintf("- **%s** %s: %s\n", c.who(), words(c.example.Status), code(c.why()))
	if f.SQL != "" {
		fence := strings.Repeat("`", max(3, ticks(f.SQL)+1))
		text += "\n  " + strings.ReplaceAll(fence+"sql\n"+f.SQL+"\n"+fence, "\n", "\n  ") + "\n\n"
	}
	return text
}

func summaryNext(r *controlplane.Rollout, moved bool) string {
	next := nextCommands(r, moved)
	if !r.State.Resting() {
		next = []string{"manor rollout watch " + r.ID, "it goes on"}
	}
	if len(next) == 0 {
		return ""
	}
	text := "### Next\n\n"
	for pair := range slices.Chunk(next, 2) {
		text += fmt.Sprintf("- %s: %s\n", pair[1], code(pair[0]))
	}
	return text
}

// code writes a text so that Markdown takes nothing in it for its own.
func code(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	n := ticks(s)
	if n == 0 {
		return "`" + s + "`"
	}
	fence := strings.Repeat("`", n+1)
	return fence + " " + s + " " + fence
}

// ticks is how long the longest run of backticks is.
func ticks(s string) int {
	longest, run := 0, 0
	for _, c := range s {
		if run++; c != '`' {
			run = 0
		}
		longest = max(longest, run)
	}
	return longest
}
