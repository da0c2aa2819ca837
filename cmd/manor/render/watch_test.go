package render_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/manorhq/manor/cmd/manor/render"
	"github.com/manorhq/manor/controlplane"
)

// watched is a rollout in its second wave of three, with all that may go wrong.
func watched() *render.Watched {
	r := rollout
	r.State, r.FinishedAt = controlplane.RolloutRunning, nil
	r.Counts = controlplane.Counts{controlplane.TargetSucceeded: 120, controlplane.TargetRunning: 5, controlplane.TargetDeferred: 8, controlplane.TargetPending: 82, controlplane.TargetFailed: 4, controlplane.TargetNeedsAttention: 1}
	r.Strategy = controlplane.Strategy{Gates: []controlplane.Gate{{Approval: true}}, Waves: []controlplane.Wave{
		{Name: "canary", Soak: controlplane.Duration(15 * time.Minute)}, {Name: "early", Soak: controlplane.Duration(time.Hour)}, {Name: "rest"}}}
	r.Waves = []controlplane.WaveStatus{
		{Number: 1, Name: "canary", State: controlplane.WavePassed, Targets: 5, Counts: controlplane.Counts{controlplane.TargetSucceeded: 5}},
		{Number: 2, Name: "early", State: controlplane.WaveRunning, Targets: 150, Counts: controlplane.Counts{controlplane.TargetSucceeded: 115, controlplane.TargetPending: 30, controlplane.TargetFailed: 5}},
		{Number: 3, Name: "rest", State: controlplane.WaveWaiting, Targets: 65, Counts: controlplane.Counts{controlplane.TargetPending: 65}},
	}
	r.Clusters = []controlplane.RolloutFlow{
		{Cluster: "east", Open: 80, AtWork: 4, Flow: controlplane.Flow{Pace: 4, Ceiling: 18, Reason: "halved: 3 tenants waited for locks"}},
		{Cluster: "west", Open: 20, Flow: controlplane.Flow{Ceiling: 18, Alarm: &controlplane.Alarm{
			Message: "cannot execute CREATE TABLE in a read-only transaction", SQLState: "25006", Since: ago(65 * time.Second), Until: now.Add(20 * time.Second), Tries: 3}}},
	}
	for i, tenant := range []string{"acme", "globex", "hooli", "initech", "massive"} {
		r.InHand = append(r.InHand, controlplane.InHand{Tenant: tenant, Since: ago(time.Duration(12-2*i) * time.Second)})
	}
	locked := &controlplane.Failure{Message: "canceling statement due to lock timeout", SQLState: "55P03", Blocker: &controlplane.Blocker{PID: 4711, Login: "t_abc_a", AgeMS: 62_000, Query: "UPDATE notes SET stars = $1 WHERE id = $2"}}
	return &render.Watched{Rollout: &r, Rate: 4.2,
		Deferred: []controlplane.Target{with("soylent", controlplane.TargetDeferred, locked), with("tyrell", controlplane.TargetDeferred, &controlplane.Failure{Message: "sorry, too many clients already", SQLState: "53300"})},
		Failed: []controlplane.Target{with("piedpiper", controlplane.TargetFailed, syntax), with("umbrella", controlplane.TargetFailed, failure), with("vandelay", controlplane.TargetFailed, failure),
			with("wonka", controlplane.TargetNeedsAttention, &controlplane.Failure{Message: "the tenant is at 9, not where the rollout left it (3)"})},
	}
}

func TestWhatIsWatchedLooksAsTheGoldenFilesSay(t *testing.T) {
	approval := watched()
	approval.Deferred, approval.Failed, approval.Rate, approval.Rollout.Clusters, approval.Rollout.InHand = nil, nil, 0, nil, nil
	approval.Rollout.Wanted = controlplane.RolloutPaused
	approval.Rollout.Waves[1].State = controlplane.WaveGated
	for name, w := range map[string]*render.Watched{"busy": watched(), "approval": approval} {
		for _, width := range []int{80, 120} {
			got := render.New(render.Config{Width: width, Now: func() time.Time { return now }}).Watch(w)
			for line := range strings.Lines(got) {
				if n := lipgloss.Width(strings.TrimSuffix(line, "\n")); n >= width {
					t.Errorf("a line of %d characters would wrap: %q", n, line)
				}
			}
			golden(t, fmt.Sprintf("watch-%s-%d.txt", name, width), got)
		}
	}
}

