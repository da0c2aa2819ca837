package rollout_test

import (
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/pgtest"
)

// with is files with more files.
func with(files, more map[string]string) map[string]string {
	maps.Copy(files, more)
	return files
}

// catalogSQL makes the catalog look as after an accident.
func catalogSQL(t *testing.T, p *controlplanetest.Plane, sql string) {
	t.Helper()
	if _, err := p.Catalog().Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// rollback takes a rollout back and waits.
func rollback(t *testing.T, p *controlplanetest.Plane, id string) *controlplane.Rollout {
	t.Helper()
	if _, err := p.RollbackRollout(t.Context(), id, controlplane.RollbackRequest{}); err != nil {
		t.Fatal(err)
	}
	return p.Rested(id)
}

// target is how a tenant fares in a rollout.
func target(t *testing.T, p *controlplanetest.Plane, id, slug string) controlplane.Target {
	t.Helper()
	page, err := p.Targets(t.Context(), id, controlplane.TargetQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range page.Items {
		if target.Tenant == slug {
			return target
		}
	}
	t.Fatalf("%s is no target of %s", slug, id)
	return controlplane.Target{}
}

// lastRevision is where a tenant really is.
func lastRevision(t *testing.T, p *controlplanetest.Plane, slug string) string {
	t.Helper()
	tenant, err := p.ShowTenant(t.Context(), slug)
	if err != nil {
		t.Fatal(err)
	}
	var version string
	conn := controlplanetest.Superuser(t, pgtest.Server(t), tenant.Placement.Database)
	err = conn.QueryRow(t.Context(), "SELECT max(version) FROM "+tenant.Placement.Schema+".atlas_schema_revisions").Scan(&version)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

func TestRollbackLeavesATenantThatAnotherToolMovedOn(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, "acme")
	p.Push("v2", with(controlplanetest.Second(), map[string]string{"down/4_tags.sql": "DROP TABLE tags;\n"}))
	r := p.Rollout(controlplane.NewRollout{Release: "v2", Version: "3"})
	p.Rollout(controlplane.NewRollout{Release: "v2", Version: "4"})
	p.Exec("acme", "INSERT INTO tags VALUES (1, NULL)")
	catalogSQL(t, p, "UPDATE tenants SET version = '3'") // as if the Atlas CLI had run version 4: the catalog lags

	rollback(t, p, r.ID)
	for range 2 { // what the rollout did stays written down, so that asking again changes nothing
		got := target(t, p, r.ID, "acme")
		if got.Status != controlplane.TargetNeedsAttention || got.Version != "3" || !strings.Contains(got.Failure.Message, "at 4") {
			t.Errorf("target %+v, %s", got, got.Failure)
		}
		if at := lastRevision(t, p, "acme"); at != "4" {
			t.Errorf("the tenant was taken to %s", at)
		}
		rollback(t, p, r.ID)
	}
}

func TestRollbackTakesBackATargetThatIsHalfWay(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, "acme", "broken")
	before := fingerprints(t, p)
	p.Exec("broken", "INSERT INTO notes VALUES (1, 'x', -1)")
	p.Push("v2", with(controlplanetest.First(), map[string]string{
		"3_extra.sql": "CREATE TABLE extra (id int);\n",
		"4_stars.sql": "ALTER TABLE notes ADD CONSTRAINT notes_stars_check CHECK (stars >= 0);\n"}))
	reader, err := p.Connect("acme").Begin(t.Context()) // holds acme before version 4
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Exec(t.Context(), "SELECT FROM notes"); err != nil {
		t.Fatal(err)
	}
	r := p.Rollout(controlplane.NewRollout{Release: "v2", OnError: controlplane.OnErrorRollback})
	_ = reader.Rollback(t.Context())
	if r.State != controlplane.RolloutRolledBack || r.Counts[controlplane.TargetRolledBack] != 2 {
		t.Errorf("state %s, counts %s", r.State, r.Counts)
	}
	if after := fingerprints(t, p); after != before {
		t.Errorf("fingerprints before %s, after %s", before, after)
	}
}

func TestRollbackReadsTheRevisionsOfATargetWhoseWorkerDied(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, "acme", "broken")
	p.Exec("broken", "INSERT INTO notes VALUES (1, 'x', -1)")
	p.Push("v2", controlplanetest.Second())
	r := p.Rollout(controlplane.NewRollout{Release: "v2", OnError: controlplane.OnErrorPause, BatchSize: 1, Concurrency: 2})
	// What the sweep leaves of a worker killed between acme's COMMIT and its report.
	catalogSQL(t, p, "UPDATE targets SET status = 'unknown', batch_id = NULL, version = from_version WHERE slug = 'acme'")
	catalogSQL(t, p, "UPDATE tenants SET version = '2' WHERE slug = 'acme'")
	was := lastRevision(t, p, "acme")

	r = rollback(t, p, r.ID)
	if r.State != controlplane.RolloutRolledBack || target(t, p, r.ID, "acme").Status != controlplane.TargetRolledBack {
		t.Errorf("state %s, counts %s", r.State, r.Counts)
	}
	if at := lastRevision(t, p, "acme"); at != "2" {
		t.Errorf("acme was at %s and is at %s", was, at)
	}
}

