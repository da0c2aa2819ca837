package daemon_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/pgtest"
)

// asOwner runs sql in a tenant's home, as somebody with the owner's rights does
// by hand.
func asOwner(p *controlplanetest.Plane, t *testing.T, slug, sql string) {
	t.Helper()
	tenant := p.Settled(slug)
	conn := controlplanetest.Superuser(t, pgtest.Server(t), tenant.Placement.Database)
	if _, err := conn.Exec(t.Context(), "SET search_path = "+pgx.Identifier{tenant.Placement.Schema}.Sanitize()+"; "+sql); err != nil {
		t.Fatal(err)
	}
}

// TestRequirement06RevisionsThatTheTablesContradictTurnTheRunRed: the columns
// went before the run, and no file of it needs them.
func TestRequirement06RevisionsThatTheTablesContradictTurnTheRunRed(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, controlplanetest.Slugs("acme", 95)...)
	p.Create(controlplane.NewTenant{Isolation: controlplane.IsolationDatabase}, controlplanetest.Slugs("own", 5)...)
	asOwner(p, t, "acme-042", "ALTER TABLE notes DROP COLUMN body; CREATE INDEX by_hand ON notes (id)")
	asOwner(p, t, "own-003", "ALTER TABLE notes ALTER body SET DEFAULT 'x'")
	p.Push("v2", controlplanetest.Second())
	r := p.Rollout(controlplane.NewRollout{Release: "v2"})
	ends(t, r, controlplane.RolloutFailed, controlplane.Counts{controlplane.TargetSucceeded: 98, controlplane.TargetFailed: 2})
	failed, err := p.Targets(t.Context(), r.ID, controlplane.TargetQuery{Status: controlplane.TargetFailed})
	if err != nil || len(failed.Items) != 2 {
		t.Fatalf("failed are %v, %v", failed.Items, err)
	}
	for i, want := range []struct{ slug, says string }{
		{"acme-042", "column notes.body is missing, index notes.by_hand is not the release's, index notes.notes_body_idx is missing"},
		{"own-003", "column notes.body differs"},
	} {
		f := failed.Items[i]
		if f.Tenant != want.slug || f.Version != "4" || !strings.HasSuffix(f.Failure.Message, ": "+want.says) {
			t.Errorf("%s at %s: %s", f.Tenant, f.Version, f.Failure)
		}
	}
	status, err := p.Status(t.Context())
	if err != nil || len(status.Versions) != 1 || status.Versions[0].Failed != 2 {
		t.Fatalf("status: %+v, %v", status, err)
	}
	var most, others int
	for _, n := range status.Versions[0].Fingerprints {
		if n == 1 {
			others++
		}
		most = max(most, n)
	}
	if most != 98 || others != 2 {
		t.Errorf("tenants by fingerprint: %v", status.Versions[0].Fingerprints)
	}

	asOwner(p, t, "acme-042", "DROP INDEX by_hand; ALTER TABLE notes ADD COLUMN body text NOT NULL DEFAULT ''; ALTER TABLE notes ALTER body DROP DEFAULT; CREATE INDEX notes_body_idx ON notes (body)")
	if _, err := p.RetryRollout(t.Context(), r.ID); err != nil {
		t.Fatal(err)
	}
	ends(t, p.Rested(r.ID), controlplane.RolloutFailed, controlplane.Counts{controlplane.TargetSucceeded: 99, controlplane.TargetFailed: 1})

	if _, err := p.RollbackRollout(t.Context(), r.ID, controlplane.RollbackRequest{}); err != nil {
		t.Fatal(err)
	}
	ends(t, p.Rested(r.ID), controlplane.RolloutRolledBack, controlplane.Counts{controlplane.TargetRolledBack: 100})
	r = p.Rollout(controlplane.NewRollout{Release: "v2", Check: controlplane.CheckNone})
	ends(t, r, controlplane.RolloutSucceeded, controlplane.Counts{controlplane.TargetSucceeded: 100})
}

// TestRequirement06TenantThatCannotBeCheckedIsNotCalledDone: that it has arrived
// is known, and it is done once somebody has looked at it.
func TestRequirement06TenantThatCannotBeCheckedIsNotCalledDone(t *testing.T) {
	t.Parallel()
	p := controlplanetest.Empty(t)
	server := pgtest.NewServer(t, devpg.Config{})
	cluster := p.AddServer("one", server)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, "acme")
	p.Push("v2", controlplanetest.Second())
	super := controlplanetest.Superuser(t, server, "postgres")
	may := func(option string) {
		t.Helper()
		if _, err := super.Exec(t.Context(), "ALTER ROLE "+pgx.Identifier{cluster.Login}.Sanitize()+" "+option); err != nil {
			t.Fatal(err)
		}
	}
	may("NOCREATEDB")
	r, err := p.StartRollout(t.Context(), controlplane.NewRollout{Release: "v2"})
	if err != nil {
		t.Fatal(err)
	}
	p.Eventually("the tenant waits to be checked", func() (bool, error) {
		page, err := p.Targets(t.Context(), r.ID, controlplane.TargetQuery{Status: controlplane.TargetDeferred})
		return err == nil && len(page.Items) == 1 && page.Items[0].Version == "4" &&
			strings.Contains(page.Items[0].Failure.Message, "it has arrived, and its schema cannot be checked: "), err
	})
	if tenant := p.Settled("acme"); tenant.Version != "4" {
		t.Errorf("the tenant is at %s", tenant.Version)
	}
	may("CREATEDB")
	ends(t, p.Rested(r.ID), controlplane.RolloutSucceeded, controlplane.Counts{controlplane.TargetSucceeded: 1})
}
