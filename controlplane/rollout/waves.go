package rollout

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math"
	"slices"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/selector"
)

// place is where a tenant comes in a rollout.
type place struct {
	wave   int // 1 is the first
	rank   int // in the order of its wave; 0: by slug
	window int // in which it may be worked on, 1 is the first; 0: at any time
}

// layout is a strategy as it places tenants, compiled.
type layout struct {
	waves   []waveLayout
	windows []*selector.Selector
}

type waveLayout struct {
	match   *selector.Selector
	percent float64
	order   *selector.Order
	ordered bool // by more than the slug
}

// compileLayout checks the expressions of a strategy.
func compileLayout(s controlplane.Strategy) (l layout, err error) {
	invalid := func(field string, err error) error {
		return controlplane.Errorf(controlplane.Invalid, "the strategy is not valid: %s: %w", field, err)
	}
	for i, w := range s.Waves {
		compiled := waveLayout{percent: w.Percent, ordered: len(w.OrderBy) > 0}
		if compiled.match, err = selector.Compile(w.Match); err != nil {
			return l, invalid(fmt.Sprintf("waves[%d].match", i), err)
		}
		if compiled.order, err = selector.CompileOrder(w.OrderBy); err != nil {
			return l, invalid(fmt.Sprintf("waves[%d].order_by", i), err)
		}
		l.waves = append(l.waves, compiled)
	}
	for i, w := range s.Windows {
		match, err := selector.Compile(w.Match)
		if err != nil {
			return l, invalid(fmt.Sprintf("windows[%d].match", i), err)
		}
		l.windows = append(l.windows, match)
	}
	return l, nil
}

// lay places tenants that belong together. A wave takes every tenant that it matches and
// that no wave before took; one with a percentage no more than that of them
// all, the same ones each time, from all over the fleet.
func (l layout) lay(tenants []*controlplane.Tenant) ([]place, error) {
	places := make([]place, len(tenants))
	for i, t := range tenants {
		window, err := l.window(t)
		if err != nil {
			return nil, err
		}
		places[i].window = window
	}
	for n, w := range l.waves {
		taken, err := w.take(tenants, places)
		if err != nil {
			return nil, err
		}
		for rank, i := range taken {
			places[i].wave = n + 1
			if w.ordered {
				places[i].rank = rank + 1
			}
		}
	}
	return places, nil
}

// placeAll places the targets of a rollout. A percentage is of those that are to
// be changed; where the others stand in line does not matter.
func (l layout) placeAll(targets []frozen) (err error) {
	var open []*controlplane.Tenant
	var at []int
	for i := range targets {
		t := &targets[i]
		if t.status.Done() {
			if t.place, err = l.one(&t.tenant); err != nil {
				return err
			}
			continue
		}
		open, at = append(open, &t.tenant), append(at, i)
	}
	places, err := l.lay(open)
	for i, p := range places {
		targets[at[i]].place = p
	}
	return err
}

// one places a tenant that joins late: not in a wave that is full by its
// percentage.
func (l layout) one(t *controlplane.Tenant) (place, error) {
	window, err := l.window(t)
	if err != nil {
		return place{}, err
	}
	for n, w := range l.waves {
		matches, err := w.match.Matches(t)
		if err != nil {
			return place{}, err
		}
		if matches && w.percent == 0 {
			return place{wave: n + 1, window: window}, nil
		}
	}
	return place{wave: max(1, len(l.waves)), window: window}, nil
}

func (l layout) window(t *controlplane.Tenant) (int, error) {
	for n, w := range l.windows {
		if matches, err := w.Matches(t); err != nil || matches {
			return n + 1, err
		}
	}
	return 0, nil
}

// take are the tenants of a wave, by index, in its order: those that it matches
// and that have no place yet.
func (w waveLayout) take(tenants []*controlplane.Tenant, places []place) ([]int, error) {
	var taken []int
	keys := map[int][]string{}
	for i, t := range tenants {
		if places[i].wave > 0 {
			continue
		}
		matches, err := w.match.Matches(t)
		if err != nil {
			return nil, err
		}
		if !matches {
			continue
		}
		if keys[i], err = w.order.Key(t); err != nil {
			return nil, err
		}
		taken = append(taken, i)
	}
	byKey := func(a, b int) int {
		return cmp.Or(slices.Compare(keys[a], keys[b]), cmp.Compare(tenants[a].Slug, tenants[b].Slug))
	}
	if w.percent > 0 {
		choose := byKey
		if !w.ordered {
			choose = func(a, b int) int { return cmp.Compare(scatter(tenants[a]), scatter(tenants[b])) }
		}
		slices.SortFunc(taken, choose)
		taken = taken[:min(len(taken), int(math.Ceil(w.percent/100*float64(len(tenants))-1e-9)))]
	}
	slices.SortFunc(taken, byKey)
	return taken, nil
}

// scatter is a number that has nothing to do with where a tenant is.
func scatter(t *controlplane.Tenant) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(t.ID)) // never fails
	return h.Sum64()
}
