package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/manorhq/manor/cmd/manor/render"
	"github.com/manorhq/manor/controlplane"
)

func TestTheRateIsThatOfTheLastHalfMinute(t *testing.T) {
	var r rate
	at := time.Now()
	for _, c := range []struct {
		after time.Duration
		done  int
		want  float64
	}{
		{0, 100, 0}, {500 * time.Millisecond, 110, 0}, {2 * time.Second, 120, 10}, {10 * time.Second, 200, 10},
		{40 * time.Second, 200, 0},   // it has stood still for half a minute
		{50 * time.Second, 300, 2.5}, // 100 in the last forty seconds
		{51 * time.Second, 10, 0},    // taken back
		{53 * time.Second, 30, 10},
	} {
		if got := r.note(at.Add(c.after), c.done); got != c.want {
			t.Errorf("after %s, %d done: %g a second, want %g", c.after, c.done, got, c.want)
		}
	}
	for i := range 1000 {
		r.note(at.Add(time.Minute+time.Duration(i)*time.Second), 30+i)
	}
	if len(r.samples) > 40 {
		t.Errorf("%d samples are kept", len(r.samples))
	}
}

// onATerminal follows the one rollout of a plane as a terminal shows it.
func onATerminal(t *testing.T, p *plane, stream bool, format render.Format) (out, errs string) {
	t.Helper()
	p.start(t)
	e, err := readEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	s, err := dial(e.Server)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	var stdout, stderr bytes.Buffer
	a := &app{print: render.New(render.Config{Out: &stdout, Err: &stderr, Format: format, Live: true, Width: 100, Height: 40})}
	_ = a.setGoing(t.Context(), s, true, followed{stream: stream, reports: &reports{}}, func() (*controlplane.Rollout, error) {
		return s.ShowRollout(t.Context(), "r_1")
	}) // how it ends is for others to test
	return stdout.String(), stderr.String()
}

func TestATerminalShowsEachCauseOnceInFullAndCountsTheRest(t *testing.T) {
	p := rested(controlplane.RolloutFailed, controlplane.Counts{controlplane.TargetFailed: 5})
	for i := range 5 {
		p.targets = append(p.targets, controlplane.Target{Tenant: fmt.Sprintf("t-%d", i), Cluster: "east", Status: controlplane.TargetFailed, Attempts: 1, Failure: &controlplane.Failure{
			Message: fmt.Sprintf("no such thing in %d", i), SQLState: "42703", File: "3_c.sql", Statement: 2, SQL: "SELECT nonsense"}})
	}
	p.failed = p.targets
	rests := p.rollout
	p.rollout.State, p.rests, p.patience = controlplane.RolloutRunning, &rests, 1
	_, errs := onATerminal(t, p, true, render.Table)
	if n := strings.Count(errs, "SELECT nonsense"); n != 1 {
		t.Errorf("the statement is shown %d times:\n%s", n, errs)
	}
	if !strings.Contains(errs, "     5   t-0 on east   3_c.sql statement 2: no such thing in 0 (SQLSTATE 42703)") {
		t.Errorf("the cause is not counted:\n%s", errs)
	}
}

func TestALookReadsOnePageOfTargetsAtMost(t *testing.T) {
	p := rested(controlplane.RolloutRunning, controlplane.Counts{controlplane.TargetDeferred: 1, controlplane.TargetFailed: 1})
	p.targets = []controlplane.Target{{Tenant: "acme", Status: controlplane.TargetDeferred}, {Tenant: "globex", Status: controlplane.TargetFailed}}
	p.start(t)
	e, err := readEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	s, err := dial(e.Server)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	var v rolloutView
	for i := 1; i <= 4; i++ {
		if err := v.read(t.Context(), s, &p.rollout); err != nil {
			t.Fatal(err)
		}
		if p.pages != i {
			t.Errorf("after %d looks %d pages were read", i, p.pages)
		}
	}
	if len(v.deferred) != 1 || len(v.failed) != 1 {
		t.Errorf("it knows of %d that wait and %d that failed", len(v.deferred), len(v.failed))
	}
	if err := v.read(t.Context(), s, &controlplane.Rollout{ID: "r_1"}); err != nil || p.pages != 4 || v.deferred != nil || v.failed != nil {
		t.Errorf("%d pages, %v, %v, %v", p.pages, v.deferred, v.failed, err)
	}
}

func TestEventsAsLinesHaveNoBarBetweenThem(t *testing.T) {
	p := rested(controlplane.RolloutSucceeded, controlplane.Counts{controlplane.TargetSucceeded: 2})
	out, errs := onATerminal(t, p, true, render.JSON)
	if strings.Contains(out+errs, "\x1b") || !strings.Contains(out, `"state":"succeeded"`) {
		t.Errorf("%q %q", out, errs)
	}
}

func TestWhereEventsAreLinesTheEndWaitsForTheOneThatSaysSo(t *testing.T) {
	running, rested := &controlplane.Rollout{State: controlplane.RolloutRunning}, &controlplane.Rollout{State: controlplane.RolloutFailed}
	for _, c := range []struct {
		format render.Format
		before *controlplane.Rollout
		told   bool
		want   bool
	}{
		{render.JSON, running, false, false}, {render.JSON, running, true, true}, {render.JSON, rested, false, true}, {render.Table, running, false, true},
	} {
		w := &rolloutWatch{app: &app{print: render.New(render.Config{Format: c.format})}, followed: followed{stream: true}, now: c.before}
		w.over()
		w.now, w.told = rested, c.told
		if got := w.over(); got != c.want {
			t.Errorf("%s, was %s, told: %v: over is %v", c.format, c.before.State, c.told, got)
		}
		if w.rests = w.rests.Add(-2 * lateEvents); !w.over() {
			t.Errorf("%s, was %s: it waits for ever", c.format, c.before.State)
		}
	}
}
