package rollout_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/pgtest"
)

// poison is a second release whose third version loses what the tenants wrote,
// and that nobody can take back otherwise.
func poison() map[string]string {
	return with(controlplanetest.First(), map[string]string{"3_lose.sql": "DELETE FROM notes;\nALTER TABLE notes DROP COLUMN body;\n"})
}

// estate is a plane with tenants that have a database each, and something in it.
func estate(t *testing.T, files map[string]string, slugs ...string) *controlplanetest.Plane {
	t.Helper()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{Isolation: controlplane.IsolationDatabase}, slugs...)
	for _, slug := range slugs {
		p.Exec(slug, "INSERT INTO notes VALUES (1, 'from "+slug+"', 5)")
	}
	p.Push("v2", files)
	return p
}

func withSnapshot() controlplane.NewRollout {
	return controlplane.NewRollout{Release: "v2", Snapshot: &controlplane.Snapshot{}}
}

// bodies are what a tenant's login reads in its notes.
func bodies(t *testing.T, p *controlplanetest.Plane, slug string) []string {
	t.Helper()
	conn := p.Connect(slug)
	defer conn.Close(t.Context())
	rows, _ := conn.Query(t.Context(), "SELECT body FROM notes ORDER BY id")
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("as %s: %v", slug, err)
	}
	return found
}

// copies are the databases of the cluster that are copies of tenants of a plane.
func copies(t *testing.T, p *controlplanetest.Plane) []string {
	t.Helper()
	catalog, super := p.Catalog(), controlplanetest.Superuser(t, pgtest.Server(t), "postgres")
	defer catalog.Close(t.Context())
	defer super.Close(t.Context())
	rows, _ := catalog.Query(t.Context(), "SELECT unnest(ARRAY[id, replaced]) FROM snapshots")
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	rows, _ = super.Query(t.Context(), "SELECT datname::text FROM pg_database WHERE datname = ANY($1) ORDER BY 1", names)
	if names, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		t.Fatal(err)
	}
	return names
}

func TestRestoreBringsBackWhatARolloutLost(t *testing.T) {
	t.Parallel()
	p := estate(t, poison(), "acme", "globex", "initech")
	before := fingerprints(t, p)
	p.Exec("initech", "INSERT INTO notes VALUES (2, 'second', 1)")
	r := p.Rollout(withSnapshot())
	if r.State != controlplane.RolloutSucceeded || r.Snapshots == nil || r.Snapshots.Count != 3 || r.Snapshots.Until == nil || r.Snapshots.Bytes == 0 {
		t.Fatalf("state %s, counts %s, snapshots %+v", r.State, r.Counts, r.Snapshots)
	}
	healthy(t, p)
	p.Exec("acme", "INSERT INTO notes VALUES (7, 9)") // written since: lost

	plan, err := p.PlanRollback(t.Context(), r.ID, controlplane.RollbackRequest{})
	if err != nil || plan.Restored != 0 || len(plan.Irreversible) != 3 {
		t.Fatalf("without --restore: %+v, %v", plan, err)
	}
	plan, err = p.PlanRollback(t.Context(), r.ID, controlplane.RollbackRequest{Restore: true, Tenant: "acme"})
	if err != nil || plan.Restored != 1 || plan.Tenants != 1 || len(plan.Irreversible) != 0 {
		t.Fatalf("with --restore: %+v, %v", plan, err)
	}
	restore(t, p, r.ID, controlplane.RollbackRequest{Tenant: "acme"})
	if got := bodies(t, p, "acme"); !slices.Equal(got, []string{"from acme"}) {
		t.Errorf("acme reads %q", got)
	}
	if n := p.Settled("globex"); n.Version != "3" {
		t.Errorf("globex, which nobody asked for, is at %s", n.Version)
	}
	p.Exec("globex", "INSERT INTO notes VALUES (3, 3)") // its home is that of the rollout, too
	if n := len(copies(t, p)); n != 2 {
		t.Errorf("%d databases are left of 3 copies, 1 of which was put back", n)
	}

	if r = restore(t, p, r.ID, controlplane.RollbackRequest{}); r.State != controlplane.RolloutRolledBack || r.Counts[controlplane.TargetRolledBack] != 3 {
		t.Fatalf("state %s, counts %s", r.State, r.Counts)
	}
	if got := bodies(t, p, "initech"); !slices.Equal(got, []string{"from initech", "second"}) {
		t.Errorf("initech reads %q", got)
	}
	if after := fingerprints(t, p); after != before {
		t.Errorf("fingerprints before %s, after %s", before, after)
	}
	for _, slug := range []string{"acme", "globex", "initech"} {
		if n := p.Settled(slug); n.Version != "2" || n.Release != "v1" || n.State != controlplane.TenantActive {
			t.Errorf("%s is %s at %s of %s", slug, n.State, n.Version, n.Release)
		}
	}
	if left := copies(t, p); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
	for _, slug := range []string{"acme", "globex", "initech"} {
		if went, came := epochs(t, p, slug); came <= went {
			t.Errorf("%s: whoever works in epoch %d is not shut out of the restored database, which is at %d", slug, went, came)
		}
	}
	healthy(t, p)
	v, err := p.VerifyStatus(t.Context(), true)
	if err != nil || len(v.Differences) > 0 || v.Agree != 3 {
		t.Errorf("stamps: %+v, %v", v, err)
	}
	if again := p.Rollout(controlplane.NewRollout{Release: "v2"}); again.State != controlplane.RolloutSucceeded { // markers and all
		t.Errorf("the next rollout: %s, %s", again.State, again.Counts)
	}
}

