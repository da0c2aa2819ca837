package rollout_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
)

// both runs a test in both isolations.
func both(t *testing.T, f func(t *testing.T, p *controlplanetest.Plane, like controlplane.NewTenant)) {
	for _, isolation := range controlplane.Isolations {
		t.Run(string(isolation), func(t *testing.T) {
			t.Parallel()
			f(t, controlplanetest.New(t), controlplane.NewTenant{Isolation: isolation})
		})
	}
}

func TestFailingTenantDisturbsNobodyAndIsNamedExactly(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, p *controlplanetest.Plane, like controlplane.NewTenant) {
		p.Push("v1", controlplanetest.First())
		p.Create(like, controlplanetest.Slugs("acme", 5)...)
		p.Exec("acme-003", "INSERT INTO notes VALUES (1, 'secret body', -1)")
		p.Push("v2", controlplanetest.Second())

		r := p.Rollout(controlplane.NewRollout{Release: "v2", BatchSize: 2, Concurrency: 3})
		if r.State != controlplane.RolloutFailed || r.Counts[controlplane.TargetSucceeded] != 4 || r.Counts[controlplane.TargetFailed] != 1 {
			t.Fatalf("state %s, counts %s", r.State, r.Counts)
		}
		failed, err := p.Targets(t.Context(), r.ID, controlplane.TargetQuery{Status: controlplane.TargetFailed})
		if err != nil || len(failed.Items) != 1 {
			t.Fatalf("failed targets: %v, %v", failed.Items, err)
		}
		f := failed.Items[0].Failure
		if failed.Items[0].Tenant != "acme-003" || f.SQLState != "23514" || f.File != "3_stars.sql" || f.Statement != 2 || f.Version != "3" {
			t.Fatalf("failure: %+v", f)
		}
		if strings.Contains(fmt.Sprintf("%+v", *f), "secret body") {
			t.Fatalf("the failure holds a tenant's data: %+v", f)
		}

		p.Exec("acme-003", "UPDATE notes SET stars = 0")
		if _, err := p.RetryRollout(t.Context(), r.ID); err != nil {
			t.Fatal(err)
		}
		if r = p.Rested(r.ID); r.State != controlplane.RolloutSucceeded || r.Counts[controlplane.TargetSucceeded] != 5 {
			t.Fatalf("after the retry: state %s, counts %s", r.State, r.Counts)
		}
	})
}

func TestRollbackTakesEveryTenantBackToItsFingerprint(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, p *controlplanetest.Plane, like controlplane.NewTenant) {
		p.Push("v1", controlplanetest.First())
		p.Create(like, controlplanetest.Slugs("acme", 4)...)
		before := fingerprints(t, p)
		p.Push("v2", controlplanetest.Second())
		r := p.Rollout(controlplane.NewRollout{Release: "v2", BatchSize: 3})
		if r.State != controlplane.RolloutSucceeded {
			t.Fatalf("state %s: %s", r.State, r.Counts)
		}
		if after := fingerprints(t, p); after == before {
			t.Fatal("the rollout changed no fingerprint")
		}
		if _, err := p.RollbackRollout(t.Context(), r.ID, controlplane.RollbackRequest{}); err != nil {
			t.Fatal(err)
		}
		if r = p.Rested(r.ID); r.State != controlplane.RolloutRolledBack || r.Counts[controlplane.TargetRolledBack] != 4 {
			t.Fatalf("after the rollback: state %s, counts %s", r.State, r.Counts)
		}
		if after := fingerprints(t, p); after != before {
			t.Fatalf("fingerprints before %s, after %s", before, after)
		}
		status, err := p.Status(t.Context())
		if err != nil || status.Default != "v1" || status.Version != "2" || status.Versions[0].Release != "v1" {
			t.Fatalf("status %+v, %v", status, err)
		}
	})
}

// fingerprints is the fleet's schemas in one line.
func fingerprints(t *testing.T, p *controlplanetest.Plane) string {
	t.Helper()
	groups, err := p.Fingerprints(t.Context(), controlplane.TenantQuery{})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, g := range groups {
		fmt.Fprintf(&b, "%s %s %d; ", g.Version, g.Fingerprint, g.Tenants)
	}
	return b.String()
}

