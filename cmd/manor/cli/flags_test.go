package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/selector"
)

func TestLabelsAndExpressionBecomeOneSelector(t *testing.T) {
	for want, s := range map[string]selection{
		"":                                {},
		`tenant.tier == "pro"`:            {expr: `tenant.tier == "pro"`},
		`tenant.labels.ring == "canary"`:  {labels: []string{"ring=canary"}},
		`tenant.labels["in"] == "x"`:      {labels: []string{"in=x"}},
		`tenant.labels.note == "a \"b\""`: {labels: []string{`note=a "b"`}},
		`tenant.labels.list == "a,b"`:     {labels: []string{"list=a,b"}},
		`tenant.labels.a == "1" && tenant.labels.b == "2"`:              {labels: []string{"b=2,a=1"}},
		`(tenant.tier == "a" || true) && tenant.labels.ring == "other"`: {expr: `tenant.tier == "a" || true`, labels: []string{"ring=other"}},
		"(true // all\n) && tenant.labels.ring == \"a\"":                {expr: "true // all", labels: []string{"ring=a"}},
	} {
		if got, err := s.expression(); err != nil || got != want {
			t.Errorf("%+v: got %q, %v, want %q", s, got, err, want)
		}
	}
}

func TestLabelsSelectExactlyTheTenantsThatCarryThemAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, value := rapid.SampledFrom([]string{"a", "b", "in", "for", "null"}), rapid.StringN(1, 20, 60)
		given := rapid.MapOf(key, value).Draw(t, "given")
		wanted := rapid.MapOf(key, value.Filter(func(v string) bool { return !strings.ContainsAny(v, ",=") })).Draw(t, "wanted")
		want, labels := true, []string(nil)
		for k, v := range wanted {
			if rapid.Bool().Draw(t, "hit") {
				given[k] = v
			}
			labels = append(labels, k+"="+v)
		}
		for k, v := range wanted {
			want = want && given[k] == v
		}
		expr, err := (&selection{labels: labels}).expression()
		if err != nil {
			t.Fatal(err)
		}
		s, err := selector.Compile(expr)
		if err != nil {
			t.Fatalf("%s: %v", expr, err)
		}
		if got, err := s.Matches(&controlplane.Tenant{Labels: given}); err != nil || got != want {
			t.Fatalf("%s on %q: %v, %v", expr, given, got, err)
		}
	})
}

func TestBadLabelsAreNamed(t *testing.T) {
	for _, bad := range [][]string{{"ring"}, {"=x"}, {"Ring=x"}, {"a=1", "a=2"}} {
		if _, err := parseLabels(bad); controlplane.CodeOf(err) != controlplane.Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestCollectReadsAllPagesOrAsManyAsAsked(t *testing.T) {
	pages := map[string]controlplane.Page[int]{
		"": {Items: []int{1, 2, 3}, Next: "3"}, "3": {Items: []int{4, 5, 6}, Next: "6"}, "6": {Items: []int{7}},
	}
	fetch := func(cursor string, limit int) (controlplane.Page[int], error) {
		p := pages[cursor]
		if n := min(limit, len(p.Items)); n < len(p.Items) {
			p.Items, p.Next = p.Items[:n], "more"
		}
		return p, nil
	}
	for limit, want := range map[int]controlplane.Page[int]{
		0: {Items: []int{1, 2, 3, 4, 5, 6, 7}}, 2: {Items: []int{1, 2}, Next: "more"}, 3: {Items: []int{1, 2, 3}, Next: "3"},
		5: {Items: []int{1, 2, 3, 4, 5}, Next: "more"}, 100: {Items: []int{1, 2, 3, 4, 5, 6, 7}},
	} {
		got, err := collect("", limit, fetch)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("limit %d: %v %s", limit, err, diff)
		}
	}
}

func TestRowsOfAFileAreFilledFromFlags(t *testing.T) {
	rows, err := tenantsFromCSV([]byte("slug,isolation,tier,labels\nacme,database,,ring=canary;size=l\nglobex,,pro,\n"))
	if err != nil {
		t.Fatal(err)
	}
	common := controlplane.NewTenant{Isolation: "schema", Tier: "free", Labels: controlplane.Labels{"ring": "rest"}}
	for i := range rows {
		fill(&rows[i], common)
	}
	want := []controlplane.NewTenant{
		{Slug: "acme", Isolation: "database", Tier: "free", Labels: controlplane.Labels{"ring": "canary", "size": "l"}},
		{Slug: "globex", Isolation: "schema", Tier: "pro", Labels: controlplane.Labels{"ring": "rest"}},
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Error(diff)
	}
}