func TestRollbackThatFailedGoesOnAndIsNeverRunForward(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, "a-stuck", "b-fails", "c-waits")
	p.Exec("a-stuck", "INSERT INTO notes VALUES (1, 'x', -1)")
	p.Exec("b-fails", "INSERT INTO notes VALUES (1, 'bad', 1)")
	p.Push("v2", with(controlplanetest.First(), map[string]string{
		"3_m.sql":      "ALTER TABLE notes ADD CONSTRAINT m CHECK (body <> 'bad');\n",
		"down/3_m.sql": "ALTER TABLE notes DROP CONSTRAINT m;\nALTER TABLE notes ADD CONSTRAINT s CHECK (stars >= 0);\n"}))
	r := p.Rollout(controlplane.NewRollout{Release: "v2", OnError: controlplane.OnErrorRollback, BatchSize: 1, Concurrency: 1})
	if got := target(t, p, r.ID, "a-stuck"); r.State != controlplane.RolloutFailed || got.Status != controlplane.TargetNeedsAttention || got.Failure.File != "down/3_m.sql" {
		t.Fatalf("state %s, target %+v", r.State, got)
	}
	if _, err := p.RetryRollout(t.Context(), r.ID); controlplane.CodeOf(err) != controlplane.Refused {
		t.Errorf("retry in the middle of a rollback: %v", err)
	}
	p.Exec("a-stuck", "DELETE FROM notes")
	if r = rollback(t, p, r.ID); r.State != controlplane.RolloutRolledBack || r.Counts[controlplane.TargetRolledBack] != 1 {
		t.Errorf("state %s, counts %s", r.State, r.Counts)
	}
}

func TestBreachStopsEveryBatchBeforeItsNextTenant(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, controlplanetest.Slugs("acme", 40)...)
	p.Exec("acme-001", "INSERT INTO notes VALUES (1, 'x', -1)")
	p.Push("v2", with(controlplanetest.First(), map[string]string{
		"3_stars.sql": "ALTER TABLE notes ADD CONSTRAINT c CHECK (stars >= 0);\nSELECT pg_sleep(0.5);\n"}))
	r := p.Rollout(controlplane.NewRollout{Release: "v2", OnError: controlplane.OnErrorPause, BatchSize: 20, Concurrency: 8})
	// Eight at a time: those in hand when the first fails, and those taken up before its batch could report.
	if done := r.Counts[controlplane.TargetSucceeded]; r.State != controlplane.RolloutPaused || done > 2*8 {
		t.Errorf("state %s, %s", r.State, r.Counts)
	}
}

func TestPausedRolloutWithAnIrreversibleTenantCanBeGivenUp(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, "a-done", "b-fails", "c-waits")
	p.Exec("b-fails", "INSERT INTO notes VALUES (1, 'x', -1)")
	p.Push("v2", with(controlplanetest.First(), map[string]string{
		"3_v.sql": "ALTER TABLE notes ADD CONSTRAINT c CHECK (stars >= 0);\nCREATE VIEW v AS SELECT body FROM notes;\n"}))
	r := p.Rollout(controlplane.NewRollout{Release: "v2", OnError: controlplane.OnErrorPause, BatchSize: 1, Concurrency: 1})
	r = rollback(t, p, r.ID)
	if r.State != controlplane.RolloutFailed || r.Counts[controlplane.TargetNeedsAttention] != 1 || r.Counts[controlplane.TargetSkipped] != 1 {
		t.Fatalf("state %s, counts %s", r.State, r.Counts)
	}
	if got := target(t, p, r.ID, "a-done"); !strings.Contains(got.Failure.Message, "3_v.sql") {
		t.Errorf("failure %s", got.Failure)
	}
	if r = p.Rollout(controlplane.NewRollout{Release: "v2", Select: `tenant.slug == "c-waits"`}); r.State != controlplane.RolloutSucceeded {
		t.Errorf("the waiting tenant is not free: %s", r.State)
	}
}

func TestManyStartsAtOnceLeaveExactlyOneRollout(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, "acme")
	p.Push("v2", with(controlplanetest.First(), map[string]string{"3_slow.sql": "SELECT pg_sleep(1);\n"}))
	var starts sync.WaitGroup
	for range 64 { // more than a process has connections to the catalog
		starts.Go(func() {
			_, err := p.StartRollout(t.Context(), controlplane.NewRollout{Release: "v2"})
			if err != nil && controlplane.CodeOf(err) != controlplane.Conflict {
				t.Error(err)
			}
		})
	}
	starts.Wait()
	rollouts, err := p.ListRollouts(t.Context())
	if err != nil || len(rollouts) != 1 {
		t.Errorf("%d rollouts, %v", len(rollouts), err)
	}
}