func TestRollbackOfOneTenantLeavesTheOthers(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, p *controlplanetest.Plane, like controlplane.NewTenant) {
		p.Push("v1", controlplanetest.First())
		p.Create(like, "acme", "globex", "initech")
		p.Push("v2", controlplanetest.Second())
		r := p.Rollout(controlplane.NewRollout{Release: "v2"})
		if _, err := p.RollbackRollout(t.Context(), r.ID, controlplane.RollbackRequest{Tenant: "globex"}); err != nil {
			t.Fatal(err)
		}
		r = p.Rested(r.ID)
		if r.State != controlplane.RolloutSucceeded || r.Counts[controlplane.TargetRolledBack] != 1 || r.Counts[controlplane.TargetSucceeded] != 2 {
			t.Fatalf("state %s, counts %s", r.State, r.Counts)
		}
		for slug, want := range map[string]string{"acme": "4", "globex": "2", "initech": "4"} {
			if got := p.Settled(slug).Version; got != want {
				t.Errorf("%s is at %s, not %s", slug, got, want)
			}
		}
	})
}

func TestRollbackSaysBeforehandWhatItCannotUndoAndDoesNothing(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, "acme")
	files := controlplanetest.First()
	files["3_view.sql"] = "CREATE VIEW loud AS SELECT upper(body) AS body FROM notes;\n"
	p.Push("v2", files)
	r := p.Rollout(controlplane.NewRollout{Release: "v2"})
	plan, err := p.PlanRollback(t.Context(), r.ID, controlplane.RollbackRequest{})
	if err != nil || plan.Tenants != 0 || len(plan.Irreversible) != 1 || !strings.Contains(plan.Irreversible[0].Error.Message, "3_view.sql") {
		t.Fatalf("plan %+v, %v", plan, err)
	}
	_, err = p.RollbackRollout(t.Context(), r.ID, controlplane.RollbackRequest{})
	if !errors.Is(err, &controlplane.Error{Code: controlplane.Refused}) {
		t.Fatalf("got %v", err)
	}
	if got := p.Settled("acme").Version; got != "3" {
		t.Fatalf("the tenant is at %s", got)
	}
}

func TestOnErrorPauseStartsNothingMoreAndResumeGoesOn(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, controlplanetest.Slugs("acme", 6)...)
	p.Exec("acme-001", "INSERT INTO notes VALUES (1, 'x', -1)")
	p.Push("v2", controlplanetest.Second())
	r := p.Rollout(controlplane.NewRollout{Release: "v2", BatchSize: 1, Concurrency: 1, OnError: controlplane.OnErrorPause})
	if r.State != controlplane.RolloutPaused || r.Counts[controlplane.TargetFailed] != 1 || r.Counts[controlplane.TargetPending] != 5 {
		t.Fatalf("state %s, counts %s", r.State, r.Counts)
	}
	if _, err := p.ResumeRollout(t.Context(), r.ID); err != nil {
		t.Fatal(err)
	}
	if r = p.Rested(r.ID); r.State != controlplane.RolloutFailed || r.Counts[controlplane.TargetSucceeded] != 5 {
		t.Fatalf("after resume: state %s, counts %s", r.State, r.Counts)
	}
}

func TestOnErrorRollbackTakesBackWhatWasDone(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, controlplanetest.Slugs("acme", 6)...)
	before := fingerprints(t, p)
	p.Exec("acme-004", "INSERT INTO notes VALUES (1, 'x', -1)")
	p.Push("v2", controlplanetest.Second())
	r := p.Rollout(controlplane.NewRollout{Release: "v2", BatchSize: 1, Concurrency: 1, OnError: controlplane.OnErrorRollback})
	if r.State != controlplane.RolloutRolledBack || r.Counts[controlplane.TargetRolledBack] != 3 || r.Counts[controlplane.TargetFailed] != 1 || r.Counts[controlplane.TargetSkipped] != 2 {
		t.Fatalf("state %s, counts %s", r.State, r.Counts)
	}
	if after := fingerprints(t, p); after != before {
		t.Fatalf("fingerprints before %s, after %s", before, after)
	}
}

