package daemon_test

import (
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/pgtest"
)

// poison is what version 3 of the second release refuses.
const poison = "INSERT INTO notes VALUES (1, 'poison', -1)"

func TestRequirement03OneOfAHundredFailsAndNinetyNineArrive(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	tenants := p.Create(controlplane.NewTenant{}, controlplanetest.Slugs("acme", 95)...)
	tenants = append(tenants, p.Create(controlplane.NewTenant{Isolation: controlplane.IsolationDatabase}, controlplanetest.Slugs("own", 5)...)...)
	p.Exec("acme-042", poison)
	p.Push("v2", controlplanetest.Second())
	p.Start()
	r := p.Rollout(controlplane.NewRollout{Release: "v2"})
	ends(t, r, controlplane.RolloutFailed, controlplane.Counts{controlplane.TargetSucceeded: 99, controlplane.TargetFailed: 1})
	failed, err := p.Targets(t.Context(), r.ID, controlplane.TargetQuery{Status: controlplane.TargetFailed})
	if err != nil || len(failed.Items) != 1 || failed.Items[0].Tenant != "acme-042" {
		t.Fatalf("failed are %v, %v", failed.Items, err)
	}
	if f := failed.Items[0].Failure; f.SQLState != "23514" || f.Version != "3" || f.Statement != 2 {
		t.Errorf("failure: %+v", f)
	}
	for slug, version := range controlplanetest.Across[string](p, pgtest.Server(t), tenants, controlplanetest.Revision) {
		if version != "4" && slug != "acme-042" || version != "2" && slug == "acme-042" {
			t.Errorf("%s is at %s", slug, version)
		}
	}
}

// prints are the fingerprints of the tenants of a ring, and how many have each.
func prints(p *controlplanetest.Plane, t *testing.T, ring string) map[string]int {
	t.Helper()
	groups, err := p.Fingerprints(t.Context(), controlplane.TenantQuery{Select: `tenant.labels.ring == "` + ring + `"`})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, g := range groups {
		found[g.Version+" "+g.Fingerprint] += g.Tenants
	}
	return found
}

// statuses are the targets of a rollout by tenant.
func statuses(p *controlplanetest.Plane, t *testing.T, id string) map[string]controlplane.TargetStatus {
	t.Helper()
	page, err := p.Targets(t.Context(), id, controlplane.TargetQuery{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]controlplane.TargetStatus{}
	for _, target := range page.Items {
		found[target.Tenant] = target.Status
	}
	return found
}

// mixed creates a hundred tenants at versions 1 and 2 in turns, in rings named
// after them.
func mixed(p *controlplanetest.Plane, t *testing.T) (tenants []*controlplane.Tenant) {
	t.Helper()
	p.Push("v1", controlplanetest.First())
	slugs := map[string][]string{}
	for i, slug := range controlplanetest.Slugs("acme", 100) {
		version := strconv.Itoa(1 + i%2)
		slugs[version] = append(slugs[version], slug)
	}
	for _, version := range []string{"1", "2"} {
		if _, err := p.SetDefaultRelease(t.Context(), "v1", version, false); err != nil {
			t.Fatal(err)
		}
		tenants = append(tenants, p.Create(controlplane.NewTenant{Labels: controlplane.Labels{"ring": version}}, slugs[version]...)...)
	}
	return tenants
}

// ends checks how a rollout rests.
func ends(t *testing.T, r *controlplane.Rollout, state controlplane.RolloutState, want controlplane.Counts) {
	t.Helper()
	if diff := cmp.Diff(want, r.Counts); diff != "" || r.State != state || r.Targets != want.Sum() {
		t.Fatalf("the rollout of %d is %s, not %s (-want +got):\n%s", r.Targets, r.State, state, diff)
	}
}

// TestRequirement04RollbackTakesBackExactlyThoseThatTheRunChanged: the tenants
// come from two versions, in turns, and the thirty-eighth fails.
func TestRequirement04RollbackTakesBackExactlyThoseThatTheRunChanged(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	tenants := mixed(p, t)
	p.Exec("acme-038", poison)
	p.Push("v2", controlplanetest.Second())
	ledgers := func() map[string]string {
		return controlplanetest.Across[string](p, pgtest.Server(t), tenants, controlplanetest.Ledger)
	}
	before, others := map[string]map[string]int{"1": prints(p, t, "1"), "2": prints(p, t, "2")}, ledgers()

	r := p.Rollout(controlplane.NewRollout{Release: "v2", BatchSize: 10, Concurrency: 1, OnError: controlplane.OnErrorPause})
	ends(t, r, controlplane.RolloutPaused, controlplane.Counts{controlplane.TargetSucceeded: 37, controlplane.TargetFailed: 1, controlplane.TargetPending: 62})
	for slug, status := range statuses(p, t, r.ID) {
		if status == controlplane.TargetSucceeded {
			delete(others, slug)
		}
	}
	if _, err := p.RollbackRollout(t.Context(), r.ID, controlplane.RollbackRequest{}); err != nil {
		t.Fatal(err)
	}
	ends(t, p.Rested(r.ID), controlplane.RolloutRolledBack,
		controlplane.Counts{controlplane.TargetRolledBack: 37, controlplane.TargetFailed: 1, controlplane.TargetSkipped: 62})
	for ring, was := range before {
		if diff := cmp.Diff(was, prints(p, t, ring)); diff != "" {
			t.Errorf("fingerprints of those from version %s (-before +after):\n%s", ring, diff)
		}
	}
	after := ledgers()
	for slug, ledger := range others {
		if after[slug] != ledger {
			t.Errorf("the ledger of %s is\n%s, and was\n%s", slug, after[slug], ledger)
		}
	}
	if len(others) != 63 {
		t.Errorf("%d tenants were left alone", len(others))
	}
}
