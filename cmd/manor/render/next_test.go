package render_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/manorhq/manor/cmd/manor/render"
	"github.com/manorhq/manor/controlplane"
)

func TestNextNamesOnlyCommandsThatHaveSomethingToDo(t *testing.T) {
	type counts = controlplane.Counts
	stood := controlplane.Target{Tenant: "acme", Status: controlplane.TargetFailed, From: "2", Version: "2"}
	halfWay := controlplane.Target{Tenant: "acme", Status: controlplane.TargetFailed, From: "2", Version: "3"}
	for _, c := range []struct {
		name   string
		state  controlplane.RolloutState
		counts counts
		failed []controlplane.Target
		want   string
	}{
		{"all went well", controlplane.RolloutSucceeded, counts{controlplane.TargetSucceeded: 3}, nil, ""},
		{"some failed", controlplane.RolloutFailed, counts{controlplane.TargetSucceeded: 3, controlplane.TargetFailed: 1}, []controlplane.Target{stood}, "retry rollback"},
		{"all failed and nothing changed", controlplane.RolloutFailed, counts{controlplane.TargetFailed: 1}, []controlplane.Target{stood}, "retry"},
		{"all failed, one half-way", controlplane.RolloutFailed, counts{controlplane.TargetFailed: 2}, []controlplane.Target{stood, halfWay}, "retry rollback"},
		{"skipped only", controlplane.RolloutFailed, counts{controlplane.TargetSkipped: 2}, nil, ""},
		{"skipped and current", controlplane.RolloutFailed, counts{controlplane.TargetSkipped: 2, controlplane.TargetCurrent: 2}, nil, ""},
		{"skipped beside successes", controlplane.RolloutFailed, counts{controlplane.TargetSkipped: 2, controlplane.TargetSucceeded: 2}, nil, "rollback"},
		{"a rollback that stuck", controlplane.RolloutFailed, counts{controlplane.TargetRolledBack: 2, controlplane.TargetNeedsAttention: 1, controlplane.TargetFailed: 1}, []controlplane.Target{stood}, "rollback"},
		{"paused with successes", controlplane.RolloutPaused, counts{controlplane.TargetSucceeded: 1, controlplane.TargetFailed: 1, controlplane.TargetPending: 4}, []controlplane.Target{stood}, "resume rollback"},
		{"paused before anything changed", controlplane.RolloutPaused, counts{controlplane.TargetFailed: 1, controlplane.TargetPending: 4}, []controlplane.Target{stood}, "resume"},
		{"rolled back", controlplane.RolloutRolledBack, counts{controlplane.TargetRolledBack: 3}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			r := controlplane.Rollout{ID: "r_1", State: c.state, Counts: c.counts, Targets: c.counts.Sum()}
			if err := render.New(render.Config{Out: &out}).RolloutResult(&r, c.failed, 0); err != nil {
				t.Fatal(err)
			}
			var verbs []string
			for line := range strings.Lines(out.String()) {
				if command, ok := strings.CutPrefix(line, "  manor rollout "); ok {
					verbs = append(verbs, strings.Fields(command)[0])
				}
			}
			if got := strings.Join(verbs, " "); got != c.want || strings.Contains(out.String(), "Next:") != (c.want != "") {
				t.Errorf("got %q, want %q:\n%s", got, c.want, &out)
			}
		})
	}
}
