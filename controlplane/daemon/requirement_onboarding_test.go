package daemon_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/pgtest"
)

// complains collects what tenants have to complain of while they are made.
func complains(t *testing.T, p *controlplanetest.Plane) (stop func() []string) {
	t.Helper()
	after, err := p.EventsHead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var heard []string
	var listening sync.WaitGroup
	listening.Go(func() {
		_ = p.Events(ctx, after, func(e controlplane.Event) error {
			var data controlplane.TenantEvent
			if err := json.Unmarshal(e.Data, &data); err != nil || e.Kind != controlplane.EventTenantChanged {
				return err
			}
			if data.Failure != nil {
				heard = append(heard, data.Slug+": "+data.Failure.String())
			}
			return nil
		})
	})
	return func() []string { cancel(); listening.Wait(); return heard }
}

// TestRequirement20FiftyDatabasesAtOnceAndNobodySeesAnError: each is asked for
// by a call of its own.
func TestRequirement20FiftyDatabasesAtOnceAndNobodySeesAnError(t *testing.T) {
	t.Parallel()
	p := controlplanetest.Empty(t)
	p.AddServer("one", pgtest.NewServer(t, devpg.Config{}))
	p.Push("v1", controlplanetest.First())
	stop := complains(t, p)
	slugs := controlplanetest.Slugs("own", 50)
	var calls sync.WaitGroup
	for _, slug := range slugs {
		calls.Go(func() {
			results, err := p.CreateTenants(t.Context(), []controlplane.NewTenant{{Slug: slug, Isolation: controlplane.IsolationDatabase}}, false)
			if err != nil || results[0].Error != nil {
				t.Errorf("create %s: %v, %+v", slug, err, results)
			}
		})
	}
	calls.Wait()
	databases := map[string]bool{}
	for _, slug := range slugs {
		tenant := p.Settled(slug)
		if tenant.State != controlplane.TenantActive || tenant.Version != "2" || tenant.Failure != nil {
			t.Errorf("%s is %s at %s: %v", slug, tenant.State, tenant.Version, tenant.Failure)
		}
		databases[tenant.Placement.Database] = true
	}
	if heard := stop(); len(databases) != len(slugs) || len(heard) > 0 {
		t.Errorf("%d tenants have %d databases; on the way there was %q", len(slugs), len(databases), heard)
	}
	p.Exec(slugs[0], "INSERT INTO notes VALUES (1, 'at home')")
}

// cursedRelease is a release that a tenant named cursed cannot be provisioned
// at, with what a tenant can be held up in as the second of n versions.
func cursedRelease(n int) map[string]string {
	all := map[string]string{"1_notes.sql": cursed + "CREATE TABLE notes (id int PRIMARY KEY, body text);\n",
		"2_wait.sql": waits + "ALTER TABLE notes ADD COLUMN pinned bool;\n"}
	if n == 1 {
		delete(all, "2_wait.sql")
	}
	return all
}

// order asks for tenants and does not wait for them.
func order(t *testing.T, p *controlplanetest.Plane, like controlplane.NewTenant, slugs ...string) []string {
	t.Helper()
	var wanted []controlplane.NewTenant
	for _, slug := range slugs {
		one := like
		one.Slug = slug
		wanted = append(wanted, one)
	}
	if _, err := p.CreateTenants(t.Context(), wanted, false); err != nil {
		t.Fatal(err)
	}
	return slugs
}

// early is a plane that works no jobs and has two tenants of tier "pro", one of
// which is suspended, and three more that nobody makes yet: one cannot be made.
// goOn lets the first tenant through the second version.
func early(t *testing.T) (p *controlplanetest.Plane, goOn func()) {
	t.Helper()
	p = controlplanetest.Open(t, controlplanetest.Options{Idle: true})
	p.AddServer("one", pgtest.Server(t))
	p.Push("v1", cursedRelease(1))
	p.Working(func() {
		p.Create(pro, "first", "suspended")
		if _, err := p.SuspendTenant(t.Context(), "suspended", false); err != nil {
			t.Fatal(err)
		}
		p.Settled("suspended")
	})
	p.Push("v2", cursedRelease(2))
	order(t, p, pro, "cursed", "making-1", "making-2")
	return p, wait(p, "first")
}

var pro = controlplane.NewTenant{Tier: "pro"}

