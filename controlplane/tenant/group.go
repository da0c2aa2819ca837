package tenant

import (
	"cmp"
	"maps"
	"slices"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/pg"
)

// maxExamples is how many slugs a group names.
const maxExamples = 5

type groupKey struct {
	version, hash string
	major         int
}

// grouping collects tenants that share version, major and fingerprint.
type grouping map[groupKey]*controlplane.FingerprintGroup

func (g grouping) add(t controlplane.Tenant, print pg.Print, major int) {
	key := groupKey{t.Version, print.Hash, major}
	group := g[key]
	if group == nil {
		group = &controlplane.FingerprintGroup{Version: t.Version, Server: major, Fingerprint: print.Hash, Objects: print.Objects}
		g[key] = group
	}
	group.Tenants++
	group.Examples = append(group.Examples, t.Slug)
}

// sorted lists the groups, largest first within a version.
func (g grouping) sorted() []controlplane.FingerprintGroup {
	groups := []controlplane.FingerprintGroup{}
	for group := range maps.Values(g) {
		slices.Sort(group.Examples)
		group.Examples = group.Examples[:min(maxExamples, len(group.Examples))]
		groups = append(groups, *group)
	}
	slices.SortFunc(groups, func(a, b controlplane.FingerprintGroup) int {
		return cmp.Or(cmp.Compare(a.Version, b.Version), cmp.Compare(b.Tenants, a.Tenants), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	return groups
}
