package rollout_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
)

// abort ends a paused rollout.
func abort(t *testing.T, p *controlplanetest.Plane, id string) *controlplane.Rollout {
	t.Helper()
	r, err := p.AbortRollout(t.Context(), id, controlplane.RolloutCommand{})
	if err != nil || r.State != controlplane.RolloutAborted {
		t.Fatalf("aborted: %+v, %v", r, err)
	}
	return r
}

// pausedAt brings three tenants towards a version, of which the last refuses it.
func pausedAt(t *testing.T, p *controlplanetest.Plane) string {
	t.Helper()
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, controlplanetest.Slugs("acme", 3)...)
	p.Push("v2", controlplanetest.Second())
	p.Exec("acme-003", "INSERT INTO notes VALUES (1, 'x', -1)")
	r := p.Rollout(controlplane.NewRollout{Release: "v2", BatchSize: 1, Concurrency: 1, OnError: controlplane.OnErrorPause})
	if r.State != controlplane.RolloutPaused {
		t.Fatalf("the rollout is %s", r.State)
	}
	return r.ID
}

// lose makes targets look as after an answer that was lost.
func lose(t *testing.T, p *controlplanetest.Plane, slugs string) {
	t.Helper()
	catalogSQL(t, p, `UPDATE targets SET status = 'unknown', version = from_version, failure = NULL WHERE slug IN (`+slugs+`)`)
	catalogSQL(t, p, `UPDATE tenants SET version = '2', release_id = (SELECT id FROM releases WHERE name = 'v1') WHERE slug IN (`+slugs+`)`)
}

func TestRollbackAfterAnAbortTakesBackWhatNobodyKnewOf(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	id := pausedAt(t, p)
	lose(t, p, "'acme-001', 'acme-003'")
	if r := abort(t, p, id); r.Counts[controlplane.TargetNeedsAttention] != 2 || r.Counts[controlplane.TargetSucceeded] != 1 {
		t.Errorf("aborted: %s", r.Counts)
	}
	plan, err := p.PlanRollback(t.Context(), id, controlplane.RollbackRequest{})
	if err != nil || plan.Tenants != 3 {
		t.Errorf("the plan is %+v, %v", plan, err)
	}
	if r := rollback(t, p, id); r.State != controlplane.RolloutRolledBack || r.Counts[controlplane.TargetRolledBack] != 3 {
		t.Errorf("the rollout is %s: %s", r.State, r.Counts)
	}
	for _, slug := range controlplanetest.Slugs("acme", 3) {
		if at := lastRevision(t, p, slug); at != "2" {
			t.Errorf("%s is at %s", slug, at)
		}
	}
}

func TestRollbackAfterAnAbortLeavesWhatALaterRolloutDid(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	id := pausedAt(t, p)
	p.Exec("acme-003", "DELETE FROM notes")
	lose(t, p, "'acme-001', 'acme-003'")
	abort(t, p, id)
	later := p.Rollout(controlplane.NewRollout{Release: "v2", Select: `tenant.slug == "acme-003"`})
	if later.State != controlplane.RolloutSucceeded {
		t.Fatalf("the later rollout is %s: %s", later.State, later.Counts)
	}
	rollback(t, p, id)
	if left := target(t, p, id, "acme-003"); left.Status != controlplane.TargetNeedsAttention || !strings.Contains(left.Failure.Message, later.ID) {
		t.Errorf("what the later rollout did is %+v", left)
	}
	for slug, want := range map[string]string{"acme-001": "2", "acme-002": "2", "acme-003": "4"} {
		if at := lastRevision(t, p, slug); at != want {
			t.Errorf("%s is at %s, not %s", slug, at, want)
		}
	}
	rollback(t, p, later.ID)
	if r := rollback(t, p, id); r.State != controlplane.RolloutRolledBack {
		t.Errorf("the rollout is %s: %s", r.State, r.Counts)
	}
}

// halfWay pauses a rollout whose one tenant waits in the middle of a file without transaction.
func halfWay(t *testing.T, p *controlplanetest.Plane) string {
	t.Helper()
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, "acme")
	p.Push("v2", with(controlplanetest.First(), map[string]string{
		"3_alone.sql":      "-- atlas:txmode none\n\nCREATE TABLE tags (id int);\nALTER TABLE notes ADD COLUMN pinned bool;\n",
		"down/3_alone.sql": "ALTER TABLE notes DROP COLUMN pinned;\nDROP TABLE tags;\n"}))
	reader, err := p.Connect("acme").Begin(t.Context())
	if err == nil {
		_, err = reader.Exec(t.Context(), "SELECT FROM notes", pgx.QueryExecModeSimpleProtocol)
	}
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.StartRollout(t.Context(), controlplane.NewRollout{Release: "v2"})
	if err != nil {
		t.Fatal(err)
	}
	p.Eventually("it waits at the second statement", func() (bool, error) {
		waiting := target(t, p, r.ID, "acme")
		return waiting.Status == controlplane.TargetDeferred && waiting.Failure.Statement == 2, nil
	})
	if _, err := p.PauseRollout(t.Context(), r.ID, controlplane.RolloutCommand{}); err != nil {
		t.Fatal(err)
	}
	if paused := p.Rested(r.ID); paused.State != controlplane.RolloutPaused {
		t.Fatalf("the rollout is %s", paused.State)
	}
	if err := reader.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r.ID
}

// TestAHalfAppliedFileIsNeverSkipped: neither by an abort nor by a rollback.
func TestAHalfAppliedFileIsNeverSkipped(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*controlplanetest.Plane, string){
		"abort": func(p *controlplanetest.Plane, id string) {
			abort(t, p, id)
			if _, err := p.RollbackRollout(t.Context(), id, controlplane.RollbackRequest{}); !errors.Is(err, &controlplane.Error{Code: controlplane.Refused}) || !strings.Contains(err.Error(), "acme: 3_alone.sql") {
				t.Errorf("rolled back: %v", err)
			}
		},
		"rollback": func(p *controlplanetest.Plane, id string) { rollback(t, p, id) },
		"unknown": func(p *controlplanetest.Plane, id string) {
			lose(t, p, "'acme'")
			abort(t, p, id)
			rollback(t, p, id)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := controlplanetest.New(t)
			id := halfWay(t, p)
			end(p, id)
			left := target(t, p, id, "acme")
			if left.Status != controlplane.TargetNeedsAttention || !strings.Contains(left.Failure.Message, "no transaction") {
				t.Errorf("acme is %s: %s", left.Status, left.Failure)
			}
			if at := lastRevision(t, p, "acme"); at != "3" {
				t.Errorf("its last revision is %s", at)
			}
		})
	}
}
