package render_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/manorhq/manor/cmd/manor/render"
	"github.com/manorhq/manor/controlplane"
)

// capture is what commands with -o json said during a real run: 122 tenants of
// the sample application, two with data that its last release refuses, and
// somebody in a long transaction in three others.
type capture struct {
	At       time.Time                 `json:"at"`
	Rate     float64                   `json:"rate"`
	Plan     *controlplane.RolloutPlan `json:"plan"`
	Rollout  *controlplane.Rollout     `json:"rollout"`
	Deferred []controlplane.Target     `json:"deferred"`
	Failed   []controlplane.Target     `json:"failed"`
}

// TestTheDocsShowWhatCommandsShow: the captures in docs/rollouts.md are what the
// commands of today make of the run.
func TestTheDocsShowWhatCommandsShow(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("testdata", "capture.json"))
	if err != nil {
		t.Fatal(err)
	}
	var c capture
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("..", "..", "..", "docs", "rollouts.md")
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := string(page)
	for name, text := range map[string]string{"plan": c.plan(t), "watch": c.watch(t)} {
		mark := "<!-- " + name + ", by go test ./cmd/manor/render -update -->\n```text\n"
		before, rest, found := strings.Cut(want, mark)
		_, after, closed := strings.Cut(rest, "\n```\n")
		if !found || !closed {
			t.Fatalf("%s has no place for %s", path, name)
		}
		want = before + mark + strings.TrimRight(text, "\n") + "\n```\n" + after
	}
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(page)); diff != "" {
		t.Errorf("go test ./cmd/manor/render -update writes %s: -want +got\n%s", path, diff)
	}
}

func (c *capture) plan(t *testing.T) string {
	var out bytes.Buffer
	if err := render.New(render.Config{Out: &out, Now: func() time.Time { return c.At }}).RolloutPlan(c.Plan); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// watch is the screen of a terminal on which somebody has watched from the start.
func (c *capture) watch(t *testing.T) string {
	at := &clock{c.Rollout.CreatedAt}
	var errs bytes.Buffer
	p := render.New(render.Config{Err: &errs, Live: true, Width: 120, Now: at.now})
	bar := p.Progress("Rolling out " + c.Rollout.Release)
	at.at = c.At
	bar.Update(c.Rollout.Counts.Done(), c.Rollout.Targets, "")
	bar.Below(p.Watch(&render.Watched{Rollout: c.Rollout, Deferred: c.Deferred, Failed: c.Failed, Rate: c.Rate}))
	s := &screen{}
	s.write(t, errs.String())
	bar.Close()
	return s.String()
}
