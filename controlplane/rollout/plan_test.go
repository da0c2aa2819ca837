package rollout_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
)

func planned(t *testing.T, p *controlplanetest.Plane, n controlplane.NewRollout) *controlplane.RolloutPlan {
	t.Helper()
	n.Keep = true
	plan, err := p.PlanRollout(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestPlanIsRehearsedFromEveryVersionThatTenantsAreAt(t *testing.T) {
	t.Parallel()
	p := ringed(t)
	if r := p.Rollout(controlplane.NewRollout{Release: "v2", Version: "3", Select: `tenant.slug == "acme-001"`}); r.State != controlplane.RolloutSucceeded {
		t.Fatalf("state %s", r.State)
	}
	plan := planned(t, p, controlplane.NewRollout{Release: "v2"})
	var from []string
	for _, r := range plan.Rehearsals {
		from = append(from, r.From)
	}
	if diff := cmp.Diff([]string{"2", "3"}, from); diff != "" {
		t.Fatalf("rehearsed from (-want +got)\n%s", diff)
	}
	third := plan.Rehearsals[0].Versions[0]
	if !third.Proved || third.Statements[0].Locks[0].Mode != "ACCESS EXCLUSIVE" || third.Refuses != controlplane.RefusesSome {
		t.Errorf("version 3 as it was seen: %+v", third)
	}
	if plan.Versions[0].Down != controlplane.DownComputed || plan.Waves[0].TakesMS == 0 || len(plan.Unproved()) != 0 {
		t.Errorf("versions %+v, waves %+v, unproved %v", plan.Versions, plan.Waves, plan.Unproved())
	}
	if !slices.ContainsFunc(plan.Warnings, func(w controlplane.Warning) bool { return w.Code == controlplane.WarnScan && w.Version == "3" }) {
		t.Errorf("warnings %+v", plan.Warnings)
	}
	again := planned(t, p, controlplane.NewRollout{Release: "v2"})
	if diff := cmp.Diff(plan.Rehearsals, again.Rehearsals); diff != "" { // durations, too
		t.Errorf("it was rehearsed again: %s", diff)
	}
	if plan := planned(t, p, controlplane.NewRollout{Release: "v2", NoRehearsal: true}); len(plan.Rehearsals) > 0 || len(plan.Unproved()) == 0 {
		t.Error("it was rehearsed although that was not wanted, or counts as proved")
	}
}

func TestUnprovedWayBackHasToBeAllowed(t *testing.T) {
	t.Parallel()
	p := ringed(t)
	files := controlplanetest.Second()
	files["5_drop.sql"] = "ALTER TABLE notes DROP COLUMN stars;\n"
	files["down/5_drop.sql"] = "ALTER TABLE notes ADD COLUMN stars int;\nALTER TABLE notes ADD CONSTRAINT notes_stars_check CHECK (stars >= 0);\n"
	p.Push("v3", files)
	plan := planned(t, p, controlplane.NewRollout{Release: "v3"})
	if unproved := plan.Unproved(); len(unproved) != 1 || !strings.HasPrefix(unproved[0], "5_drop.sql: ") {
		t.Fatalf("unproved %v", unproved)
	}
	for _, n := range []controlplane.NewRollout{{Plan: plan.ID}, {Release: "v3"}} {
		_, err := p.Client.StartRollout(t.Context(), n)
		if !errors.Is(err, &controlplane.Error{Code: controlplane.Refused}) || !strings.Contains(err.Error(), "the way back is not proved of 5_drop.sql") {
			t.Fatalf("starting what is not proved, %+v: %v", n, err)
		}
	}
	if r, err := p.Client.StartRollout(t.Context(), controlplane.NewRollout{Release: "v3", Version: "4", Select: `tenant.slug == "acme-002"`}); err != nil || p.Rested(r.ID).State != controlplane.RolloutSucceeded {
		t.Fatalf("starting what is proved: %+v, %v", r, err)
	}
	plan = planned(t, p, controlplane.NewRollout{Release: "v3"})
	r, err := p.StartRollout(t.Context(), controlplane.NewRollout{Plan: plan.ID, AllowUnproved: true})
	if err != nil {
		t.Fatal(err)
	}
	if r = p.Rested(r.ID); r.State != controlplane.RolloutSucceeded || r.Version != "5" {
		t.Fatalf("state %s, version %s", r.State, r.Version)
	}
}