// TestRequirement21TenantsCreatedDuringARolloutArriveWithTheOthers: a hundred
// that match the selection, in either isolation, and some that do not; those
// that are still in the making when it starts, too, and those that are suspended.
func TestRequirement21TenantsCreatedDuringARolloutArriveWithTheOthers(t *testing.T) {
	t.Parallel()
	p, goOn := early(t)
	id := begin(t, p, controlplane.NewRollout{Release: "v2", Select: `tenant.tier == "pro"`})
	r, err := p.ShowRollout(t.Context(), id)
	if want := (controlplane.Counts{controlplane.TargetPending: 2, controlplane.TargetDeferred: 3}); err != nil || !cmp.Equal(want, r.Counts) {
		t.Fatalf("at its start: %s, %v", r.Counts, err)
	}
	p.Working(func() {
		var late []string
		for chunk := range slices.Chunk(controlplanetest.Slugs("late", 95), 19) {
			late = append(late, order(t, p, pro, chunk...)...)
		}
		late = append(late, order(t, p, controlplane.NewTenant{Tier: "pro", Isolation: controlplane.IsolationDatabase}, controlplanetest.Slugs("own", 5)...)...)
		late = append(late, order(t, p, controlplane.NewTenant{Tier: "free"}, controlplanetest.Slugs("other", 5)...)...)
		for _, slug := range late {
			p.Settled(slug)
		}
		goOn()
		r = p.Rested(id)
	})
	ends(t, r, controlplane.RolloutSucceeded, controlplane.Counts{controlplane.TargetSucceeded: 104, controlplane.TargetSkipped: 1})
	skipped, err := p.Targets(t.Context(), id, controlplane.TargetQuery{Status: controlplane.TargetSkipped})
	if err != nil || skipped.Items[0].Tenant != "cursed" || !strings.Contains(skipped.Items[0].Failure.Message, "this tenant cannot be") {
		t.Errorf("skipped are %+v, %v", skipped.Items, err)
	}
	standAt(t, p, `tenant.tier == "pro"`, "2", 104)
	standAt(t, p, `tenant.tier == "free"`, "1", 5)
}

// standAt checks what the revisions of the tenants of a selection say that have
// a home.
func standAt(t *testing.T, p *controlplanetest.Plane, selection, version string, n int) {
	t.Helper()
	page, err := p.ListTenants(t.Context(), controlplane.TenantQuery{Select: selection, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var tenants []*controlplane.Tenant
	for i := range page.Items {
		if tenant := &page.Items[i]; tenant.State.Migratable() {
			tenants = append(tenants, tenant)
		}
	}
	if len(tenants) != n {
		t.Errorf("%s: there are %d tenants", selection, len(tenants))
	}
	revisions := controlplanetest.Across[string](p, pgtest.Server(t), tenants, controlplanetest.Revision)
	for _, tenant := range tenants {
		if tenant.Version != version || revisions[tenant.Slug] != version {
			t.Errorf("%s is at %s, and at %s in the catalog, not at %s", tenant.Slug, revisions[tenant.Slug], tenant.Version, version)
		}
	}
}

// TestRequirement21TenantReadyAsARolloutEndsIsNotLeftBehind: each tenant is
// created when a rollout has done all that it knows of.
func TestRequirement21TenantReadyAsARolloutEndsIsNotLeftBehind(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Start()
	files := controlplanetest.First()
	p.Push("v2", files)
	p.Create(controlplane.NewTenant{}, "first")
	n, late := 1, 0
	for round := range sized(6, 60) {
		version := fmt.Sprintf("3%03d", round)
		files[version+"_round.sql"] = fmt.Sprintf("CREATE TABLE round_%d (id int);\n", round)
		name := "v" + version
		p.Push(name, files)
		began := n
		id := begin(t, p, controlplane.NewRollout{Release: name})
		var slugs []string
		until(t, p, id, "it rests", func(r *controlplane.Rollout) bool {
			if len(slugs) < 6 && r.Counts.Done() == r.Counts.Sum() { // it is about to end
				slug := fmt.Sprintf("late-%03d", n)
				order(t, p, controlplane.NewTenant{}, slug)
				slugs, n = append(slugs, slug), n+1
			}
			return r.State.Resting()
		})
		for _, slug := range slugs {
			p.Settled(slug)
		}
		r, err := p.ShowRollout(t.Context(), id)
		if err != nil || r.State != controlplane.RolloutSucceeded || r.Targets != r.Counts.Sum() {
			t.Fatalf("rollout %s is %s: %d targets, %s, %v", id, r.State, r.Targets, r.Counts, err)
		}
		late += r.Targets - began
		standAt(t, p, "", version, n)
	}
	t.Logf("%d tenants were created meanwhile, %d of them joined", n-1, late)
}

// TestRequirement21SteadyStreamOfNewTenantsKeepsNoRolloutOpen: as soon as one is
// made the next is asked for.
func TestRequirement21SteadyStreamOfNewTenantsKeepsNoRolloutOpen(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", cursedRelease(1))
	p.Create(controlplane.NewTenant{}, "first")
	p.Push("v2", cursedRelease(2))
	id := begin(t, p, controlplane.NewRollout{Release: "v2"})
	n, last := 1, "first"
	until(t, p, id, "it rests", func(r *controlplane.Rollout) bool {
		if tenant, err := p.ShowTenant(t.Context(), last); err == nil && tenant.Settled {
			last = order(t, p, controlplane.NewTenant{}, fmt.Sprintf("late-%03d", n))[0]
			n++
		}
		return r.State.Resting()
	})
	p.Settled(last)
	standAt(t, p, "", "2", n)
	r, err := p.ShowRollout(t.Context(), id)
	if err != nil || r.State != controlplane.RolloutSucceeded {
		t.Errorf("the rollout is %s: %s, %v", r.State, r.Counts, err)
	}
	t.Logf("%d tenants came, %d of them as targets", n-1, r.Targets-1)
}
