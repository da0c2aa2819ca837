package rollout

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/manorhq/manor/controlplane"
)

func tenants(n int, change func(i int, t *controlplane.Tenant)) []*controlplane.Tenant {
	all := make([]*controlplane.Tenant, n)
	for i := range all {
		all[i] = &controlplane.Tenant{ID: fmt.Sprintf("ten_%d", i), Slug: fmt.Sprintf("acme-%03d", i), Labels: controlplane.Labels{}}
		change(i, all[i])
	}
	return all
}

func laid(t rapid.TB, s controlplane.Strategy, all []*controlplane.Tenant) []place {
	l, err := compileLayout(s.Filled())
	if err != nil {
		t.Fatal(err)
	}
	places, err := l.lay(all)
	if err != nil {
		t.Fatal(err)
	}
	return places
}

func TestFirstWaveThatMatchesTakesATenantAndTheLastTheRest(t *testing.T) {
	t.Parallel()
	all := tenants(20, func(i int, n *controlplane.Tenant) {
		n.Region = []string{"us", "eu"}[i%2]
		if i < 4 {
			n.Labels["ring"] = "canary"
		}
	})
	s := controlplane.Strategy{
		Waves: []controlplane.Wave{{Name: "canary", Match: `tenant.labels.ring == "canary"`}, {Name: "early", Percent: 10},
			{Name: "eu", Match: `tenant.region == "eu"`}, {Name: "rest", OrderBy: []string{"tenant.region", "tenant.labels.ring"}}},
		Windows: []controlplane.Window{{Match: `tenant.slug == "acme-001"`, Hours: "01:00-05:00"}, {Match: `tenant.region == "eu"`, Hours: "02:00-03:00"}},
	}
	places := laid(t, s, all)
	counts := map[int]int{}
	for i, p := range places {
		counts[p.wave]++
		if i < 4 && p.wave != 1 {
			t.Errorf("canary %s is in wave %d", all[i].Slug, p.wave)
		}
	}
	if counts[2] != 2 || counts[1]+counts[2]+counts[3]+counts[4] != 20 {
		t.Errorf("tenants by wave: %v", counts)
	}
	if places[1].window != 1 || places[3].window != 2 || places[2].window != 0 {
		t.Errorf("windows %d, %d, %d", places[1].window, places[3].window, places[2].window)
	}
	if places[0].rank != 0 {
		t.Error("a wave without an order has one")
	}
}

func TestLateTenantIsInNoWaveThatIsFull(t *testing.T) {
	t.Parallel()
	l, err := compileLayout(controlplane.Strategy{Waves: []controlplane.Wave{{Name: "early", Percent: 50},
		{Name: "canary", Match: `tenant.labels.ring == "canary"`}, {Name: "rest"}}})
	if err != nil {
		t.Fatal(err)
	}
	for ring, want := range map[string]int{"canary": 2, "other": 3} {
		p, err := l.one(&controlplane.Tenant{Slug: "late", Labels: controlplane.Labels{"ring": ring}})
		if err != nil || p.wave != want {
			t.Errorf("a late one of ring %s is in wave %d, not %d: %v", ring, p.wave, want, err)
		}
	}
}

// TestLayout checks for any strategy that every tenant has one place, that no
// wave holds more than its percentage, that ranks follow the order, and that
// none of it hangs on the order in which the tenants are read.
func TestLayout(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		all := tenants(rapid.IntRange(0, 40).Draw(t, "tenants"), func(i int, n *controlplane.Tenant) {
			n.Region = rapid.SampledFrom([]string{"", "eu", "us"}).Draw(t, "region")
			n.Tier = rapid.SampledFrom([]string{"free", "pro"}).Draw(t, "tier")
		})
		var s controlplane.Strategy
		for i := range rapid.IntRange(0, 4).Draw(t, "waves") {
			s.Waves = append(s.Waves, controlplane.Wave{Name: fmt.Sprint("w", i),
				Match:   rapid.SampledFrom([]string{"", `tenant.region == "eu"`, `tenant.tier == "pro"`, "false"}).Draw(t, "match"),
				Percent: rapid.SampledFrom([]float64{0, 0.1, 10, 33.3, 100}).Draw(t, "percent"),
				OrderBy: rapid.SampledFrom([][]string{nil, {"tenant.region"}, {"tenant.tier", "tenant.region"}}).Draw(t, "order")})
		}
		s.Waves = append(s.Waves, controlplane.Wave{Name: "rest"})
		places := laid(t, s, all)

		counts := map[int]int{}
		for i, p := range places {
			if p.wave < 1 || p.wave > len(s.Waves) {
				t.Fatalf("%s is in wave %d of %d", all[i].Slug, p.wave, len(s.Waves))
			}
			counts[p.wave]++
		}
		for i, w := range s.Waves {
			if most := int(math.Ceil(w.Percent/100*float64(len(all)) - 1e-9)); w.Percent > 0 && counts[i+1] > most {
				t.Errorf("wave %s of %g %% holds %d of %d", w.Name, w.Percent, counts[i+1], len(all))
			}
			follows(t, w, i+1, all, places)
		}
		shuffled := slices.Clone(all)
		slices.SortFunc(shuffled, func(a, b *controlplane.Tenant) int { return cmp.Compare(scatter(a), scatter(b)) })
		again := laid(t, s, shuffled)
		for i, n := range shuffled {
			if before := places[slices.Index(all, n)]; again[i] != before {
				t.Errorf("%s is at %+v or, read in another order, at %+v", n.Slug, before, again[i])
			}
		}
	})
}

// follows checks that the ranks of a wave follow its order.
func follows(t *rapid.T, w controlplane.Wave, number int, all []*controlplane.Tenant, places []place) {
	key := func(i int) string {
		var parts []string
		for _, by := range w.OrderBy {
			parts = append(parts, map[string]string{"tenant.region": all[i].Region, "tenant.tier": all[i].Tier}[by])
		}
		return strings.Join(parts, " ")
	}
	for i, p := range places {
		for j, q := range places {
			if p.wave != number || q.wave != number {
				continue
			}
			if len(w.OrderBy) == 0 && p.rank != 0 || len(w.OrderBy) > 0 && (p.rank < q.rank) != (i != j && cmp.Or(cmp.Compare(key(i), key(j)), cmp.Compare(all[i].Slug, all[j].Slug)) < 0) {
				t.Errorf("wave %s: %s has rank %d, %s %d", w.Name, all[i].Slug, p.rank, all[j].Slug, q.rank)
			}
		}
	}
}