func TestRollbackNamesATenantThatFailedInTheMiddleOfAFileWithoutTransaction(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, "acme", "broken")
	p.Exec("broken", "INSERT INTO notes VALUES (1, 'x', 1), (2, 'x', 1)")
	p.Push("v2", with(controlplanetest.First(), map[string]string{
		"3_none.sql":      "-- atlas:txmode none\n\nCREATE INDEX CONCURRENTLY i1 ON notes (stars);\nCREATE UNIQUE INDEX CONCURRENTLY i2 ON notes (body);\n",
		"down/3_none.sql": "DROP INDEX i2;\nDROP INDEX i1;\n"}))
	r := p.Rollout(controlplane.NewRollout{Release: "v2"})
	if r.Counts[controlplane.TargetFailed] != 1 {
		t.Fatalf("counts %s", r.Counts)
	}
	r = rollback(t, p, r.ID)
	got := target(t, p, r.ID, "broken")
	if r.State != controlplane.RolloutFailed || got.Status != controlplane.TargetNeedsAttention || !strings.Contains(got.Failure.Message, "3_none.sql") {
		t.Errorf("state %s, target %+v", r.State, got)
	}
	if got := target(t, p, r.ID, "acme"); got.Status != controlplane.TargetRolledBack {
		t.Errorf("target %+v", got)
	}
}

func TestRetryAfterHalfTheWayIsStillRolledBackToTheBeginning(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, "acme")
	before := fingerprints(t, p)
	p.Exec("acme", "INSERT INTO notes VALUES (1, 'x', -1)")
	p.Push("v2", with(controlplanetest.First(), map[string]string{
		"3_extra.sql": "CREATE TABLE extra (id int);\n",
		"4_stars.sql": "ALTER TABLE notes ADD CONSTRAINT notes_stars_check CHECK (stars >= 0);\n"}))
	r := p.Rollout(controlplane.NewRollout{Release: "v2"})
	if got := target(t, p, r.ID, "acme"); got.Status != controlplane.TargetFailed || got.From != "2" || got.Version != "3" {
		t.Fatalf("target %+v", got)
	}
	p.Exec("acme", "DELETE FROM notes")
	if _, err := p.RetryRollout(t.Context(), r.ID); err != nil {
		t.Fatal(err)
	}
	if r = p.Rested(r.ID); r.State != controlplane.RolloutSucceeded {
		t.Fatalf("state %s", r.State)
	}
	if got := target(t, p, r.ID, "acme"); got.From != "2" {
		t.Errorf("the target forgot where it came from: %+v", got)
	}
	rollback(t, p, r.ID)
	if after := fingerprints(t, p); after != before {
		t.Errorf("fingerprints before %s, after %s", before, after)
	}
}

// TestRollbackNeedsNothingOfTheVersionThatFailed: it fails everywhere, so that
// nobody could compute how to undo it.
func TestRollbackNeedsNothingOfTheVersionThatFailed(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, "acme", "globex")
	before := fingerprints(t, p)
	p.Push("v2", with(controlplanetest.First(), map[string]string{
		"3_extra.sql": "CREATE TABLE extra (id int);\n", "4_bad.sql": "CREATE INDEX bad ON nowhere (id);\n"}))
	r := p.Rollout(controlplane.NewRollout{Release: "v2"})
	if r.Counts[controlplane.TargetFailed] != 2 {
		t.Fatalf("the rollout is %s: %s", r.State, r.Counts)
	}
	rollback(t, p, r.ID)
	if r = p.Rested(r.ID); r.State != controlplane.RolloutRolledBack {
		t.Errorf("the rollout is %s: %s", r.State, r.Counts)
	}
	if after := fingerprints(t, p); after != before {
		t.Errorf("fingerprints before %s, after %s", before, after)
	}
}

// TestRollbackHasNothingToTakeBackOfATenantThatWasPurged: it ends as if that
// one had never been, and the default goes back.
func TestRollbackHasNothingToTakeBackOfATenantThatWasPurged(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, "acme", "globex")
	p.Push("v2", with(controlplanetest.Second(), map[string]string{"down/4_tags.sql": "DROP TABLE tags;\n"}))
	r := p.Rollout(controlplane.NewRollout{Release: "v2"})
	if _, err := p.DeleteTenant(t.Context(), "acme", false); err != nil {
		t.Fatal(err)
	}
	p.Settled("acme")
	if _, err := p.PurgeTenant(t.Context(), "acme", "acme", false); err != nil {
		t.Fatal(err)
	}
	rollback(t, p, r.ID)
	if r = p.Rested(r.ID); r.State != controlplane.RolloutRolledBack {
		t.Errorf("the rollout is %s: %s, %s", r.State, r.Counts, r.Reason)
	}
	if later := p.Create(controlplane.NewTenant{}, "later")[0]; later.Version != "2" {
		t.Errorf("new tenants start at %s", later.Version)
	}
}
