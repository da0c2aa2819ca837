package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/manorhq/manor/cmd/manor/render"
	"github.com/manorhq/manor/controlplane"
)

// rested is a rollout as it is going to be when it rests.
func rested(state controlplane.RolloutState, counts controlplane.Counts) *plane {
	return &plane{rollout: controlplane.Rollout{ID: "r_1", State: state, Release: "v2", Version: "3", Targets: counts.Sum(), Counts: counts, CreatedAt: time.Now()}}
}

func TestStartWaitsAndItsExitCodeSaysHowItEnded(t *testing.T) {
	for state, want := range map[controlplane.RolloutState]int{
		controlplane.RolloutSucceeded: 0, controlplane.RolloutFailed: 3, controlplane.RolloutPaused: 4, controlplane.RolloutRolledBack: 5,
	} {
		rested(state, controlplane.Counts{controlplane.TargetSucceeded: 2}).start(t)
		if got := manor(t.Context(), "", "rollout", "start", "--release", "v2", "--wait"); got.code != want || !strings.Contains(got.out, string(state)) {
			t.Errorf("%s: %+v, want exit code %d", state, got, want)
		}
	}
}

func TestStartWithoutWaitSaysHowToFollow(t *testing.T) {
	rested(controlplane.RolloutFailed, controlplane.Counts{controlplane.TargetFailed: 2}).start(t)
	got := manor(t.Context(), "", "rollout", "start", "--release", "v2")
	if got.code != 0 || !strings.Contains(got.out, "manor rollout watch r_1") {
		t.Errorf("%+v", got)
	}
}

func TestFailuresAreShownAsTheyComeAndOnceMoreAtTheEnd(t *testing.T) {
	p := rested(controlplane.RolloutFailed, controlplane.Counts{controlplane.TargetSucceeded: 1, controlplane.TargetFailed: 1})
	p.failed = []controlplane.Target{{Tenant: "acme", Cluster: "east", Status: controlplane.TargetFailed, Attempts: 1, Failure: &controlplane.Failure{
		Message: "no such thing", SQLState: "42703", File: "3_c.sql", Statement: 2, Position: 8, SQL: "SELECT nonsense",
	}}}
	p.start(t)
	if got := manor(t.Context(), "", "rollout", "start", "--release", "v2", "--wait"); !strings.Contains(got.errs, "acme failed on east") {
		t.Errorf("the failure was not shown as it came:\n%s", got.errs)
	}
	p.targets = p.failed
	got := manor(t.Context(), "", "rollout", "start", "--release", "v2", "--wait")
	if n := strings.Count(got.errs, "3_c.sql statement 2 position 8: no such thing (SQLSTATE 42703)"); n != 1 {
		t.Errorf("the failure was shown %d times on standard error:\n%s", n, got.errs)
	}
	if !strings.Contains(got.out, "42703") || !strings.Contains(got.out, "manor rollout retry r_1") {
		t.Errorf("the result does not name the failure and what to do:\n%s", got.out)
	}
}

func TestWatchAsJSONWritesTheEventsOfTheRolloutAndLastTheRollout(t *testing.T) {
	watchAsJSON(t, rested(controlplane.RolloutSucceeded, controlplane.Counts{controlplane.TargetSucceeded: 2}))
}

func TestAWatcherWhoseConnectionBreaksMissesNoEvent(t *testing.T) {
	p := rested(controlplane.RolloutSucceeded, controlplane.Counts{controlplane.TargetSucceeded: 2})
	p.breaks = true
	watchAsJSON(t, p)
}

// watchAsJSON watches the one rollout of a plane to its end, and wants every
// event of it once, and last the rollout.
func watchAsJSON(t *testing.T, p *plane) {
	t.Helper()
	p.start(t)
	p.patience = 1 // watch looks before it follows
	if _, err := (rollouts{plane: p}).going(controlplane.RolloutRunning); err != nil {
		t.Fatal(err)
	}
	got := manor(t.Context(), "", "rollout", "watch", "r_1", "-o", "json")
	var events []string
	var last controlplane.Rollout
	for line := range strings.Lines(got.out) {
		var e controlplane.Event
		if err := errors.Join(json.Unmarshal([]byte(line), &e), json.Unmarshal([]byte(line), &last)); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		events = append(events, strings.TrimSpace(e.Kind+" "+e.Subject))
	}
	want := "[batch.finished r_1 rollout.changed r_1 ]"
	if got.code != 0 || fmt.Sprint(events) != want || last.State != controlplane.RolloutSucceeded || last.ID != "r_1" {
		t.Errorf("events %v, want %s; %+v", events, want, got)
	}
}

func TestInterruptStopsWaitingAndSaysHowToGoOn(t *testing.T) {
	p := rested(controlplane.RolloutRunning, controlplane.Counts{controlplane.TargetPending: 2}).start(t)
	ctx, interrupt := context.WithCancel(t.Context())
	go func() {
		p.untilLooked()
		p.mu.Unlock()
		interrupt()
	}()
	got := manor(ctx, "", "rollout", "start", "--release", "v2", "--wait")
	if got.code != 130 || !strings.Contains(got.errs, "goes on in the service") || !strings.Contains(got.errs, "manor rollout watch r_1") {
		t.Errorf("%+v", got)
	}
}