// epochs are the last in which a rollout went up, and that of a tenant's marker.
func epochs(t *testing.T, p *controlplanetest.Plane, slug string) (went, came int64) {
	t.Helper()
	catalog, home := p.Catalog(), controlplanetest.Superuser(t, pgtest.Server(t), p.Settled(slug).Placement.Database)
	defer catalog.Close(t.Context())
	defer home.Close(t.Context())
	err := errors.Join(catalog.QueryRow(t.Context(), "SELECT max(epoch) FROM batches WHERE direction = 'up'").Scan(&went),
		home.QueryRow(t.Context(), "SELECT epoch FROM manor.marker").Scan(&came))
	if err != nil {
		t.Fatal(err)
	}
	return went, came
}

func restore(t *testing.T, p *controlplanetest.Plane, id string, q controlplane.RollbackRequest) *controlplane.Rollout {
	t.Helper()
	q.Restore = true
	if _, err := p.RollbackRollout(t.Context(), id, q); err != nil {
		t.Fatal(err)
	}
	return p.Rested(id)
}

// healthy fails for what the doctor finds about tenants, and about databases of
// this plane's control login: others are at work on the server, too.
func healthy(t *testing.T, p *controlplanetest.Plane) {
	t.Helper()
	c, err := p.Doctor(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	mine := copies(t, p)
	for _, f := range c.Findings {
		if f.Tenant != "" || slices.Contains(mine, f.Database) {
			t.Errorf("doctor: %s %s", f.Kind, f.Message)
		}
	}
}

func TestRestoreMendsATargetThatFailedInTheMiddleOfAFile(t *testing.T) {
	t.Parallel()
	p := estate(t, with(controlplanetest.First(), map[string]string{
		"3_half.sql": "-- atlas:txmode none\n\nDELETE FROM notes;\nALTER TABLE notes ADD CONSTRAINT never CHECK (1 / 0 > 0);\nCREATE INDEX half ON nowhere (id);\n"}), "acme")
	r := p.Rollout(withSnapshot())
	if r.State != controlplane.RolloutFailed {
		t.Fatalf("state %s", r.State)
	}
	r = restore(t, p, r.ID, controlplane.RollbackRequest{Tenant: "acme"})
	if got := bodies(t, p, "acme"); !slices.Equal(got, []string{"from acme"}) || r.Counts[controlplane.TargetRolledBack] != 1 {
		t.Errorf("acme reads %q; counts %s", got, r.Counts)
	}
	healthy(t, p)
}

func TestARolloutThatCannotCopySomeOfItsTenantsIsRefused(t *testing.T) {
	t.Parallel()
	p := estate(t, poison(), "acme")
	p.Create(controlplane.NewTenant{Isolation: controlplane.IsolationSchema}, "globex", "initech")
	for what, ask := range map[string]func() error{
		"plan":  func() error { _, err := p.PlanRollout(t.Context(), withSnapshot()); return err },
		"start": func() error { _, err := p.StartRollout(t.Context(), withSnapshot()); return err },
	} {
		err := ask()
		var refused *controlplane.Error
		if !errors.As(err, &refused) || refused.Code != controlplane.Refused || !strings.Contains(refused.Message, "2 of the selected") || !strings.Contains(refused.Hint, "tenant.isolation") {
			t.Errorf("%s: %v", what, err)
		}
	}
	n := withSnapshot()
	n.Select = `tenant.isolation == "database"`
	plan, err := p.PlanRollout(t.Context(), n)
	if err != nil || plan.Snapshots == nil || plan.Snapshots.Count != 1 || plan.Snapshots.Bytes < 1<<20 {
		t.Errorf("plan %+v, %v", plan, err)
	}
	if r := p.Rollout(n); r.State != controlplane.RolloutSucceeded {
		t.Errorf("state %s", r.State)
	}
}

func TestARetryTakesNoSecondCopy(t *testing.T) {
	t.Parallel()
	p := estate(t, controlplanetest.Second(), "acme")
	p.Exec("acme", "UPDATE notes SET stars = -1")
	r := p.Rollout(withSnapshot())
	first := copies(t, p)
	if r.State != controlplane.RolloutFailed || len(first) != 1 {
		t.Fatalf("state %s, copies %q", r.State, first)
	}
	p.Exec("acme", "UPDATE notes SET stars = 1, body = 'cured'")
	if _, err := p.RetryRollout(t.Context(), r.ID); err != nil {
		t.Fatal(err)
	}
	if r = p.Rested(r.ID); r.State != controlplane.RolloutSucceeded {
		t.Fatalf("state %s", r.State)
	}
	if now := copies(t, p); !slices.Equal(now, first) {
		t.Errorf("copies %q, before the retry %q", now, first)
	}
	restore(t, p, r.ID, controlplane.RollbackRequest{})
	if got := bodies(t, p, "acme"); !slices.Equal(got, []string{"from acme"}) {
		t.Errorf("acme reads %q", got)
	}
}

func TestATenantWhoseCopyFailsIsOpenAndUnchanged(t *testing.T) {
	t.Parallel()
	p := estate(t, poison(), "acme", "globex")
	// A session that the control login cannot end.
	guest := controlplanetest.Superuser(t, pgtest.Server(t), p.Settled("acme").Placement.Database)
	n := withSnapshot()
	n.Strategy = &controlplane.Strategy{Retry: controlplane.Retry{Attempts: 1}}
	r := p.Rollout(n)
	if r.State != controlplane.RolloutFailed || r.Counts[controlplane.TargetSucceeded] != 1 {
		t.Fatalf("state %s, counts %s", r.State, r.Counts)
	}
	if got := target(t, p, r.ID, "acme"); got.Status != controlplane.TargetFailed || !strings.Contains(got.Failure.Message, "sessions of") {
		t.Errorf("target %+v, %s", got, got.Failure)
	}
	if got := bodies(t, p, "acme"); !slices.Equal(got, []string{"from acme"}) {
		t.Errorf("acme reads %q", got)
	}
	if n := len(copies(t, p)); n != 1 {
		t.Errorf("%d copies", n)
	}
	_ = guest.Close(context.WithoutCancel(t.Context()))
	catalogSQL(t, p, "UPDATE snapshots SET updated_at = now() - interval '1 hour' WHERE state = 'taking'")
	p.Eventually("what came of the try is swept away", func() (swept bool, err error) {
		err = p.Catalog().QueryRow(t.Context(), "SELECT NOT EXISTS (SELECT FROM snapshots WHERE state IN ('taking', 'dropping'))").Scan(&swept)
		return swept, err
	})
	if _, err := p.RetryRollout(t.Context(), r.ID); err != nil {
		t.Fatal(err)
	}
	if r = p.Rested(r.ID); r.State != controlplane.RolloutSucceeded || r.Snapshots.Count != 2 {
		t.Errorf("after the retry: state %s, snapshots %+v", r.State, r.Snapshots)
	}
}

func TestADatabaseThatADeadWorkerLeftClosedIsOpened(t *testing.T) {
	t.Parallel()
	p := estate(t, poison(), "acme")
	r := p.Rollout(withSnapshot())
	super := controlplanetest.Superuser(t, pgtest.Server(t), "postgres")
	if _, err := super.Exec(t.Context(), fmt.Sprintf("ALTER DATABASE %s ALLOW_CONNECTIONS false IS_TEMPLATE true", p.Settled("acme").Placement.Database)); err != nil {
		t.Fatal(err)
	}
	// As it looks when nobody goes on with it.
	catalogSQL(t, p, "UPDATE snapshots SET state = 'taking', updated_at = now() - interval '1 hour'")
	p.Eventually("the copy is dropped", func() (bool, error) { return len(copies(t, p)) == 0, nil })
	p.Exec("acme", "SELECT")
	if again, err := p.ShowRollout(t.Context(), r.ID); err != nil || again.Snapshots.Count != 0 {
		t.Errorf("snapshots %+v, %v", again.Snapshots, err)
	}
}

func TestCopiesAreDroppedWhenTheirTimeIsOverAndWithTheirTenant(t *testing.T) {
	t.Parallel()
	p := estate(t, poison(), "acme", "globex")
	r := p.Rollout(withSnapshot())
	if _, err := p.DeleteTenant(t.Context(), "acme", false); err != nil {
		t.Fatal(err)
	}
	p.Settled("acme")
	if _, err := p.PurgeTenant(t.Context(), "acme", "acme", false); err != nil {
		t.Fatal(err)
	}
	p.Eventually("the copy of the purged tenant is dropped", func() (bool, error) { return len(copies(t, p)) == 1, nil })
	catalogSQL(t, p, "UPDATE snapshots SET expires_at = now() - interval '1 second', updated_at = now() - interval '1 hour' WHERE state = 'made'")
	p.Eventually("the copy whose time is over is dropped", func() (bool, error) { return len(copies(t, p)) == 0, nil })
	plan, err := p.PlanRollback(t.Context(), r.ID, controlplane.RollbackRequest{Restore: true})
	if err != nil || plan.Restored != 0 || len(plan.Irreversible) != 1 {
		t.Errorf("what is left to restore: %+v, %v", plan, err)
	}
	healthy(t, p)
}
