package rollout_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
)

// ringed is a plane with two canaries and six others, and a release to go to.
func ringed(t *testing.T) *controlplanetest.Plane {
	t.Helper()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{Labels: controlplane.Labels{"ring": "canary"}}, controlplanetest.Slugs("bird", 2)...)
	p.Create(controlplane.NewTenant{}, controlplanetest.Slugs("acme", 6)...)
	p.Push("v2", controlplanetest.Second())
	return p
}

var canaryFirst = []controlplane.Wave{{Name: "canary", Match: `tenant.labels.ring == "canary"`}, {Name: "rest"}}

func begin(t *testing.T, p *controlplanetest.Plane, s controlplane.Strategy) string {
	t.Helper()
	r, err := p.StartRollout(t.Context(), controlplane.NewRollout{Release: "v2", Strategy: &s})
	if err != nil {
		t.Fatal(err)
	}
	return r.ID
}

// reaches waits until a wave of a rollout is in a state.
func reaches(t *testing.T, p *controlplanetest.Plane, id string, wave int, state controlplane.WaveState) (r *controlplane.Rollout) {
	t.Helper()
	p.Eventually("wave of rollout is "+string(state), func() (reached bool, err error) {
		r, err = p.ShowRollout(t.Context(), id)
		return err == nil && r.Waves[wave-1].State == state, err
	})
	return r
}

func TestNoTenantOfAWaveStartsBeforeTheWaveInFrontIsPassed(t *testing.T) {
	t.Parallel()
	p := ringed(t)
	id := begin(t, p, controlplane.Strategy{Waves: canaryFirst, Gates: []controlplane.Gate{{Approval: true}}})
	r := reaches(t, p, id, 1, controlplane.WaveGated)
	if r.Waves[0].Counts[controlplane.TargetSucceeded] != 2 || r.Waves[1].Counts[controlplane.TargetPending] != 6 || r.Waves[1].State != controlplane.WaveWaiting {
		t.Fatalf("waves %+v", r.Waves)
	}
	if _, err := p.ApproveRollout(t.Context(), id, controlplane.RolloutCommand{DryRun: true}); err != nil {
		t.Fatal(err)
	}
	if r, err := p.ShowRollout(t.Context(), id); err != nil || r.Waves[0].State != controlplane.WaveGated {
		t.Fatalf("a dry run approved: %+v, %v", r.Waves, err)
	}
	if _, err := p.ApproveRollout(t.Context(), id, controlplane.RolloutCommand{}); err != nil {
		t.Fatal(err)
	}
	if r := p.Rested(id); r.State != controlplane.RolloutSucceeded || r.Counts[controlplane.TargetSucceeded] != 8 {
		t.Fatalf("state %s (%s), counts %s", r.State, r.Reason, r.Counts)
	}
	_, err := p.ApproveRollout(t.Context(), id, controlplane.RolloutCommand{})
	if !errors.Is(err, &controlplane.Error{Code: controlplane.Refused}) {
		t.Fatalf("approving once more: %v", err)
	}
	r, err = p.ShowRollout(t.Context(), id)
	if err != nil || r.Waves[0].Gates[0].By == "" || r.Waves[1].State != controlplane.WavePassed {
		t.Fatalf("waves %+v, %v", r.Waves, err)
	}
}

func TestGatesAreAskedInOrderAndAWrongAnswerPauses(t *testing.T) {
	t.Parallel()
	p := ringed(t)
	var status, asked atomic.Int64
	status.Store(http.StatusServiceUnavailable)
	health := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(int(status.Load()))
	}))
	defer health.Close()
	id := begin(t, p, controlplane.Strategy{Waves: canaryFirst, Gates: []controlplane.Gate{
		{SQL: "SELECT count(*) = 0 FROM notes WHERE stars < 0", On: controlplane.GateOnTenant},
		{SQL: "SELECT NOT pg_is_in_recovery()"},
		{HTTP: health.URL + "/ready"},
	}})
	r := p.Rested(id)
	if r.State != controlplane.RolloutPaused || !strings.Contains(r.Reason, "after wave canary: http "+health.URL+"/ready is 200: the answer was 503") {
		t.Fatalf("state %s, reason %s", r.State, r.Reason)
	}
	if _, err := p.ResumeRollout(t.Context(), id); err != nil { // it is asked again
		t.Fatal(err)
	}
	if r = p.Rested(id); r.State != controlplane.RolloutPaused || asked.Load() != 2 {
		t.Fatalf("after resuming it is %s, and the gate was asked %d times", r.State, asked.Load())
	}
	status.Store(http.StatusOK)
	if _, err := p.ResumeRollout(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if r = p.Rested(id); r.State != controlplane.RolloutSucceeded || r.Counts[controlplane.TargetSucceeded] != 8 {
		t.Fatalf("state %s (%s), counts %s", r.State, r.Reason, r.Counts)
	}
}

