package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/manorhq/manor/controlplane"
)

// roles compares the roles of a cluster with those that the catalog knows.
func (c *comparison) roles(cluster *controlplane.Cluster, seen *onCluster) {
	there := map[string]bool{}
	for _, r := range seen.roles {
		there[r.Name] = r.Of != ""
	}
	c.missingRoles(cluster, there)
	had, has := namesOf(c.before), namesOf(c.after)
	families := map[string][]string{} // roles that nobody knows, by what they were made for
	for _, r := range seen.roles {
		if r.Of != "" && !had[r.Name] && !has[r.Name] {
			families[r.Of] = append(families[r.Of], r.Name)
		}
	}
	for _, of := range slices.Sorted(maps.Keys(families)) {
		if c.orphans[of] {
			continue // they belong to what is a finding already
		}
		c.family(cluster, seen, of, families[of])
	}
}

// missingRoles finds databases and settled tenants without one of their roles.
func (c *comparison) missingRoles(cluster *controlplane.Cluster, there map[string]bool) {
	for _, d := range c.after.databasesOf(cluster.ID, c.lasts) {
		for _, name := range []string{d.Owner, d.Connect} {
			if !there[name] {
				c.add(controlplane.Finding{Kind: controlplane.FindingMissingRole, Cluster: cluster.Name, Database: d.Name, Object: name,
					Message: fmt.Sprintf("role %s of database %s is not there, or not marked as Manor's", name, d.Name),
					Advice:  "nothing in the database can be changed without it: restore it from a backup of the cluster's roles"})
			}
		}
	}
	for i := range c.after.residents {
		r := &c.after.residents[i]
		if r.ClusterID != cluster.ID || !r.Settled || !c.unchanged(r) {
			continue
		}
		for _, name := range r.roles() {
			if !there[name] {
				f := c.about(controlplane.FindingMissingRole, r)
				f.Object = name
				f.Message = fmt.Sprintf("role %s of tenant %s is not there, or not marked as Manor's", name, r.Slug)
				f.Advice = "restore it from a backup of the cluster's roles"
				c.add(f)
			}
		}
	}
}

// family judges roles that were made for one home, or one database, that the
// catalog does not know. Those that hang on what is not ours to judge are left
// out: they may be another catalog's.
func (c *comparison) family(cluster *controlplane.Cluster, seen *onCluster, of string, names []string) {
	tied, ours := false, false
	for _, name := range names {
		t := seen.ties[name]
		tied = tied || t.Objects > 0
		for _, group := range t.MemberOf {
			if slices.Contains(names, group) {
				continue
			}
			if !c.isGroup(cluster.ID, group) {
				return
			}
			ours = true
		}
	}
	if tied && !ours {
		return // of an unknown database, which is a finding of its own, or of another catalog
	}
	for _, name := range names {
		f := controlplane.Finding{Kind: controlplane.FindingLeftoverRole, Cluster: cluster.Name, Object: name,
			Message: fmt.Sprintf("role %s was made for %s, which the catalog does not know", name, of)}
		if tied {
			f.Advice = "it has rights on something that is still there: DROP ROLE says on what"
		} else {
			f.Remedy = "drop it: it owns nothing and has rights on nothing"
		}
		c.add(f)
	}
}

// isGroup reports whether a role is the one by which the members of a database
// that the catalog knows may connect to it.
func (c *comparison) isGroup(clusterID, role string) bool {
	return len(c.after.databasesOf(clusterID, func(d *database) bool { return d.Connect == role })) > 0
}

// familyOf is what a leftover role was made for.
func familyOf(role string) string {
	for _, suffix := range []string{"_connect", "_app", "_a", "_b"} {
		if of, ok := strings.CutSuffix(role, suffix); ok {
			return of
		}
	}
	return role
}