func TestTwoRolloutsOnDisjointTenantsOfOneDatabaseRunAtOnceAndOnTheSameNever(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{Labels: controlplane.Labels{"ring": "a"}}, "acme")
	p.Create(controlplane.NewTenant{Labels: controlplane.Labels{"ring": "b"}}, "globex")
	p.Push("v2", controlplanetest.Second())

	// A reader of each tenant's table holds both rollouts at their first ALTER.
	var readers []func()
	for _, slug := range []string{"acme", "globex"} {
		tx, err := p.Connect(slug).Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), "SELECT FROM notes"); err != nil {
			t.Fatal(err)
		}
		readers = append(readers, func() { _ = tx.Rollback(t.Context()) })
	}
	a := start(t, p, `tenant.labels.ring == "a"`)
	_, err := p.StartRollout(t.Context(), controlplane.NewRollout{Release: "v2"})
	if !errors.Is(err, &controlplane.Error{Code: controlplane.Conflict}) || !strings.Contains(err.Error(), a) {
		t.Fatalf("a second rollout on the same tenant: %v", err)
	}
	b := start(t, p, `tenant.labels.ring == "b"`)
	p.Eventually("both rollouts have met their reader", func() (bool, error) {
		ra, err := p.ShowRollout(t.Context(), a)
		if err != nil {
			return false, err
		}
		rb, err := p.ShowRollout(t.Context(), b)
		return err == nil && ra.Counts[controlplane.TargetDeferred] == 1 && rb.Counts[controlplane.TargetDeferred] == 1, err
	})
	for _, release := range readers {
		release()
	}
	for _, id := range []string{a, b} {
		if r := p.Rested(id); r.State != controlplane.RolloutSucceeded {
			t.Fatalf("rollout %s: %s, %s", id, r.State, r.Counts)
		}
	}
}

func start(t *testing.T, p *controlplanetest.Plane, selection string) string {
	t.Helper()
	r, err := p.StartRollout(t.Context(), controlplane.NewRollout{Release: "v2", Select: selection})
	if err != nil {
		t.Fatal(err)
	}
	return r.ID
}

func TestTwoProcessesWorkOneRolloutAndEveryEffectHappensOnce(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	slugs := controlplanetest.Slugs("acme", 24)
	p.Create(controlplane.NewTenant{}, slugs...)
	files := controlplanetest.First()
	files["3_once.sql"] = "INSERT INTO notes VALUES (1000, 'once', 0);\n"
	p.Push("v2", files)
	p.Start()
	r := p.Rollout(controlplane.NewRollout{Release: "v2", BatchSize: 3, Concurrency: 12})
	if r.State != controlplane.RolloutSucceeded || r.Counts.Sum() != 24 {
		t.Fatalf("state %s, counts %s", r.State, r.Counts)
	}
	var group sync.WaitGroup
	for _, slug := range slugs {
		conn := p.Connect(slug)
		group.Go(func() {
			var n int
			if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM notes WHERE id = 1000").Scan(&n); err != nil || n != 1 {
				t.Errorf("%s: %d effects, %v", slug, n, err)
			}
		})
	}
	group.Wait()
}

func TestBadRolloutIsRefusedAndChangesNothing(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, "acme")
	for name, c := range map[string]struct {
		n    controlplane.NewRollout
		code controlplane.Code
		says string
	}{
		"unknown release": {controlplane.NewRollout{Release: "v9"}, controlplane.NotFound, "no release v9"},
		"unknown version": {controlplane.NewRollout{Release: "v1", Version: "77"}, controlplane.NotFound, "no version 77"},
		"type error":      {controlplane.NewRollout{Release: "v1", Select: "tenant.slug > 3"}, controlplane.Invalid, ""},
		"empty selection": {controlplane.NewRollout{Release: "v1", Select: `tenant.slug == "nobody"`}, controlplane.Refused, "no tenant"},
		"batch size":      {controlplane.NewRollout{Release: "v1", BatchSize: -1}, controlplane.Invalid, "batch size"},
		"on error":        {controlplane.NewRollout{Release: "v1", OnError: "panic"}, controlplane.Invalid, ""},
	} {
		_, err := p.StartRollout(t.Context(), c.n)
		if controlplane.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	rollouts, err := p.ListRollouts(t.Context())
	if err != nil || len(rollouts) != 0 {
		t.Fatalf("%d rollouts, %v", len(rollouts), err)
	}
}