func TestWhatIsWatchedSaysTheSameInColour(t *testing.T) {
	plain, coloured := render.New(render.Config{Now: func() time.Time { return now }}), render.New(render.Config{ErrColor: true, Now: func() time.Time { return now }})
	got := coloured.Watch(watched())
	if want := plain.Watch(watched()); escapes.ReplaceAllString(got, "") != want || got == want {
		t.Errorf("colour changed the text:\n%s\n%s", got, want)
	}
}

func TestAWaveThatHasComeFurtherIsALine(t *testing.T) {
	p := render.New(render.Config{Now: func() time.Time { return now }})
	soaks := now.Add(5 * time.Minute)
	r := watched().Rollout
	w := &r.Waves[1]
	w.SoaksTo = &soaks
	for state, want := range map[controlplane.WaveState]string{
		controlplane.WaveRunning: "wave early is running: 150 tenants",
		controlplane.WaveSoaking: "120 of 150 done; wave early soaks for another 5m",
		controlplane.WaveGated:   "120 of 150 done; after wave early it waits for approval: manor rollout approve r_4f7k2m",
		controlplane.WavePassed:  "wave early is passed: 30 pending, 115 succeeded, 5 failed",
	} {
		if w.State = state; p.WaveChange(r, w) != want {
			t.Errorf("%s: %q, want %q", state, p.WaveChange(r, w), want)
		}
	}
}

// screen is what a terminal shows of what was written to it.
type screen struct {
	rows [][]rune
	y, x int
}

func (s *screen) write(t *testing.T, text string) {
	for i := 0; i < len(text); {
		rest := text[i:]
		var n int
		switch {
		case strings.HasPrefix(rest, "\x1b["):
			end := strings.IndexFunc(rest[2:], func(r rune) bool { return r >= '@' }) + 2
			if end > 2 {
				_, _ = fmt.Sscanf(rest[2:end], "%d", &n)
			}
			switch rest[end] {
			case 'A':
				if s.y -= n; s.y < 0 {
					t.Fatal("the cursor has left the screen")
				}
			case 'K':
				s.rows[s.y] = s.rows[s.y][:min(s.x, len(s.rows[s.y]))]
			case 'J':
				s.rows = append(s.rows[:s.y:s.y], s.rows[s.y][:min(s.x, len(s.rows[s.y]))])
			case 'm':
			default:
				t.Fatalf("the terminal was told %q", rest[:end+1])
			}
			i += end + 1
			continue
		case rest[0] == '\r':
			s.x = 0
		case rest[0] == '\n':
			s.y, s.x = s.y+1, 0
		default:
			r := []rune(rest)[0]
			for len(s.rows) <= s.y {
				s.rows = append(s.rows, nil)
			}
			s.rows[s.y] = append(s.rows[s.y][:s.x:max(s.x, 0)], append([]rune{r}, tail(s.rows[s.y], s.x+1)...)...)
			s.x++
			i += len(string(r))
			continue
		}
		i++
		for len(s.rows) <= s.y {
			s.rows = append(s.rows, nil)
		}
	}
}

func tail(row []rune, from int) []rune { return row[min(from, len(row)):] }

func (s *screen) String() string {
	var b strings.Builder
	for _, row := range s.rows {
		b.WriteString(strings.TrimRight(string(row), " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

func TestWhatIsBelowTheBarIsWrittenOverAndLeavesNothingBehind(t *testing.T) {
	c, errs := &clock{now}, &bytes.Buffer{}
	bar := render.New(render.Config{Err: errs, Live: true, ErrColor: true, Width: 60, Height: 5, Now: c.now}).Progress("Rolling out v2")
	shows := func(want string) {
		t.Helper()
		s := &screen{}
		s.write(t, errs.String())
		got := s.String()
		if _, after, found := strings.Cut(got, "Rolling out v2"); found {
			_, after, _ = strings.Cut(after, "\n")
			got = after
		}
		if got != want {
			t.Errorf("the screen shows\n%s\nwant\n%s", got, want)
		}
	}
	bar.Update(1, 2, "")
	bar.Below("one line that is long\ntwo\nthree\n")
	shows("one line that is long\ntwo\nthree")
	bar.Below("a\nb\nc\nd\ne")
	shows("a\nb\nc")
	bar.Below("short")
	shows("short")
	bar.Below("x\ny")
	bar.Print("✗ acme failed")
	shows("x\ny")
	if bar.Close(); strings.Contains(errs.String(), "\x1b[2J") {
		t.Error("the whole screen is cleared: it flickers")
	}
	shows("✗ acme failed")
}
