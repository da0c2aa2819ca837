package selector_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/selector"
)

var update = flag.Bool("update", false, "write the golden files anew")

var acme = &controlplane.Tenant{
	Slug: "acme", ExternalID: "cus_1", Tier: "pro", Region: "eu", Isolation: controlplane.IsolationSchema, Cluster: "eu-1",
	Version: "20260105090000", Release: "v1", State: controlplane.TenantActive, Labels: controlplane.Labels{"ring": "canary"},
}

func matches(t *testing.T, expr string, tenant *controlplane.Tenant) bool {
	t.Helper()
	s, err := selector.Compile(expr)
	if err != nil {
		t.Fatal(err)
	}
	ok, err := s.Matches(tenant)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func TestExpressionsSeeTenantsByTheNamesOfTheirJSON(t *testing.T) {
	for expr, want := range map[string]bool{
		"":                                  true,
		" \n":                               true,
		`true`:                              true,
		`tenant.slug == "acme"`:             true,
		`tenant.slug.startsWith("b")`:       false,
		`tenant.slug in ["acme", "globex"]`: true,
		`tenant.external_id == "cus_1"`:     true,
		`tenant.tier == "pro" && tenant.region == "us"`: false,
		`tenant.tier == "pro" || tenant.region == "us"`: true,
		`tenant.isolation == "schema"`:                  true,
		`tenant.cluster.matches("^eu-[0-9]$")`:          true,
		`tenant.version < "20260601000000"`:             true,
		`tenant.release == "v1"`:                        true,
		`tenant.state != "suspended"`:                   true,
		`has(tenant.tier)`:                              true,
		`tenant.labels.ring == "canary"`:                true,
		`tenant.labels["ring"] == "rest"`:               false,
		`size(tenant.labels) == 1`:                      true,
		`tenant.labels.exists(k, k == "ring")`:          true,
	} {
		if got := matches(t, expr, acme); got != want {
			t.Errorf("%s is %v", expr, got)
		}
	}
}

func TestMissingLabelIsNoMatch(t *testing.T) {
	bare := &controlplane.Tenant{Slug: "bare"} // labels nil
	for expr, want := range map[string]bool{
		`tenant.labels.ring == "canary"`:                           false,
		`tenant.labels.ring != "canary"`:                           false, // not comparable, so not selected
		`!has(tenant.labels.ring)`:                                 true,
		`!has(tenant.labels.ring) || tenant.labels.ring == "rest"`: true,
		`tenant.labels.ring == "canary" || tenant.slug == "bare"`:  true,
		`has(tenant.tier)`:                                         false,
		`tenant.tier == ""`:                                        true,
	} {
		if got := matches(t, expr, bare); got != want {
			t.Errorf("%s is %v", expr, got)
		}
	}
}

func TestBadExpressionsAreShownWithTheirPlace(t *testing.T) {
	var got strings.Builder
	for _, expr := range []string{
		`tenant.slgu == "acme"`,
		`tenant.slug == 3`,
		`tenant.slug = "acme"`,
		`tenant.slug == "acme`,
		"tenant.tier == \"pro\" &&\n  tenant.lables.ring == \"canary\"",
		`tennant.slug == "acme"`,
		`slug == "acme"`,
		`tenant.slug`,
		`tenant`,
		`tenant.labels.ring == 1 && tenant.nope == 2`,
		`tenant.slug.matches("[")`,
		`tenant.slug.frobnicate()`,
		`1 +`,
		`tenant.slug == "ä" && tenant.nope == "x"`,
		strings.Repeat("x", 5000),
	} {
		_, err := selector.Compile(expr)
		e, ok := errors.AsType[*controlplane.Error](err)
		if !ok || e.Code != controlplane.Invalid {
			t.Errorf("%.60q: %v; want it invalid", expr, err)
			continue
		}
		fmt.Fprintf(&got, "%.80s\n→ %s\nhint: %s\n\n", expr, e.Message, e.Hint)
	}
	golden(t, "testdata/errors.golden", got.String())
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

func TestExpressionThatFailsOnATenantSaysWhichOne(t *testing.T) {
	labels := controlplane.Labels{}
	for i := range 200 {
		labels[fmt.Sprint("l", i)] = "x"
	}
	for expr, says := range map[string]string{
		`int(tenant.tier) > 3`: "type conversion",
		`tenant.labels.all(a, tenant.labels.all(b, tenant.labels.all(c, a != "" || b != c)))`: "cost",
	} {
		s, err := selector.Compile(expr)
		if err != nil {
			t.Fatal(err)
		}
		ok, err := s.Matches(&controlplane.Tenant{Slug: "acme", Tier: "pro", Labels: labels})
		if ok || controlplane.CodeOf(err) != controlplane.Invalid || !strings.Contains(err.Error(), "acme") || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, %v", expr, ok, err)
		}
	}
}

func FuzzCompileNeverPanics(f *testing.F) {
	f.Add(`tenant.labels.ring == "canary" && tenant.tier in ["a"]`)
	f.Add(`tenant.slug == "` + "\n\t\x00" + `ä`)
	f.Add(`tenant == tenant`)
	f.Fuzz(func(t *testing.T, expr string) {
		s, err := selector.Compile(expr)
		if err != nil {
			if controlplane.CodeOf(err) != controlplane.Invalid {
				t.Fatal(err)
			}
			return
		}
		_, _ = s.Matches(acme)
	})
}

func BenchmarkMatches(b *testing.B) {
	s, err := selector.Compile(`tenant.labels.ring == "canary" && tenant.tier == "pro"`)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		_, _ = s.Matches(acme)
	}
}