func TestGateInEachTenantsHomeNamesTheOneThatIsNotAsItShouldBe(t *testing.T) {
	t.Parallel()
	p := ringed(t)
	p.Exec("bird-002", "INSERT INTO notes VALUES (7, 'odd', 1)")
	id := begin(t, p, controlplane.Strategy{Waves: canaryFirst, Gates: []controlplane.Gate{{SQL: "SELECT count(*) = 0 FROM notes", On: controlplane.GateOnTenant}}})
	if r := p.Rested(id); r.State != controlplane.RolloutPaused || !strings.Contains(r.Reason, "for tenant bird-002: the answer was false") {
		t.Fatalf("state %s, reason %s", r.State, r.Reason)
	}
}

func TestWaveSoaksBeforeTheNextBegins(t *testing.T) {
	t.Parallel()
	p := ringed(t)
	waves := []controlplane.Wave{{Name: "canary", Match: canaryFirst[0].Match, Soak: controlplane.Duration(2 * time.Second)}, {Name: "rest"}}
	id := begin(t, p, controlplane.Strategy{Waves: waves})
	r := reaches(t, p, id, 1, controlplane.WaveSoaking)
	if r.Waves[0].SoaksTo == nil || r.Waves[1].Counts[controlplane.TargetPending] != 6 {
		t.Fatalf("waves %+v", r.Waves)
	}
	r = p.Rested(id)
	if after, err := p.ShowRollout(t.Context(), id); err != nil || after.Waves[0].PassedAt.Sub(*after.Waves[0].EndedAt) < 2*time.Second || r.State != controlplane.RolloutSucceeded {
		t.Fatalf("state %s, waves %+v, %v", r.State, after.Waves, err)
	}
}

func TestBreachTakesBackTheWaveAndNoOther(t *testing.T) {
	t.Parallel()
	p := ringed(t)
	before := fingerprints(t, p)
	for _, slug := range []string{"acme-002", "acme-005"} {
		p.Exec(slug, "INSERT INTO notes VALUES (1, 'x', -1)")
	}
	id := begin(t, p, controlplane.Strategy{Waves: canaryFirst, BatchSize: 1, Limits: controlplane.Limits{Total: 1},
		Budget: &controlplane.Budget{Failures: 2}, OnBreach: controlplane.OnErrorRollbackWave})
	r := p.Rested(id)
	// Of the rest, 1, 3 and 4 were changed and taken back, 2 and 5 failed, 6 never started.
	shown, err := p.ShowRollout(t.Context(), id)
	if err != nil || r.State != controlplane.RolloutPaused {
		t.Fatalf("state %s (%s): %v", r.State, r.Reason, err)
	}
	rest := shown.Waves[1].Counts
	if shown.Waves[0].Counts[controlplane.TargetSucceeded] != 2 || rest[controlplane.TargetRolledBack] != 3 || rest[controlplane.TargetFailed] != 2 || rest[controlplane.TargetPending] != 1 {
		t.Fatalf("waves %+v", shown.Waves)
	}
	if _, err := p.RollbackRollout(t.Context(), id, controlplane.RollbackRequest{Wave: "canary"}); err != nil {
		t.Fatal(err)
	}
	p.Rested(id)
	if after := fingerprints(t, p); after != before {
		t.Fatalf("fingerprints before %s, after %s", before, after)
	}
	if _, err := p.RollbackRollout(t.Context(), id, controlplane.RollbackRequest{Wave: "late"}); !errors.Is(err, &controlplane.Error{Code: controlplane.NotFound}) {
		t.Errorf("rolling back a wave that there is none: %v", err)
	}
}

