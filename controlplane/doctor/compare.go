package doctor

import (
	"cmp"
	"slices"

	"github.com/manorhq/manor/controlplane"
)

// comparison is what is held together: what the catalog knew before and after
// the clusters were looked at, and what was found there. Whoever makes a home
// writes it down first, and forgets it last: what neither reading of the
// catalog knows is nobody's, and what both know alike and is not found is gone.
type comparison struct {
	before, after *known
	found         *found
	findings      []controlplane.Finding

	had, has map[string]*resident       // by id, before and after
	living   map[string][]*resident     // by database, after
	homes    map[string]map[string]bool // schemas by database, before or after
	names    map[string]map[string]bool // of databases by cluster, before or after

	orphans map[string]bool // schemas of homes without a tenant
}

func newComparison(before, after *known, f *found) *comparison {
	c := &comparison{before: before, after: after, found: f, findings: []controlplane.Finding{}, orphans: map[string]bool{}, had: byID(before), has: byID(after)}
	c.index()
	return c
}

// compare returns what is not as it should be. It is a pure function.
func (c *comparison) compare() []controlplane.Finding {
	for i := range c.after.clusters {
		c.cluster(&c.after.clusters[i])
	}
	c.loops()
	slices.SortStableFunc(c.findings, func(a, b controlplane.Finding) int {
		return cmp.Or(cmp.Compare(slices.Index(controlplane.FindingKinds, a.Kind), slices.Index(controlplane.FindingKinds, b.Kind)),
			cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Database, b.Database), cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Object, b.Object))
	})
	return c.findings
}

// stillMissed leaves out what could not be reached since it was being unmade.
func (c *comparison) stillMissed(all []missed) []missed {
	return slices.DeleteFunc(all, func(m missed) bool {
		d := c.after.databases[m.databaseID]
		return m.databaseID != "" && (d == nil || !c.lasts(d))
	})
}

func byID(k *known) map[string]*resident {
	m := make(map[string]*resident, len(k.residents))
	for i := range k.residents {
		m[k.residents[i].ID] = &k.residents[i]
	}
	return m
}

func (c *comparison) add(f controlplane.Finding) {
	c.findings = append(c.findings, f)
	if f.Kind == controlplane.FindingHomeWithoutTenant {
		c.orphans[f.Object] = true
	}
}

// cluster compares one that answered. What was found on a cluster that was
// removed meanwhile is of no interest.
func (c *comparison) cluster(cluster *controlplane.Cluster) {
	c.notes(cluster)
	seen := c.found.clusters[cluster.ID]
	if seen == nil {
		return
	}
	c.unknownDatabases(cluster, seen)
	for _, d := range c.after.databasesOf(cluster.ID, func(d *database) bool { return d.Ready && !d.scratch() }) {
		c.database(cluster, seen, d)
	}
	c.roles(cluster, seen)
}

func (c *comparison) index() {
	c.living, c.homes, c.names = map[string][]*resident{}, map[string]map[string]bool{}, map[string]map[string]bool{}
	for _, k := range []*known{c.before, c.after} {
		for i := range k.residents {
			put(c.homes, k.residents[i].DatabaseID, k.residents[i].Schema)
		}
		for _, d := range k.databases {
			put(c.names, d.ClusterID, d.Name)
		}
		for _, d := range k.copies {
			put(c.names, d.ClusterID, d.Name)
		}
	}
	for i := range c.after.residents {
		r := &c.after.residents[i]
		c.living[r.DatabaseID] = append(c.living[r.DatabaseID], r)
	}
}

func put(sets map[string]map[string]bool, key, value string) {
	if sets[key] == nil {
		sets[key] = map[string]bool{}
	}
	sets[key][value] = true
}

// resident is a tenant that the catalog knew, before or after.
func (c *comparison) resident(id string) *resident { return cmp.Or(c.has[id], c.had[id]) }

// lasts reports whether a database was there all the time: nobody was making or
// unmaking it.
func (c *comparison) lasts(d *database) bool {
	if c.before.databases[d.ID] == nil || !c.before.databases[d.ID].Ready || !d.Ready {
		return false
	}
	return !d.own() || slices.ContainsFunc(c.living[d.ID], func(r *resident) bool { return r.Settled && c.unchanged(r) })
}

// unchanged are tenants that nobody touched while the clusters were looked at.
func (c *comparison) unchanged(r *resident) bool {
	had := c.had[r.ID]
	return had != nil && had.UpdatedAt.Equal(r.UpdatedAt) && had.DatabaseID == r.DatabaseID
}

// rested are settled ones that no rollout was at work on either.
func (c *comparison) rested(r *resident) bool {
	return c.unchanged(r) && r.resting() && c.had[r.ID].resting()
}

// about is a finding about a tenant.
func (c *comparison) about(kind controlplane.FindingKind, r *resident) controlplane.Finding {
	f := controlplane.Finding{Kind: kind, Cluster: c.after.clusterName(r.ClusterID), Tenant: r.Slug, TenantID: r.ID, Object: r.Schema}
	if d := c.after.databases[r.DatabaseID]; d != nil {
		f.Database = d.Name
	}
	return f
}

// again are the findings that a second examination made too: what went on just
// then looks different by now.
func again(first, second []controlplane.Finding) []controlplane.Finding {
	type key struct {
		kind                                controlplane.FindingKind
		cluster, database, tenantID, object string
	}
	keyOf := func(f controlplane.Finding) key { return key{f.Kind, f.Cluster, f.Database, f.TenantID, f.Object} }
	seen := map[key]bool{}
	for _, f := range first {
		seen[keyOf(f)] = true
	}
	return slices.DeleteFunc(second, func(f controlplane.Finding) bool { return !seen[keyOf(f)] })
}
