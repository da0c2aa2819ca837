package doctor

import (
	"fmt"
	"slices"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/pg"
)

// unknownDatabases finds databases that Manor made and nobody knows.
func (c *comparison) unknownDatabases(cluster *controlplane.Cluster, seen *onCluster) {
	for _, d := range seen.databases {
		stamp, stamped := seen.comments[d.Name]
		if !d.Ours || c.names[cluster.ID][d.Name] || stamped && stamp.Incarnation != c.after.incarnation {
			continue // somebody else's, ours, or another catalog's
		}
		f := controlplane.Finding{Kind: controlplane.FindingUnknownDatabase, Cluster: cluster.Name, Database: d.Name,
			Message: fmt.Sprintf("database %s was made by Manor, and the catalog does not know it", d.Name),
			Advice:  "it is another catalog's, or was left behind: look at it as " + d.Owner + ", and drop it by hand if it is to go"}
		if stamped {
			f.Kind, f.TenantID, f.Object = controlplane.FindingHomeWithoutTenant, stamp.TenantID, stamp.Schema
			f.Message = fmt.Sprintf("database %s is the home of a tenant %s that the catalog does not know", d.Name, stamp.Slug)
			f.Advice = "a catalog restored from a backup has lost it: look at it, and drop it by hand if it is to go"
		}
		c.add(f)
	}
}

// database compares one database with the tenants that are to live in it.
func (c *comparison) database(cluster *controlplane.Cluster, seen *onCluster, d *database) {
	living := c.living[d.ID]
	if !seen.has(d.Name) {
		if c.lasts(d) {
			c.add(controlplane.Finding{Kind: controlplane.FindingMissingDatabase, Cluster: cluster.Name, Database: d.Name,
				Message: fmt.Sprintf("database %s, home of %s, is not on the cluster", d.Name, count(len(living), "tenant")),
				Advice:  "restore it from a backup, under its name"})
		}
		return
	}
	inside := c.found.databases[d.ID]
	if inside == nil {
		return // not reached
	}
	markers := byTenant(inside.markers)
	for _, r := range living {
		if r.Settled && c.unchanged(r) {
			c.home(seen, inside, d, r, markers[r.ID])
		}
	}
	c.strangers(cluster, inside, d)
}

// home compares a settled tenant with its home.
func (c *comparison) home(seen *onCluster, inside *inDatabase, d *database, r *resident, marker pg.Stamp) {
	there := slices.ContainsFunc(inside.schemas, func(s pg.FoundSchema) bool { return s.Name == r.Schema })
	switch {
	case !there:
		f := c.about(controlplane.FindingTenantWithoutHome, r)
		f.Message = fmt.Sprintf("schema %s, the home of tenant %s, is not there", r.Schema, r.Slug)
		f.Advice = "restore it from a backup"
		c.add(f)
		return
	case marker.TenantID == "":
		f := c.about(controlplane.FindingMissingMarker, r)
		f.Message = fmt.Sprintf("schema %s has no marker: nothing proves that it is the home of tenant %s, and no rollout will touch it", r.Schema, r.Slug)
		f.Advice = "find out who removed the row from manor.marker, and put it back from a backup"
		c.add(f)
		return
	}
	if why := c.foreign(r, marker); why != "" {
		f := c.about(controlplane.FindingForeignMarker, r)
		f.Message = fmt.Sprintf("the marker of tenant %s names %s", r.Slug, why)
		f.Advice = "if this catalog was restored or copied, `manor catalog claim` makes the tenants its own"
		c.add(f)
		return
	}
	c.fence(r, marker)
	if c.rested(r) {
		c.version(seen, inside, d, r, marker)
		c.indexes(inside, r)
	}
}

// foreign says what a marker names that is not the tenant's home as the catalog
// knows it.
func (c *comparison) foreign(r *resident, m pg.Stamp) string {
	switch {
	case m.Incarnation != c.after.incarnation:
		return "another catalog"
	case m.Schema != r.Schema:
		return "another schema, " + m.Schema
	case m.Generation != r.Generation:
		return fmt.Sprintf("generation %d, not %d", m.Generation, r.Generation)
	}
	return ""
}

// fence finds markers that a later catalog than this one has worked on.
func (c *comparison) fence(r *resident, m pg.Stamp) {
	if m.Epoch <= c.after.epoch {
		return
	}
	f := c.about(controlplane.FindingEpochAhead, r)
	f.Message = fmt.Sprintf("tenant %s was worked on in epoch %d, and the catalog has only come to %d: it is older than its tenants", r.Slug, m.Epoch, c.after.epoch)
	f.Advice = "the catalog was restored from a backup: `manor catalog claim` makes the tenants its own"
	c.add(f)
}