func TestPausedRolloutThatChangedNothingCanBeGivenUp(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, controlplanetest.Slugs("acme", 3)...)
	p.Exec("acme-001", "INSERT INTO notes VALUES (1, 'x', -1)")
	files := controlplanetest.Second()
	files["3_stars.sql"] = "ALTER TABLE notes ADD CONSTRAINT notes_stars_check CHECK (stars >= 0);\n"
	p.Push("v2", files)
	r := p.Rollout(controlplane.NewRollout{Release: "v2", BatchSize: 1, Concurrency: 1, OnError: controlplane.OnErrorPause})
	if r.State != controlplane.RolloutPaused {
		t.Fatalf("state %s, counts %s", r.State, r.Counts)
	}
	if _, err := p.RollbackRollout(t.Context(), r.ID, controlplane.RollbackRequest{}); err != nil {
		t.Fatal(err)
	}
	if r = p.Rested(r.ID); r.State != controlplane.RolloutRolledBack || r.Counts[controlplane.TargetSkipped] != 2 {
		t.Fatalf("state %s, counts %s", r.State, r.Counts)
	}
	p.Exec("acme-001", "DELETE FROM notes")
	if r = p.Rollout(controlplane.NewRollout{Release: "v2"}); r.State != controlplane.RolloutSucceeded {
		t.Fatalf("the tenants are not free for the next rollout: %s, %s", r.State, r.Counts)
	}
}

func TestRolloutNeedsTheExtensionsOfItsReleaseOnEveryCluster(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Create(controlplane.NewTenant{}, "acme")
	_, err := p.PushRelease(t.Context(), controlplane.NewRelease{Name: "v1", Extensions: []string{"pgcrypto"},
		Files: controlplanetest.Summed(t, map[string]string{"1_digest.sql": "CREATE TABLE d (h bytea DEFAULT digest('x', 'sha256'));\n"})})
	if err != nil {
		t.Fatal(err)
	}
	_, planErr := p.PlanRollout(t.Context(), controlplane.NewRollout{Release: "v1"})
	_, startErr := p.StartRollout(t.Context(), controlplane.NewRollout{Release: "v1"})
	for _, err := range []error{planErr, startErr} {
		if controlplane.CodeOf(err) != controlplane.Refused || !strings.Contains(err.Error(), "pgcrypto") {
			t.Fatalf("got %v", err)
		}
	}
	if _, err := p.SetCluster(t.Context(), "one", controlplane.ClusterChange{Extensions: []string{"pgcrypto"}}); err != nil {
		t.Fatal(err)
	}
	if r := p.Rollout(controlplane.NewRollout{Release: "v1"}); r.State != controlplane.RolloutSucceeded {
		t.Fatalf("state %s, counts %s", r.State, r.Counts)
	}
}

func TestLongBatchesDoNotHoldUpASuspension(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{Labels: controlplane.Labels{"ring": "a"}}, controlplanetest.Slugs("acme", 20)...)
	p.Create(controlplane.NewTenant{}, "other")
	files := controlplanetest.First()
	files["3_slow.sql"] = "SELECT pg_sleep(4);\n"
	p.Push("v2", files)
	r, err := p.StartRollout(t.Context(), controlplane.NewRollout{Release: "v2", Select: `tenant.labels.ring == "a"`, BatchSize: 1, Concurrency: 20, PerDatabase: 20})
	if err != nil {
		t.Fatal(err)
	}
	p.Eventually("all workers are busy", func() (bool, error) {
		r, err := p.ShowRollout(t.Context(), r.ID)
		return err == nil && r.Counts[controlplane.TargetRunning] >= 12, err
	})
	if _, err := p.SuspendTenant(t.Context(), "other", false); err != nil {
		t.Fatal(err)
	}
	p.Settled("other")
	now, err := p.ShowRollout(t.Context(), r.ID)
	if err != nil || now.Counts[controlplane.TargetRunning] < 12 {
		t.Errorf("the suspension waited for the batches: %s, %v", now.Counts, err)
	}
	p.Rested(r.ID)
}

// TestTenantThatTheSelectionCannotBeAskedOfDoesNotJoin is created during the
// rollout, and holds nobody up.
func TestTenantThatTheSelectionCannotBeAskedOfDoesNotJoin(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{Labels: controlplane.Labels{"wave": "1"}}, "acme")
	p.Push("v2", with(controlplanetest.First(), map[string]string{"3_slow.sql": "SELECT pg_sleep(2);\n"}))
	r, err := p.StartRollout(t.Context(), controlplane.NewRollout{Release: "v2", Select: "int(tenant.labels.wave) < 3"})
	if err != nil {
		t.Fatal(err)
	}
	p.Create(controlplane.NewTenant{Labels: controlplane.Labels{"wave": "last"}}, "globex")
	p.Create(controlplane.NewTenant{Labels: controlplane.Labels{"wave": "2"}}, "hooli")
	if r = p.Rested(r.ID); r.State != controlplane.RolloutSucceeded || r.Counts[controlplane.TargetSucceeded] != 2 {
		t.Errorf("the rollout is %s: %s", r.State, r.Counts)
	}
}