func TestRollbackShowsFirstWhatItCannotUndo(t *testing.T) {
	p := rested(controlplane.RolloutRolledBack, controlplane.Counts{controlplane.TargetRolledBack: 2})
	p.plan = controlplane.RollbackPlan{Rollout: "r_1", Tenants: 2, Irreversible: []controlplane.TenantResult{
		{Slug: "acme", Error: &controlplane.Error{Code: controlplane.Refused, Message: "version 3 has no reverse"}},
	}}
	p.start(t)
	got := manor(t.Context(), "", "rollout", "rollback", "r_1")
	if got.code != 3 || !strings.Contains(got.errs, "version 3 has no reverse") {
		t.Errorf("%+v", got)
	}
	p.plan.Irreversible = nil
	if got := manor(t.Context(), "", "rollout", "rollback", "r_1"); got.code != 0 {
		t.Errorf("%+v", got)
	}
}

func TestErrorsOfTheServiceBecomeExitCodes(t *testing.T) {
	(&plane{taken: "acme"}).start(t)
	for _, c := range []struct {
		want int
		args []string
	}{
		{6, []string{"tenant", "create", "acme"}},
		{6, []string{"tenant", "suspend", "acme"}},
		{6, []string{"rollout", "retry", "r_1"}},
		{1, []string{"tenant", "show", "acme"}},
		{1, []string{"tenant", "set", "acme", "--tier", "pro"}},
	} {
		if got := manor(t.Context(), "", c.args...); got.code != c.want || got.out != "" || !strings.HasPrefix(got.errs, "Error: ") {
			t.Errorf("%v: %+v, want exit code %d", c.args, got, c.want)
		}
	}
}

func TestManyTenantsAreCreatedInChunksAndEachHasAResult(t *testing.T) {
	p := (&plane{taken: "t-007"}).start(t)
	file := "slug\n"
	for i := range 250 {
		file += fmt.Sprintf("t-%03d\n", i)
	}
	got := manor(t.Context(), file+"bad-one\n", "tenant", "create", "-f", "-", "-o", "json")
	if got.code != 3 {
		t.Fatalf("%+v", got)
	}
	if fmt.Sprint(p.requests) != "[100 100 51]" {
		t.Errorf("requests of %v tenants", p.requests)
	}
	var page controlplane.Page[controlplane.TenantResult]
	if err := json.Unmarshal([]byte(got.out), &page); err != nil {
		t.Fatal(err)
	}
	active, failed := 0, []string{}
	for _, r := range page.Items {
		switch {
		case r.Error != nil || r.Tenant.State == controlplane.TenantFailed:
			failed = append(failed, r.Slug)
		case r.Tenant.State == controlplane.TenantActive && r.Tenant.Version != "":
			active++
		}
	}
	if active != 249 || fmt.Sprint(failed) != "[t-007 bad-one]" {
		t.Errorf("%d active, failed: %v", active, failed)
	}
}

func TestOneTenantThatFailsIsSaidWithItsReason(t *testing.T) {
	(&plane{}).start(t)
	got := manor(t.Context(), "", "tenant", "create", "bad-one")
	if got.code != 3 || !strings.Contains(got.errs, "it broke (SQLSTATE 23514)") || !strings.Contains(got.errs, "purge bad-one") {
		t.Errorf("%+v", got)
	}
}

func TestATenantIsSettledWhenItsClusterFollowedAndNotBefore(t *testing.T) {
	a := &app{print: render.New(render.Config{Err: io.Discard})}
	w := a.newTenantWait(&session{}, controlplane.TenantDeleted, []controlplane.Tenant{{ID: "ours", Slug: "acme"}})
	w.bar = a.print.Progress("")
	defer w.bar.Close()
	for _, c := range []struct {
		what string
		id   string
		data controlplane.TenantEvent
		done bool
	}{
		{"the state is wanted only", "ours", controlplane.TenantEvent{State: controlplane.TenantDeleted}, false},
		{"the state before", "ours", controlplane.TenantEvent{State: controlplane.TenantDeleting, Settled: true}, false},
		{"another tenant of that slug", "older", controlplane.TenantEvent{State: controlplane.TenantDeleted, Settled: true}, false},
		{"the cluster followed", "ours", controlplane.TenantEvent{State: controlplane.TenantDeleted, Settled: true}, true},
	} {
		c.data.Slug = "acme"
		raw, err := json.Marshal(c.data)
		if err != nil {
			t.Fatal(err)
		}
		done, err := w.onEvent(controlplane.Event{Kind: controlplane.EventTenantChanged, Subject: c.id, Data: raw})
		if err != nil || done != c.done {
			t.Errorf("%s: done is %v, %v", c.what, done, err)
		}
	}
}

func TestPurgeWaitsForTheTombstoneOfThatTenant(t *testing.T) {
	older := &controlplane.Tenant{ID: "older", Slug: "acme", State: controlplane.TenantDeleted, Settled: true}
	ours := &controlplane.Tenant{ID: "ours", Slug: "acme", State: controlplane.TenantDeleting, Settled: true}
	p := (&plane{tenants: []*controlplane.Tenant{older, ours}}).start(t)
	ended := make(chan outcome, 1)
	go func() { ended <- manor(t.Context(), "", "tenant", "purge", "acme", "--confirm", "acme", "-o", "json") }()
	p.untilLooked()
	ours.Settled = true
	p.emit(controlplane.EventTenantChanged, "ours", controlplane.TenantEvent{Slug: "acme", State: ours.State, Settled: true})
	p.mu.Unlock()
	if got := <-ended; got.code != 0 || !strings.Contains(got.out, `"id": "ours"`) || !strings.Contains(got.out, `"settled": true`) {
		t.Errorf("%+v", got)
	}
}