func TestSpentBudgetStartsNothingMoreOfABatch(t *testing.T) {
	t.Parallel()
	p := ringed(t)
	for _, slug := range controlplanetest.Slugs("acme", 4) {
		p.Exec(slug, "INSERT INTO notes VALUES (1, 'x', -1)")
	}
	r := p.Rollout(controlplane.NewRollout{Release: "v2", Select: `tenant.slug.startsWith("acme")`, BatchSize: 6, Concurrency: 1,
		Strategy: &controlplane.Strategy{Budget: &controlplane.Budget{Failures: 2, Ratio: 0.9}}})
	if r.State != controlplane.RolloutPaused || r.Counts[controlplane.TargetFailed] != 2 || r.Counts[controlplane.TargetPending] != 4 {
		t.Fatalf("state %s (%s), counts %s", r.State, r.Reason, r.Counts)
	}
}

func TestRetryLeavesOutWhomAnOperatorSkipped(t *testing.T) {
	t.Parallel()
	p := ringed(t)
	p.Exec("acme-001", "INSERT INTO notes VALUES (1, 'x', -1)")
	id := begin(t, p, controlplane.Strategy{Waves: canaryFirst, Gates: []controlplane.Gate{{Approval: true}}})
	reaches(t, p, id, 1, controlplane.WaveGated)
	if _, err := p.SkipTargets(t.Context(), id, controlplane.RolloutCommand{Tenants: []string{"acme-006"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.ApproveRollout(t.Context(), id, controlplane.RolloutCommand{}); err != nil {
		t.Fatal(err)
	}
	p.Rested(id)
	p.Exec("acme-001", "DELETE FROM notes")
	if _, err := p.RetryRollout(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if r := p.Rested(id); r.Counts[controlplane.TargetSucceeded] != 7 || r.Counts[controlplane.TargetSkipped] != 1 {
		t.Fatalf("state %s (%s), counts %s", r.State, r.Reason, r.Counts)
	}
}

func TestPauseTakesEffectBeforeTheNextTenantAndAbortLeavesTheRest(t *testing.T) {
	t.Parallel()
	p := ringed(t)
	var readers []pgx.Tx
	for _, slug := range controlplanetest.Slugs("acme", 6)[1:] {
		reader, err := p.Connect(slug).Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := reader.Exec(t.Context(), "SELECT FROM notes"); err != nil {
			t.Fatal(err)
		}
		readers = append(readers, reader)
	}
	r, err := p.StartRollout(t.Context(), controlplane.NewRollout{Release: "v2", Select: `tenant.slug.startsWith("acme")`, BatchSize: 6, Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	p.Eventually("the first is done, and another has met its reader", func() (bool, error) {
		shown, err := p.ShowRollout(t.Context(), r.ID)
		return err == nil && shown.Counts[controlplane.TargetSucceeded] == 1 && shown.Counts[controlplane.TargetDeferred] > 0, err
	})
	if _, err := p.PauseRollout(t.Context(), r.ID, controlplane.RolloutCommand{}); err != nil {
		t.Fatal(err)
	}
	if resumed, err := p.ResumeRollout(t.Context(), r.ID); err == nil && (resumed.State != controlplane.RolloutRunning || resumed.Wanted != "") {
		t.Fatalf("resumed before it paused, or at once after: %+v", resumed)
	}
	if _, err := p.PauseRollout(t.Context(), r.ID, controlplane.RolloutCommand{}); err != nil {
		t.Fatal(err)
	}
	paused := p.Rested(r.ID)
	if paused.State != controlplane.RolloutPaused || !strings.HasPrefix(paused.Reason, "paused by ") || paused.Counts[controlplane.TargetSucceeded] != 1 {
		t.Fatalf("state %s (%s), counts %s", paused.State, paused.Reason, paused.Counts)
	}
	for _, reader := range readers {
		if err := reader.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.SkipTargets(t.Context(), r.ID, controlplane.RolloutCommand{Tenants: []string{"acme-001"}}); !errors.Is(err, &controlplane.Error{Code: controlplane.Refused}) {
		t.Errorf("skipping a tenant that is done: %v", err)
	}
	if _, err := p.SkipTargets(t.Context(), r.ID, controlplane.RolloutCommand{Tenants: []string{"acme-006"}, Reason: "moves"}); err != nil {
		t.Fatal(err)
	}
	skipped, err := p.Targets(t.Context(), r.ID, controlplane.TargetQuery{Status: controlplane.TargetSkipped})
	if err != nil || len(skipped.Items) != 1 || !strings.HasSuffix(skipped.Items[0].Failure.Message, ": moves") {
		t.Fatalf("skipped %+v, %v", skipped.Items, err)
	}
	aborted, err := p.AbortRollout(t.Context(), r.ID, controlplane.RolloutCommand{})
	if err != nil || aborted.State != controlplane.RolloutAborted || aborted.Counts.Done() != 6 || aborted.Counts.Sum() != 6 {
		t.Fatalf("aborted: %+v, %v", aborted, err)
	}
	if _, err := p.RollbackRollout(t.Context(), r.ID, controlplane.RollbackRequest{}); err != nil {
		t.Fatal(err)
	}
	if back := p.Rested(r.ID); back.State != controlplane.RolloutRolledBack {
		t.Fatalf("taken back: %s (%s), %s", back.State, back.Reason, back.Counts)
	}
}

func TestShutWindowLetsOnlyThoseStartWhoAreNotInIt(t *testing.T) {
	t.Parallel()
	p := ringed(t)
	soon := time.Now().UTC().Add(2 * time.Hour)
	hours := soon.Format("15:04") + "-" + soon.Add(time.Hour).Format("15:04")
	id := begin(t, p, controlplane.Strategy{Windows: []controlplane.Window{{Match: `tenant.labels.ring == "canary"`, Hours: hours}}})
	p.Eventually("the others are done", func() (bool, error) {
		r, err := p.ShowRollout(t.Context(), id)
		return err == nil && r.Counts[controlplane.TargetSucceeded] == 6, err
	})
	if _, err := p.AbortRollout(t.Context(), id, controlplane.RolloutCommand{}); err != nil {
		t.Fatal(err)
	}
	if r := p.Rested(id); r.State != controlplane.RolloutAborted || r.Counts[controlplane.TargetSkipped] != 2 {
		t.Fatalf("state %s, counts %s", r.State, r.Counts)
	}
}

func TestKeptPlanIsStartedOnlyWhileTheFleetIsWhereItWas(t *testing.T) {
	t.Parallel()
	p := ringed(t)
	plan, err := p.PlanRollout(t.Context(), controlplane.NewRollout{Release: "v2", Strategy: &controlplane.Strategy{Waves: canaryFirst}, Keep: true})
	if err != nil {
		t.Fatal(err)
	}
	if plan.ID == "" || len(plan.Waves) != 2 || plan.Waves[0].Tenants != 2 || plan.Waves[0].First[0] != "bird-001" || plan.ToChange() != 8 {
		t.Fatalf("plan %+v", plan)
	}
	p.Create(controlplane.NewTenant{}, "late")
	_, err = p.StartRollout(t.Context(), controlplane.NewRollout{Plan: plan.ID})
	if !errors.Is(err, &controlplane.Error{Code: controlplane.Conflict}) || !strings.Contains(err.Error(), "8 of 8 tenants were to change, now 9 of 9") {
		t.Fatalf("starting a plan of another fleet: %v", err)
	}
	if plan, err = p.PlanRollout(t.Context(), controlplane.NewRollout{Release: "v2", Strategy: &controlplane.Strategy{Waves: canaryFirst}, Keep: true}); err != nil {
		t.Fatal(err)
	}
	r, err := p.StartRollout(t.Context(), controlplane.NewRollout{Plan: plan.ID})
	if err != nil {
		t.Fatal(err)
	}
	if r = p.Rested(r.ID); r.State != controlplane.RolloutSucceeded || r.Counts[controlplane.TargetSucceeded] != 9 {
		t.Fatalf("state %s, counts %s", r.State, r.Counts)
	}
	with := controlplane.NewRollout{Plan: plan.ID, Select: `tenant.slug == "acme-001"`}
	if _, err := p.StartRollout(t.Context(), with); !errors.Is(err, &controlplane.Error{Code: controlplane.Invalid}) {
		t.Errorf("starting a plan of all over one: %v", err)
	}
	if _, err := p.StartRollout(t.Context(), controlplane.NewRollout{Plan: "p_none"}); !errors.Is(err, &controlplane.Error{Code: controlplane.NotFound}) {
		t.Errorf("starting no plan: %v", err)
	}
}

func TestTenantThatJoinsGoesInItsOwnWave(t *testing.T) {
	t.Parallel()
	p := ringed(t)
	id := begin(t, p, controlplane.Strategy{Waves: canaryFirst, Gates: []controlplane.Gate{{Approval: true}}})
	reaches(t, p, id, 1, controlplane.WaveGated)
	p.Create(controlplane.NewTenant{Labels: controlplane.Labels{"ring": "canary"}}, "late-bird")
	p.Create(controlplane.NewTenant{}, "late-other")
	p.Eventually("the late canary is done, and the other waits", func() (bool, error) {
		r, err := p.ShowRollout(t.Context(), id)
		return err == nil && r.Waves[0].Counts[controlplane.TargetSucceeded] == 3 && r.Waves[1].Targets == 7 && r.Waves[1].Counts.Done() == 0, err
	})
	if _, err := p.ApproveRollout(t.Context(), id, controlplane.RolloutCommand{}); err != nil {
		t.Fatal(err)
	}
	if r := p.Rested(id); r.State != controlplane.RolloutSucceeded || r.Counts[controlplane.TargetSucceeded] != 10 {
		t.Fatalf("state %s (%s), counts %s", r.State, r.Reason, r.Counts)
	}
}

func TestRetryAsksTheGatesAgainOfAWaveThatItGoesBackTo(t *testing.T) {
	t.Parallel()
	p := ringed(t)
	for _, slug := range []string{"bird-002", "acme-002"} {
		p.Exec(slug, "INSERT INTO notes VALUES (1, 'x', -1)")
	}
	id := begin(t, p, controlplane.Strategy{Waves: canaryFirst, Gates: []controlplane.Gate{{Approval: true}}})
	reaches(t, p, id, 1, controlplane.WaveGated)
	if _, err := p.ApproveRollout(t.Context(), id, controlplane.RolloutCommand{}); err != nil {
		t.Fatal(err)
	}
	if r := p.Rested(id); r.State != controlplane.RolloutFailed || r.Counts[controlplane.TargetFailed] != 2 {
		t.Fatalf("state %s, counts %s", r.State, r.Counts)
	}
	for _, slug := range []string{"bird-002", "acme-002"} {
		p.Exec(slug, "DELETE FROM notes")
	}
	if _, err := p.RetryRollout(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	r := reaches(t, p, id, 1, controlplane.WaveGated)
	if r.Waves[0].Counts[controlplane.TargetSucceeded] != 2 || r.Waves[1].Counts[controlplane.TargetPending] != 1 {
		t.Fatalf("waves %+v", r.Waves)
	}
	if _, err := p.ApproveRollout(t.Context(), id, controlplane.RolloutCommand{}); err != nil {
		t.Fatal(err)
	}
	if r := p.Rested(id); r.State != controlplane.RolloutSucceeded || r.Counts[controlplane.TargetSucceeded] != 8 {
		t.Fatalf("state %s (%s), counts %s", r.State, r.Reason, r.Counts)
	}
}

func TestStrategyIsKeptByNameAndUsed(t *testing.T) {
	t.Parallel()
	p := ringed(t)
	s := controlplane.Strategy{Name: "careful", Waves: canaryFirst}
	if _, err := p.ApplyStrategy(t.Context(), s, true); err != nil {
		t.Fatal(err)
	}
	if kept, err := p.ListStrategies(t.Context()); err != nil || len(kept) != 0 {
		t.Fatalf("a dry run kept %+v, %v", kept, err)
	}
	for range 2 {
		if _, err := p.ApplyStrategy(t.Context(), s, false); err != nil {
			t.Fatal(err)
		}
	}
	if kept, err := p.ShowStrategy(t.Context(), "careful"); err != nil || len(kept.Waves) != 2 {
		t.Fatalf("kept %+v, %v", kept, err)
	}
	r := p.Rollout(controlplane.NewRollout{Release: "v2", StrategyName: "careful"})
	if shown, err := p.ShowRollout(t.Context(), r.ID); err != nil || len(shown.Waves) != 2 || shown.Strategy.Name != "careful" || r.State != controlplane.RolloutSucceeded {
		t.Fatalf("rollout %+v, %v", shown, err)
	}
	s.Waves = []controlplane.Wave{{Name: "odd", Match: "tenant.nothing"}, {Name: "rest"}}
	if _, err := p.ApplyStrategy(t.Context(), s, false); !errors.Is(err, &controlplane.Error{Code: controlplane.Invalid}) || !strings.Contains(err.Error(), "waves[0].match") {
		t.Errorf("a strategy with a wrong expression: %v", err)
	}
	if _, err := p.StartRollout(t.Context(), controlplane.NewRollout{Release: "v2", StrategyName: "bold"}); !errors.Is(err, &controlplane.Error{Code: controlplane.NotFound}) {
		t.Errorf("a strategy that there is none: %v", err)
	}
}

func TestPinnedTenantStaysAtItsVersionForwardsAndBack(t *testing.T) {
	t.Parallel()
	p := ringed(t)
	pin := func(slug string, length time.Duration) {
		t.Helper()
		if _, err := p.PinTenant(t.Context(), slug, controlplane.PinRequest{Reason: "ticket 4711", For: controlplane.Duration(length)}); err != nil {
			t.Fatal(err)
		}
	}
	pin("acme-001", 0)
	pin("acme-002", time.Millisecond) // has expired by the time that anything asks
	id := begin(t, p, controlplane.Strategy{Waves: canaryFirst, Gates: []controlplane.Gate{{Approval: true}}})
	reaches(t, p, id, 1, controlplane.WaveGated)
	pin("acme-003", time.Hour) // after it was frozen
	if _, err := p.ApproveRollout(t.Context(), id, controlplane.RolloutCommand{}); err != nil {
		t.Fatal(err)
	}
	r := p.Rested(id)
	if r.State != controlplane.RolloutFailed || r.Counts[controlplane.TargetSucceeded] != 6 || r.Counts[controlplane.TargetSkipped] != 2 {
		t.Fatalf("state %s (%s), counts %s", r.State, r.Reason, r.Counts)
	}
	skipped, err := p.Targets(t.Context(), id, controlplane.TargetQuery{Status: controlplane.TargetSkipped})
	if err != nil || !strings.Contains(skipped.Items[0].Failure.Message, "ticket 4711") {
		t.Fatalf("skipped %+v, %v", skipped.Items, err)
	}
	if first, err := p.ListReleases(t.Context()); err != nil || first[1].Default != "4" {
		t.Errorf("the pinned ones kept new tenants at %q: %v", first[1].Default, err)
	}
	if _, err := p.UnpinTenant(t.Context(), "acme-001", false); err != nil {
		t.Fatal(err)
	}
	if _, err := p.RetryRollout(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if r := p.Rested(id); r.Counts[controlplane.TargetSucceeded] != 7 || r.Counts[controlplane.TargetSkipped] != 1 {
		t.Fatalf("after unpinning one: state %s (%s), counts %s", r.State, r.Reason, r.Counts)
	}
	pin("acme-001", 0)
	if _, err := p.RollbackRollout(t.Context(), id, controlplane.RollbackRequest{}); err != nil {
		t.Fatal(err)
	}
	if r := p.Rested(id); r.Counts[controlplane.TargetRolledBack] != 6 || r.Counts[controlplane.TargetNeedsAttention] != 1 {
		t.Fatalf("after rolling back: state %s (%s), counts %s", r.State, r.Reason, r.Counts)
	}
	if at := p.Settled("acme-001").Version; at != "4" {
		t.Errorf("the pinned tenant is at %s", at)
	}
	if _, err := p.UnpinTenant(t.Context(), "acme-002", false); err != nil { // expired, and still there
		t.Error(err)
	}
	if _, err := p.UnpinTenant(t.Context(), "acme-002", false); !errors.Is(err, &controlplane.Error{Code: controlplane.Refused}) {
		t.Errorf("unpinning a tenant that is not pinned: %v", err)
	}
}