// version compares catalog, stamp and revisions.
func (c *comparison) version(seen *onCluster, inside *inDatabase, d *database, r *resident, m pg.Stamp) {
	revision, there := inside.revisions[r.Schema]
	if !there {
		f := c.about(controlplane.FindingTenantWithoutHome, r)
		f.Message = fmt.Sprintf("schema %s, the home of tenant %s, has no revision table", r.Schema, r.Slug)
		f.Advice = "restore it from a backup"
		c.add(f)
		return
	}
	if revision.Partial != "" {
		f := c.about(controlplane.FindingHalfApplied, r)
		f.Message = fmt.Sprintf("version %s of tenant %s is applied only up to some statement", revision.Partial, r.Slug)
		f.Advice = "a rollout to that version goes on where it stopped"
		c.add(f)
	}
	if revision.Version != r.Version {
		f := c.about(controlplane.FindingVersion, r)
		f.Message = fmt.Sprintf("tenant %s is at %s by its revisions, and at %s in the catalog", r.Slug, named(revision.Version), named(r.Version))
		f.Remedy = "correct the catalog"
		c.add(f)
	}
	comment := seen.comments[d.Name] // a database gets it with its first version, and somebody may have taken it
	switch {
	case m.Version != revision.Version || d.own() && comment.Version != "" && comment.Version != revision.Version:
		f := c.about(controlplane.FindingStaleStamp, r)
		f.Message = fmt.Sprintf("the stamp of tenant %s says %s, its revisions say %s: another tool has migrated it", r.Slug, named(m.Version), named(revision.Version))
		f.Remedy = "stamp it with what its revisions say"
		c.add(f)
	case d.own() && comment.Version != revision.Version:
		f := c.about(controlplane.FindingStaleStamp, r)
		f.Message = fmt.Sprintf("the database of tenant %s has lost the comment that is its stamp", r.Slug)
		f.Remedy = "stamp it with what its revisions say"
		c.add(f)
	}
}

// indexes finds the invalid ones of a home that nobody is working on.
func (c *comparison) indexes(inside *inDatabase, r *resident) {
	for _, i := range inside.indexes {
		if i.Schema != r.Schema || i.InWork {
			continue
		}
		f := c.about(controlplane.FindingInvalidIndex, r)
		f.Object = i.Schema + "." + i.Index
		f.Message = fmt.Sprintf("index %s on table %s of tenant %s is invalid: it answers no query and slows down every write", i.Index, i.Table, r.Slug)
		f.Remedy = "drop it, without holding anybody up"
		f.Advice = "build it again where it is wanted"
		c.add(f)
	}
}

// strangers are homes and markers in a database that belong to no tenant there.
func (c *comparison) strangers(cluster *controlplane.Cluster, inside *inDatabase, d *database) {
	owned := c.homes[d.ID]
	marked := map[string]pg.Stamp{}
	for _, m := range inside.markers {
		marked[m.Schema] = m
	}
	for _, s := range inside.schemas {
		if !owned[s.Name] {
			c.add(c.orphan(cluster, d, s.Name, marked[s.Name]))
		}
		delete(marked, s.Name)
	}
	for schema, m := range marked {
		if owned[schema] {
			continue // a tenant's, whose home is gone
		}
		c.add(controlplane.Finding{Kind: controlplane.FindingMarkerWithoutHome, Cluster: cluster.Name, Database: d.Name, Tenant: m.Slug, TenantID: m.TenantID, Object: schema,
			Message: fmt.Sprintf("a marker names schema %s of tenant %s; neither is there", schema, m.Slug),
			Advice:  "delete the row from manor.marker by hand once nobody misses the tenant"})
	}
}

// orphan is a home in which no tenant lives.
func (c *comparison) orphan(cluster *controlplane.Cluster, d *database, schema string, m pg.Stamp) controlplane.Finding {
	f := controlplane.Finding{Kind: controlplane.FindingHomeWithoutTenant, Cluster: cluster.Name, Database: d.Name, Tenant: m.Slug, TenantID: m.TenantID, Object: schema,
		Message: fmt.Sprintf("schema %s belongs to no tenant, and has no marker", schema),
		Advice:  "look at it, and drop it by hand if it is to go"}
	if m.TenantID == "" {
		return f
	}
	f.Message = fmt.Sprintf("schema %s is the home of a tenant %s that the catalog does not know", schema, m.Slug)
	if c.resident(m.TenantID) != nil {
		f.Message = fmt.Sprintf("schema %s was the home of tenant %s, who lives elsewhere now", schema, m.Slug)
	}
	if m.Incarnation != c.after.incarnation {
		f.Message += "; its marker names another catalog"
	}
	return f
}

// named writes a version for people.
func named(version string) string {
	if version == "" {
		return "no version"
	}
	return "version " + version
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
