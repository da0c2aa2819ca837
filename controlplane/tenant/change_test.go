package tenant_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
)

func TestDryRunsOfTenantsChangeNothing(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{Labels: controlplane.Labels{"ring": "a"}}, "acme")
	p.Create(controlplane.NewTenant{}, "gone")
	if _, err := p.DeleteTenant(t.Context(), "gone", false); err != nil {
		t.Fatal(err)
	}
	p.Settled("gone")
	before := everything(t, p)
	tier := "gold"
	results, err := p.CreateTenants(t.Context(), []controlplane.NewTenant{{Slug: "globex"}, {Slug: "acme"}, {Slug: "globex"}}, true)
	if err != nil || results[0].Error != nil || results[0].Tenant.Cluster != "one" || results[1].Error == nil || results[2].Error == nil {
		t.Errorf("create: %+v, %v", results, err)
	}
	if after, err := p.SetTenant(t.Context(), "acme", controlplane.TenantChange{Tier: &tier, DryRun: true}); err != nil || after.Tier != tier {
		t.Errorf("set: %+v, %v", after, err)
	}
	if after, err := p.SuspendTenant(t.Context(), "acme", true); err != nil || after.State != controlplane.TenantSuspended {
		t.Errorf("suspend: %+v, %v", after, err)
	}
	if after, err := p.DeleteTenant(t.Context(), "acme", true); err != nil || after.State != controlplane.TenantDeleting {
		t.Errorf("delete: %+v, %v", after, err)
	}
	if after, err := p.ResumeTenant(t.Context(), "gone", true); err != nil || after.State != controlplane.TenantActive {
		t.Errorf("resume: %+v, %v", after, err)
	}
	if after, err := p.PurgeTenant(t.Context(), "gone", "gone", true); err != nil || after.State != controlplane.TenantDeleted {
		t.Errorf("purge: %+v, %v", after, err)
	}
	if diff := cmp.Diff(before, everything(t, p)); diff != "" {
		t.Errorf("the catalog (-before +after):\n%s", diff)
	}
}

// everything is what the catalog holds of tenants, and of what was done.
func everything(t *testing.T, p *controlplanetest.Plane) []string {
	t.Helper()
	conn := p.Catalog()
	defer conn.Close(t.Context())
	var all []string
	for _, table := range []string{"tenants", "placements", "credentials", "databases", "audit_records", "events", "clusters"} {
		rows, err := conn.Query(t.Context(), "SELECT '"+table+" ' || x::text FROM "+table+" x ORDER BY 1")
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var row string
			if err := rows.Scan(&row); err != nil {
				t.Fatal(err)
			}
			all = append(all, row)
		}
		if rows.Err() != nil {
			t.Fatal(rows.Err())
		}
	}
	return all
}

func TestSetMergesLabelsAndKeepsExternalIDsUnique(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Create(controlplane.NewTenant{Labels: controlplane.Labels{"ring": "a", "team": "blue"}}, "acme", "globex")
	tier, id := "gold", "customer-1"
	after, err := p.SetTenant(t.Context(), "acme", controlplane.TenantChange{Tier: &tier, ExternalID: &id, Labels: controlplane.Labels{"ring": "b", "team": "", "size": "xl"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(controlplane.Labels{"ring": "b", "size": "xl"}, after.Labels); diff != "" || after.Tier != tier || after.ExternalID != id {
		t.Errorf("tier %q, external id %q, labels (-want +got):\n%s", after.Tier, after.ExternalID, diff)
	}
	_, err = p.SetTenant(t.Context(), "globex", controlplane.TenantChange{ExternalID: &id})
	refusedWith(t, "an external id twice", err, controlplane.Conflict, "customer-1 is taken")
	long := strings.Repeat("x", 256)
	_, err = p.SetTenant(t.Context(), "globex", controlplane.TenantChange{ExternalID: &long})
	refusedWith(t, "a long external id", err, controlplane.Invalid, "external id")
	_, err = p.SetTenant(t.Context(), "globex", controlplane.TenantChange{Labels: controlplane.Labels{"Not-A-Key": "x"}})
	refusedWith(t, "a label", err, controlplane.Invalid, "Not-A-Key")
	_, err = p.SetTenant(t.Context(), "nobody", controlplane.TenantChange{Tier: &tier})
	refusedWith(t, "nobody", err, controlplane.NotFound, "there is no tenant nobody")
	nothing := ""
	if after, err = p.SetTenant(t.Context(), "acme", controlplane.TenantChange{Tier: &nothing, ExternalID: &nothing}); err != nil || after.Tier != "" || after.ExternalID != "" {
		t.Errorf("cleared: %+v, %v", after, err)
	}
	if _, err = p.SetTenant(t.Context(), "globex", controlplane.TenantChange{ExternalID: &id}); err != nil {
		t.Errorf("an external id that was given up: %v", err)
	}
}

func TestListSelectsSearchesAndPages(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Create(controlplane.NewTenant{Labels: controlplane.Labels{"ring": "a"}, Tier: "free"}, "acme-1", "acme-2", "acme-3")
	p.Create(controlplane.NewTenant{Labels: controlplane.Labels{"ring": "b"}, Tier: "pro", ExternalID: "Customer-77"}, "globex")
	p.Create(controlplane.NewTenant{}, "initech")
	for name, c := range map[string]struct {
		q    controlplane.TenantQuery
		want []string
	}{
		"all":                 {controlplane.TenantQuery{}, []string{"acme-1", "acme-2", "acme-3", "globex", "initech"}},
		"label":               {controlplane.TenantQuery{Select: `tenant.labels.ring == "a"`}, []string{"acme-1", "acme-2", "acme-3"}},
		"tier and not a slug": {controlplane.TenantQuery{Select: `tenant.tier == "free" && tenant.slug != "acme-2"`}, []string{"acme-1", "acme-3"}},
		"search a slug":       {controlplane.TenantQuery{Search: "CME-"}, []string{"acme-1", "acme-2", "acme-3"}},
		"search external id":  {controlplane.TenantQuery{Search: "customer-77"}, []string{"globex"}},
		"search a wildcard":   {controlplane.TenantQuery{Search: "%"}, []string{}},
		"search underscore":   {controlplane.TenantQuery{Search: "acme_1"}, []string{}},
		"search and select":   {controlplane.TenantQuery{Search: "acme", Select: `tenant.labels.ring == "b"`}, []string{}},
	} {
		if got := slugs(t, p, c.q); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, not %v", name, got, c.want)
		}
	}
	var paged []string
	q := controlplane.TenantQuery{Limit: 2}
	for pages := 0; ; pages++ {
		page, err := p.ListTenants(t.Context(), q)
		if err != nil || pages > 3 || len(page.Items) > 2 {
			t.Fatalf("page %d: %d tenants, %v", pages, len(page.Items), err)
		}
		for _, tenant := range page.Items {
			paged = append(paged, tenant.Slug)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	if want := []string{"acme-1", "acme-2", "acme-3", "globex", "initech"}; !slices.Equal(paged, want) {
		t.Errorf("pages: %v, not %v", paged, want)
	}
	_, err := p.ListTenants(t.Context(), controlplane.TenantQuery{Select: "tenant.slug > 3"})
	refusedWith(t, "a type error", err, controlplane.Invalid, "")
}
