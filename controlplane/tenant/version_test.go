package tenant_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/pgtest"
)

// setVersion says of tenants that they are at a version, and returns what became
// of each, in short.
func setVersion(t *testing.T, p *controlplanetest.Plane, version, release string, slugs ...string) string {
	t.Helper()
	results, err := p.SetVersions(t.Context(), controlplane.VersionRequest{Version: version, Release: release, Tenants: slugs, Reason: "ticket 4711"})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, r := range results {
		line := fmt.Sprintf("%s %s+%s %s", r.Slug, r.Was, r.Partial, r.Is)
		if r.Error != nil {
			line += " " + string(r.Error.Code) + ": " + r.Error.Message
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// inHome runs SQL in a tenant's home, as whoever repairs it by hand.
func inHome(t *testing.T, p *controlplanetest.Plane, slug, sql string) {
	t.Helper()
	tenant, err := p.ShowTenant(t.Context(), slug)
	if err != nil {
		t.Fatal(err)
	}
	conn := controlplanetest.Superuser(t, pgtest.Server(t), tenant.Placement.Database)
	text := fmt.Sprintf(`SET search_path = %[1]s, extensions; SELECT set_config('role', nspowner::regrole::text, false) FROM pg_namespace WHERE nspname = '%[1]s'; %[2]s`,
		tenant.Placement.Schema, sql)
	if _, err := conn.Exec(t.Context(), text, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
}

// trace is all that is known of a tenant's version: its own revisions, with what
// is physically there of their rows, its marker, and its row in the catalog.
func trace(t *testing.T, p *controlplanetest.Plane, slug string) string {
	t.Helper()
	tenant, err := p.ShowTenant(t.Context(), slug)
	if err != nil {
		t.Fatal(err)
	}
	conn := controlplanetest.Superuser(t, pgtest.Server(t), tenant.Placement.Database)
	var home, row string
	err = conn.QueryRow(t.Context(), `SELECT concat((SELECT string_agg(concat(r.xmin, r.ctid, r), ' ' ORDER BY version) FROM `+tenant.Placement.Schema+`.atlas_schema_revisions r),
		m.xmin, m.ctid, m) FROM manor.marker m WHERE m.tenant_id = $1`, tenant.ID).Scan(&home)
	if err == nil {
		err = p.Catalog().QueryRow(t.Context(), "SELECT concat(xmin, ctid, t) FROM tenants t WHERE id = $1", tenant.ID).Scan(&row)
	}
	if err != nil {
		t.Fatal(err)
	}
	return home + row
}

// agree fails the test unless catalog, stamps and revisions of all tenants say the same.
func agree(t *testing.T, p *controlplanetest.Plane) {
	t.Helper()
	v, err := p.VerifyStatus(t.Context(), true)
	if err != nil || len(v.Differences)+len(v.Unreached)+v.AtWork > 0 {
		t.Errorf("the catalog and the tenants differ: %+v %v", v, err)
	}
	d, err := p.Doctor(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range d.Findings {
		if f.Tenant != "" { // the rest is that of the tests beside this one
			t.Errorf("the doctor finds %+v", f)
		}
	}
}

// recorded are an audit action's records: whom it was about, and why.
func recorded(t *testing.T, p *controlplanetest.Plane, action string) string {
	t.Helper()
	rows, _ := p.Catalog().Query(t.Context(), `SELECT concat_ws(' ', subject, detail ->> 'from', detail ->> 'to', detail ->> 'reason')
		FROM audit_records WHERE action = $1 ORDER BY id`, action)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

func is(t *testing.T, what, got, want string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestARolloutAppliesExactlyTheFilesAfterAVersionThatWasSet(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, like controlplane.NewTenant) {
		p := controlplanetest.New(t)
		p.Push("v1", controlplanetest.First())
		p.Create(like, "acme", "beside", "down")
		p.Push("v2", controlplanetest.Second())
		inHome(t, p, "acme", controlplanetest.Second()["3_stars.sql"])
		inHome(t, p, "down", "DROP INDEX notes_body_idx")
		before := trace(t, p, "beside")
		dry, err := p.SetVersions(t.Context(), controlplane.VersionRequest{Version: "3", Release: "v2", Tenants: []string{"acme"}, Reason: "r", DryRun: true})
		if err != nil || dry[0] != (controlplane.VersionResult{Slug: "acme", Was: "2", Is: "3"}) {
			t.Errorf("a dry run answers %+v %v", dry, err)
		}
		is(t, "records of a dry run", recorded(t, p, "tenant.set-version"), "")
		agree(t, p)
		is(t, "up", setVersion(t, p, "3", "v2", "acme"), "acme 2+ 3")
		is(t, "down", setVersion(t, p, "1", "v2", "down"), "down 2+ 1")
		for slug, want := range map[string]string{"acme": "v2 3", "beside": "v1 2", "down": "v2 1"} {
			tenant, err := p.ShowTenant(t.Context(), slug)
			if err != nil || tenant.Release+" "+tenant.Version != want {
				t.Errorf("%s is at %s %s, not %s: %v", slug, tenant.Release, tenant.Version, want, err)
			}
		}
		is(t, "records", recorded(t, p, "tenant.set-version"), "acme 2 3 ticket 4711\ndown 2 1 ticket 4711")
		is(t, "records of what the catalog was told", recorded(t, p, "tenant.correct"), "acme 2 3 ticket 4711\ndown 2 1 ticket 4711")
		is(t, "once more", setVersion(t, p, "3", "v2", "acme"), "acme 3+ 3")
		is(t, "records of what the catalog knew", recorded(t, p, "tenant.correct"), "acme 2 3 ticket 4711\ndown 2 1 ticket 4711")
		is(t, "the tenant beside", trace(t, p, "beside"), before)
		if r, err := p.ShowRelease(t.Context(), "v1"); err != nil || r.Default != "2" {
			t.Errorf("the default has moved: %+v %v", r, err)
		}
		is(t, "the same of another release", setVersion(t, p, "2", "v2", "beside"), "beside 2+ 2")
		if tenant, err := p.ShowTenant(t.Context(), "beside"); err != nil || tenant.Release != "v2" {
			t.Errorf("beside is at %s: %v", tenant.Release, err)
		}
		agree(t, p)
		if r := p.Rollout(controlplane.NewRollout{Release: "v2"}); r.State != controlplane.RolloutSucceeded {
			t.Errorf("the rollout is %s: %+v", r.State, r)
		}
		is(t, "revisions", revisions(t, p, "acme"), "1/2 2/2 3/4 4/2")
		is(t, "revisions", revisions(t, p, "down"), "1/2 2/2 3/2 4/2")
		prints, err := p.Fingerprints(t.Context(), controlplane.TenantQuery{})
		if err != nil || len(prints) != 1 {
			t.Errorf("the tenants differ: %+v %v", prints, err)
		}
	})
}

// revisions are a tenant's, by version and type; a half-applied one says so.
func revisions(t *testing.T, p *controlplanetest.Plane, slug string) (all string) {
	t.Helper()
	tenant, err := p.ShowTenant(t.Context(), slug)
	if err == nil {
		err = controlplanetest.Superuser(t, pgtest.Server(t), tenant.Placement.Database).QueryRow(t.Context(),
			`SELECT string_agg(concat(version, '/', type, CASE WHEN applied < total THEN ' half' END), ' ' ORDER BY version) FROM `+tenant.Placement.Schema+`.atlas_schema_revisions`).Scan(&all)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestAHalfAppliedFileIsWholeOrGone once its version was set, or the one before.
func TestAHalfAppliedFileIsWholeOrGone(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, "made", "taken")
	files := controlplanetest.First()
	files["3_unique.sql"] = "-- atlas:txmode none\n\nCREATE TABLE tags (id int);\nCREATE UNIQUE INDEX CONCURRENTLY notes_stars ON notes (stars);\n"
	files["4_more.sql"] = "CREATE TABLE more (id int);\n"
	p.Push("v2", files)
	for _, slug := range []string{"made", "taken"} {
		p.Exec(slug, "INSERT INTO notes VALUES (1, 'a', 1), (2, 'b', 1)")
	}
	p.Rollout(controlplane.NewRollout{Release: "v2", OnError: controlplane.OnErrorContinue})
	is(t, "after the rollout", revisions(t, p, "made"), "1/2 2/2 3/2 half")
	inHome(t, p, "made", "UPDATE notes SET stars = id; DROP INDEX IF EXISTS notes_stars; CREATE UNIQUE INDEX notes_stars ON notes (stars)")
	inHome(t, p, "taken", "UPDATE notes SET stars = id; DROP INDEX IF EXISTS notes_stars; DROP TABLE tags")
	is(t, "whole", setVersion(t, p, "3", "v2", "made"), "made 2+3 3")
	is(t, "gone", setVersion(t, p, "2", "v2", "taken"), "taken 2+3 2")
	is(t, "whole", revisions(t, p, "made"), "1/2 2/2 3/6")
	is(t, "gone", revisions(t, p, "taken"), "1/2 2/2")
	agree(t, p)
	if r := p.Rollout(controlplane.NewRollout{Release: "v2"}); r.State != controlplane.RolloutSucceeded {
		t.Errorf("the next rollout is %s", r.State)
	}
	is(t, "then", revisions(t, p, "made"), "1/2 2/2 3/6 4/2")
	is(t, "then", revisions(t, p, "taken"), "1/2 2/2 3/2 4/2")
}

// TestWhatEndedBetweenTenantAndCatalogIsFinished by verifying, or by the same call again.
func TestWhatEndedBetweenTenantAndCatalogIsFinished(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, like controlplane.NewTenant) {
		p := controlplanetest.New(t)
		p.Push("v1", controlplanetest.First())
		p.Create(like, "again", "verified")
		p.Push("v2", controlplanetest.Second())
		catalog := p.Catalog()
		for _, sql := range []string{
			"CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'killed'; END $$",
			"CREATE TRIGGER die BEFORE UPDATE ON tenants FOR EACH ROW EXECUTE FUNCTION die()",
		} {
			if _, err := catalog.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
		if got := setVersion(t, p, "1", "v2", "again", "verified"); strings.Count(got, "2+ 1 unavailable: tenant ") != 2 {
			t.Errorf("without the catalog: %s", got)
		}
		if _, err := catalog.Exec(t.Context(), "DROP TRIGGER die ON tenants"); err != nil {
			t.Fatal(err)
		}
		if tenant, err := p.ShowTenant(t.Context(), "again"); err != nil || tenant.Version != "2" {
			t.Errorf("the catalog is not behind: %+v %v", tenant, err)
		}
		is(t, "again", setVersion(t, p, "1", "v2", "again"), "again 1+ 1")
		if v, err := p.VerifyStatus(t.Context(), false); err != nil || len(v.Differences) != 1 || !v.Differences[0].Corrected {
			t.Errorf("verified: %+v %v", v, err)
		}
		for _, slug := range []string{"again", "verified"} {
			if tenant, err := p.ShowTenant(t.Context(), slug); err != nil || tenant.Version != "1" || tenant.Release != "v2" {
				t.Errorf("%s is at %s of %s: %v", slug, tenant.Version, tenant.Release, err)
			}
		}
		agree(t, p)
	})
}

func TestAVersionIsNotSetWhereItCannotBeSaid(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, "bad", "deleting", "pinned", "suspended", "waiting")
	p.Push("v2", controlplanetest.Second())
	p.Exec("bad", "INSERT INTO notes VALUES (1, '', -1)")
	if _, err := p.PinTenant(t.Context(), "pinned", controlplane.PinRequest{Reason: "r"}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.SuspendTenant(t.Context(), "suspended", false); err != nil {
		t.Fatal(err)
	}
	if _, err := p.DeleteTenant(t.Context(), "deleting", false); err != nil {
		t.Fatal(err)
	}
	p.Settled("suspended")
	p.Settled("deleting")
	r := p.Rollout(controlplane.NewRollout{Release: "v2", Select: `tenant.slug in ["bad", "waiting"]`, BatchSize: 1, Concurrency: 1, OnError: controlplane.OnErrorPause})
	if r.State != controlplane.RolloutPaused {
		t.Fatalf("the rollout is %s", r.State)
	}
	before := trace(t, p, "waiting") + trace(t, p, "deleting")
	is(t, "results", setVersion(t, p, "1", "v2", "nobody", "waiting", "deleting", "pinned", "suspended", "suspended", "bad"), strings.Join([]string{
		"nobody +  not_found: there is no tenant nobody",
		"waiting 2+ 2 conflict: rollout " + r.ID + " has still to work on tenant waiting",
		"deleting 2+ 2 refused: tenant deleting is deleting, neither active nor suspended",
		"pinned 2+ 1", "suspended 2+ 1",
		"suspended 2+ 2 invalid: tenant suspended is named twice",
		"bad 2+ 1",
	}, "\n"))
	is(t, "those that were refused", trace(t, p, "waiting")+trace(t, p, "deleting"), before)
	is(t, "records", recorded(t, p, "tenant.set-version"), "pinned 2 1 ticket 4711\nsuspended 2 1 ticket 4711\nbad 2 1 ticket 4711")
	for want, r := range map[controlplane.Code]controlplane.VersionRequest{
		controlplane.NotFound: {Version: "7", Release: "v2", Tenants: []string{"bad"}, Reason: "r"},
		controlplane.Invalid:  {Version: "1", Release: "v2", Tenants: []string{"bad"}, Reason: " "},
	} {
		if _, err := p.SetVersions(t.Context(), r); controlplane.CodeOf(err) != want {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

// TestManyVersionsAreSetAtOnce: as many as one call may be about, in few connections.
func TestManyVersionsAreSetAtOnce(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	model := p.Create(controlplane.NewTenant{}, "acme")[0]
	const n = 300
	p.Like(pgtest.Server(t), model, n)
	p.Push("v1", controlplanetest.First())
	page, err := p.ListTenants(t.Context(), controlplane.TenantQuery{Limit: 1000})
	if err != nil || len(page.Items) != n+1 {
		t.Fatalf("%d tenants, %v", len(page.Items), err)
	}
	slugs := make([]string, len(page.Items))
	for i, tenant := range page.Items {
		slugs[i] = tenant.Slug
	}
	if got := setVersion(t, p, "2", "v1", slugs...); strings.Count(got, " + 2") != n+1 || strings.Contains(got, ": ") {
		t.Errorf("results: %.500s", got)
	}
	status, err := p.Status(t.Context())
	if err != nil || len(status.Versions) != 1 || status.Versions[0].Version != "2" {
		t.Errorf("status: %+v %v", status, err)
	}
}
