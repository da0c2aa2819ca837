package doctor

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/pg"
)

// world is what is compared: a cluster with a shared database, in which acme
// lives, and globex's own. As it is made, all is as it should be.
type world struct {
	before, after *known
	found         *found
}

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func newWorld() *world {
	w := &world{before: newKnown(), after: newKnown(), found: &found{clusters: map[string]*onCluster{}, databases: map[string]*inDatabase{}}}
	cluster := &onCluster{databases: map[string]pg.FoundDatabase{}, ties: map[string]pg.Ties{}, comments: map[string]pg.Stamp{}}
	w.found.clusters["c"] = cluster
	for name := range namesOf(w.after) {
		cluster.roles = append(cluster.roles, pg.FoundRole{Name: name, Of: familyOf(name)})
	}
	for _, d := range w.after.databases {
		cluster.databases[d.Name] = pg.FoundDatabase{Name: d.Name, Owner: d.Owner, Ours: true}
		w.found.databases[d.ID] = &inDatabase{revisions: map[string]pg.Revision{}}
	}
	for i := range w.after.residents {
		r := &w.after.residents[i]
		in := w.found.databases[r.DatabaseID]
		in.schemas = append(in.schemas, pg.FoundSchema{Name: r.Schema, Ours: true})
		in.revisions[r.Schema] = pg.Revision{Version: r.Version}
		stamp := pg.Stamp{Version: r.Version, Marker: pg.Marker{TenantID: r.ID, Slug: r.Slug, Schema: r.Schema, Incarnation: "here", Generation: 1, Epoch: 7}}
		in.markers = append(in.markers, stamp)
		if r.Isolation == controlplane.IsolationDatabase {
			cluster.comments[r.Schema] = stamp
		}
	}
	return w
}

func newKnown() *known {
	k := &known{at: noon, incarnation: "here", epoch: 9, clusters: []controlplane.Cluster{{ID: "c", Name: "east"}},
		databases: map[string]*database{
			"d_1": {ID: "d_1", ClusterID: "c", Name: "manor_shared_001", Isolation: "schema", Owner: "o_1", Connect: "o_1_connect", Ready: true},
			"d_2": {ID: "d_2", ClusterID: "c", Name: "t_globex", Isolation: "database", Owner: "o_2", Connect: "o_2_connect", Ready: true},
		},
		releases: []pushed{{ID: "v1", Hash: "h1", Versions: []controlplane.Version{{Version: "1"}, {Version: "2"}}},
			{ID: "v2", Hash: "h2", Versions: []controlplane.Version{{Version: "1"}, {Version: "2"}, {Version: "3"}}}}}
	for slug, at := range map[string]string{"acme": "d_1", "globex": "d_2"} {
		isolation := controlplane.IsolationSchema
		if at == "d_2" {
			isolation = controlplane.IsolationDatabase
		}
		k.residents = append(k.residents, resident{ID: "ten_" + slug, Slug: slug, State: controlplane.TenantActive, Settled: true, Isolation: isolation,
			Version: "2", ReleaseID: "v1", WantedAt: noon.Add(-time.Hour), UpdatedAt: noon.Add(-time.Hour), ClusterID: "c", DatabaseID: at, Schema: "t_" + slug,
			Role: "t_" + slug + "_app", Logins: controlplane.Logins{"t_" + slug + "_a", "t_" + slug + "_b"}, Generation: 1})
	}
	return k
}

func (k *known) tenant(slug string) *resident {
	return &k.residents[slices.IndexFunc(k.residents, func(r resident) bool { return r.Slug == slug })]
}

// both changes what the catalog says before and after.
func (w *world) both(f func(k *known)) { f(w.before); f(w.after) }

func (w *world) inside(id string) *inDatabase { return w.found.databases[id] }
func (w *world) east() *onCluster             { return w.found.clusters["c"] }

func (w *world) dropRole(name string) {
	w.east().roles = slices.DeleteFunc(w.east().roles, func(r pg.FoundRole) bool { return r.Name == name })
}

func (w *world) addRoles(of string, ties pg.Ties, names ...string) {
	for _, name := range names {
		w.east().roles = append(w.east().roles, pg.FoundRole{Name: name, Of: of})
		w.east().ties[name] = ties
	}
}

func TestCompare(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*world)
		want   []string // kind, tenant, object, whether there is a remedy
	}{
		"all is as it should be": {func(*world) {}, nil},

		// On the cluster and not in the catalog.
		"a schema with the marker of nobody": {func(w *world) {
			in := w.inside("d_1")
			in.schemas = append(in.schemas, pg.FoundSchema{Name: "t_lost"})
			in.markers = append(in.markers, pg.Stamp{Marker: pg.Marker{TenantID: "ten_lost", Slug: "lost", Schema: "t_lost", Incarnation: "here"}})
			w.addRoles("t_lost", pg.Ties{Objects: 3, MemberOf: []string{"o_1_connect"}}, "t_lost_app") // goes with its home
		}, []string{"home_without_tenant lost t_lost"}},
		"a schema without a marker": {func(w *world) {
			w.inside("d_1").schemas = append(w.inside("d_1").schemas, pg.FoundSchema{Name: "t_lost"})
		}, []string{"home_without_tenant  t_lost"}},
		"the home that a tenant had elsewhere": {func(w *world) {
			in := w.inside("d_1")
			in.schemas = append(in.schemas, pg.FoundSchema{Name: "t_old"})
			in.markers = append(in.markers, pg.Stamp{Marker: pg.Marker{TenantID: "ten_globex", Slug: "globex", Schema: "t_old", Incarnation: "here"}})
		}, []string{"home_without_tenant globex t_old"}},
		"a home that is being made: its tenant is in the catalog afterwards": {func(w *world) {
			w.inside("d_1").schemas = append(w.inside("d_1").schemas, pg.FoundSchema{Name: "t_new"})
			w.after.residents = append(w.after.residents, resident{ID: "ten_new", DatabaseID: "d_1", ClusterID: "c", Schema: "t_new", WantedAt: noon, UpdatedAt: noon})
		}, nil},
		"a home that is being unmade: its tenant was in the catalog before": {func(w *world) {
			w.after.residents = slices.DeleteFunc(w.after.residents, func(r resident) bool { return r.Slug == "acme" })
		}, nil},
		"a marker of a schema that is gone": {func(w *world) {
			w.inside("d_1").markers = append(w.inside("d_1").markers, pg.Stamp{Marker: pg.Marker{TenantID: "ten_lost", Slug: "lost", Schema: "t_lost"}})
		}, []string{"marker_without_home lost t_lost"}},
		"a database of ours": {func(w *world) {
			w.east().databases["manor_shared_002"] = pg.FoundDatabase{Name: "manor_shared_002", Owner: "o_x", Ours: true}
			w.addRoles("o_x", pg.Ties{Objects: 1}, "o_x")
		}, []string{"unknown_database  "}},
		"a database of somebody else": {func(w *world) {
			w.east().databases["manor_shared_002"] = pg.FoundDatabase{Name: "manor_shared_002", Owner: "x"}
		}, nil},
		"the database of a tenant that the catalog has lost": {func(w *world) {
			w.east().databases["t_lost"] = pg.FoundDatabase{Name: "t_lost", Owner: "o_x", Ours: true}
			w.east().comments["t_lost"] = pg.Stamp{Marker: pg.Marker{TenantID: "ten_lost", Slug: "lost", Schema: "t_lost", Incarnation: "here"}}
		}, []string{"home_without_tenant  t_lost"}},
		"the database of another catalog's tenant": {func(w *world) {
			w.east().databases["t_lost"] = pg.FoundDatabase{Name: "t_lost", Owner: "o_x", Ours: true}
			w.east().comments["t_lost"] = pg.Stamp{Marker: pg.Marker{TenantID: "ten_lost", Slug: "lost", Schema: "t_lost", Incarnation: "there"}}
		}, nil},
		"a database that is being made": {func(w *world) {
			w.east().databases["manor_shared_002"] = pg.FoundDatabase{Name: "manor_shared_002", Owner: "control", Ours: true}
			w.after.databases["d_3"] = &database{ID: "d_3", ClusterID: "c", Name: "manor_shared_002", Isolation: "schema", Owner: "o_3", Connect: "o_3_connect"}
		}, nil},
		"roles on which nothing hangs": {func(w *world) { w.addRoles("t_lost", pg.Ties{}, "t_lost_a", "t_lost_app") },
			[]string{"leftover_role  t_lost_a mends", "leftover_role  t_lost_app mends"}},
		"a role of ours on which something hangs": {func(w *world) {
			w.addRoles("t_lost", pg.Ties{Objects: 1, MemberOf: []string{"o_1_connect"}}, "t_lost_app")
			w.addRoles("t_lost", pg.Ties{MemberOf: []string{"t_lost_app"}}, "t_lost_a")
		}, []string{"leftover_role  t_lost_a", "leftover_role  t_lost_app"}},
		"roles of another catalog's tenant": {func(w *world) {
			w.addRoles("t_theirs", pg.Ties{MemberOf: []string{"o_theirs_connect"}}, "t_theirs_app")
			w.addRoles("t_theirs", pg.Ties{MemberOf: []string{"t_theirs_app"}}, "t_theirs_a")
		}, nil},
		"a role that is not marked as ours": {func(w *world) { w.addRoles("", pg.Ties{}, "t_lost_a") }, nil},
		"roles of a tenant that is being made": {func(w *world) {
			w.addRoles("t_new", pg.Ties{}, "t_new_app")
			w.after.residents = append(w.after.residents, resident{ID: "ten_new", DatabaseID: "d_1", ClusterID: "c", Schema: "t_new", Role: "t_new_app", WantedAt: noon, UpdatedAt: noon})
		}, nil},

		// In the catalog and not on the cluster.
		"a tenant's schema is gone":         {func(w *world) { w.inside("d_1").schemas = nil }, []string{"tenant_without_home acme t_acme"}},
		"its revision table is gone":        {func(w *world) { w.inside("d_1").revisions = nil }, []string{"tenant_without_home acme t_acme"}},
		"its marker is gone":                {func(w *world) { w.inside("d_1").markers = nil }, []string{"missing_marker acme t_acme"}},
		"its database is gone":              {func(w *world) { delete(w.east().databases, "t_globex"); delete(w.found.databases, "d_2") }, []string{"missing_database  "}},
		"one of its logins is gone":         {func(w *world) { w.dropRole("t_acme_b") }, []string{"missing_role acme t_acme_b"}},
		"the owner of its database is gone": {func(w *world) { w.dropRole("o_1") }, []string{"missing_role  o_1"}},
		"a tenant that is being unmade": {func(w *world) {
			r := w.after.tenant("globex")
			r.Settled, r.UpdatedAt, r.WantedAt = false, noon, noon
			delete(w.east().databases, "t_globex")
			delete(w.found.databases, "d_2")
			for _, name := range []string{"o_2", "o_2_connect", "t_globex_a", "t_globex_b", "t_globex_app"} {
				w.dropRole(name)
			}
		}, nil},
		"a tenant that was changed meanwhile": {func(w *world) {
			w.after.tenant("acme").UpdatedAt = noon
			w.inside("d_1").schemas = nil
		}, nil},
		"a cluster that does not answer":  {func(w *world) { delete(w.found.clusters, "c"); w.found.databases = nil }, nil},
		"a database that does not answer": {func(w *world) { delete(w.found.databases, "d_1") }, nil},

		// Not as it should be.
		"the marker names another generation": {func(w *world) { w.inside("d_1").markers[0].Generation = 2 }, []string{"foreign_marker acme t_acme"}},
		"the marker names another catalog":    {func(w *world) { w.inside("d_1").markers[0].Incarnation = "there" }, []string{"foreign_marker acme t_acme"}},
		"a later epoch":                       {func(w *world) { w.inside("d_1").markers[0].Epoch = 10 }, []string{"epoch_ahead acme t_acme"}},
		"the catalog is behind": {func(w *world) {
			w.inside("d_1").revisions["t_acme"] = pg.Revision{Version: "3"}
			w.inside("d_1").markers[0].Version = "3"
		}, []string{"version_differs acme t_acme mends"}},
		"another tool has migrated": {func(w *world) { w.inside("d_1").revisions["t_acme"] = pg.Revision{Version: "3"} },
			[]string{"version_differs acme t_acme mends", "stale_stamp acme t_acme mends"}},
		"the stamp is outdated":     {func(w *world) { w.inside("d_1").markers[0].Version = "1" }, []string{"stale_stamp acme t_acme mends"}},
		"the comment is outdated":   {func(w *world) { w.east().comments["t_globex"] = pg.Stamp{Version: "1"} }, []string{"stale_stamp globex t_globex mends"}},
		"some statements of a file": {func(w *world) { w.inside("d_1").revisions["t_acme"] = pg.Revision{Version: "2", Partial: "3"} }, []string{"half_applied acme t_acme"}},
		"an invalid index": {func(w *world) {
			w.inside("d_1").indexes = []pg.InvalidIndex{{Schema: "t_acme", Index: "i", Table: "n"}}
		}, []string{"invalid_index acme t_acme.i mends"}},
		"an index that is being built": {func(w *world) {
			w.inside("d_1").indexes = []pg.InvalidIndex{{Schema: "t_acme", Index: "i", Table: "n", InWork: true}}
		}, nil},
		"a rollout is at work on the tenant": {func(w *world) {
			w.after.tenant("acme").Rollout = "r_1"
			w.inside("d_1").revisions["t_acme"] = pg.Revision{Version: "3", Partial: "4"}
			w.inside("d_1").indexes = []pg.InvalidIndex{{Schema: "t_acme", Index: "i", Table: "n"}}
		}, nil},
		"a rollout was at work on the tenant": {func(w *world) {
			w.before.tenant("acme").Rollout = "r_1"
			w.inside("d_1").indexes = []pg.InvalidIndex{{Schema: "t_acme", Index: "i", Table: "n"}}
		}, nil},

		// In the catalog's own rows.
		"a lease that ran out": {func(w *world) {
			w.after.leases = []lease{{Rollout: "r_1", Batch: 2, Cluster: "c", Worker: "host/1", Until: noon.Add(-time.Minute)}}
		}, []string{"expired_lease  r_1/2 mends"}},
		"a worker that fell silent": {func(w *world) { w.after.workers = []worker{{ID: "host/1", SeenAt: noon.Add(-time.Minute)}} }, []string{"silent_worker  host/1"}},
		"a tenant that nobody works on": {func(w *world) {
			w.both(func(k *known) { k.tenant("acme").Settled = false })
		}, []string{"unsettled_tenant acme t_acme mends"}},
		"one that somebody works on": {func(w *world) {
			w.both(func(k *known) {
				r := k.tenant("acme")
				r.Settled, r.Attended, r.WantedAt = false, true, noon.Add(-2*grace+time.Second)
			})
		}, nil},
		"a tenant that was only just touched": {func(w *world) {
			w.both(func(k *known) {
				r := k.tenant("acme")
				r.Settled, r.UpdatedAt, r.WantedAt = false, noon.Add(-grace/2), noon.Add(-grace/2)
			})
		}, nil},
		"a tenant that is stuck": {func(w *world) {
			w.both(func(k *known) {
				r := k.tenant("acme")
				r.State, r.Settled, r.UpdatedAt = controlplane.TenantProvisioning, false, noon
			})
		}, []string{"stuck_tenant acme t_acme"}},
		"a suspension that fails again and again": {func(w *world) {
			w.both(func(k *known) {
				r := k.tenant("acme")
				r.State, r.Settled, r.Attended, r.UpdatedAt = controlplane.TenantSuspended, false, true, noon
			})
		}, []string{"stuck_tenant acme t_acme"}},
		"one that somebody has only just asked for": {func(w *world) {
			w.both(func(k *known) {
				r := k.tenant("acme")
				r.State, r.Settled, r.Attended, r.UpdatedAt, r.WantedAt = controlplane.TenantSuspended, false, true, noon, noon
			})
		}, nil},
		"an alarm": {func(w *world) {
			w.after.clusters[0].Flow.Alarm = &controlplane.Alarm{Message: "no room", Since: noon}
		}, []string{"alarm  "}},
		"what is not hardened": {func(w *world) { w.after.clusters[0].Skipped = []string{"REVOKE x"} }, []string{"missing_hardening  REVOKE x"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			c.change(w)
			var got []string
			for _, f := range newComparison(w.before, w.after, w.found).compare() {
				line := fmt.Sprintf("%s %s %s", f.Kind, f.Tenant, f.Object)
				if f.Remedy != "" {
					line += " mends"
				}
				if got = append(got, line); f.Message == "" || f.Advice == "" && f.Remedy == "" || f.Note != (f.Kind == controlplane.FindingHardening) {
					t.Errorf("it says too little: %+v", f)
				}
				if remedies[f.Kind] == nil && f.Remedy != "" {
					t.Errorf("nobody knows the remedy of %s", f.Kind)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOnlyWhatIsFoundTwiceIsAFinding(t *testing.T) {
	lost := controlplane.Finding{Kind: controlplane.FindingHomeWithoutTenant, Cluster: "east", Object: "t_lost"}
	other := lost
	other.Object = "t_other"
	if got := again([]controlplane.Finding{lost}, []controlplane.Finding{other, lost}); len(got) != 1 || got[0].Object != "t_lost" {
		t.Errorf("got %+v", got)
	}
}

func TestEveryKindOfFindingHasItsPlace(t *testing.T) {
	for kind := range remedies {
		if !slices.Contains(controlplane.FindingKinds, kind) {
			t.Errorf("%s is not among the kinds", kind)
		}
	}
	for _, kind := range lasting {
		if !slices.Contains(controlplane.FindingKinds, kind) {
			t.Errorf("%s is not among the kinds", kind)
		}
	}
}

func TestReleaseOfATenantThatTurnedOutToBeElsewhere(t *testing.T) {
	k := newKnown()
	for name, c := range map[string]struct{ version, stamped, hash, current, want string }{
		"an empty home":                          {"", "2", "h1", "v1", ""},
		"the stamp says it":                      {"2", "2", "h2", "v1", "v2"},
		"the stamp is of another version":        {"2", "1", "h2", "v1", "v1"},
		"the stamp's release is not known":       {"2", "2", "h9", "v1", "v1"},
		"only another release holds the version": {"3", "2", "h1", "v1", "v2"},
		"no release holds the version":           {"9", "9", "h1", "v1", ""},
	} {
		if got := k.releaseOf(c.version, c.stamped, c.hash, c.current); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestWeigh(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*known, *stamps)
		want   string // tenants, agree, at work, the doubts
	}{
		"all agree": {func(*known, *stamps) {}, "2 2 0"},
		"a stamp with another version": {func(_ *known, s *stamps) {
			m := s.markers["d_1"]["ten_acme"]
			m.Version = "3"
			s.markers["d_1"]["ten_acme"] = m
		}, "2 1 0 acme:"},
		"a comment with another version": {func(_ *known, s *stamps) {
			c := s.comments["c"]["t_globex"]
			c.Version = "3"
			s.comments["c"]["t_globex"] = c
		}, "2 1 0 globex:"},
		"no marker":  {func(_ *known, s *stamps) { delete(s.markers["d_1"], "ten_acme") }, "2 1 0 acme:its home has no stamp"},
		"no comment": {func(_ *known, s *stamps) { delete(s.comments["c"], "t_globex") }, "2 1 0 globex:its home has no stamp"},
		"no comment, of a home without a version":  {func(k *known, s *stamps) { delete(s.comments["c"], "t_globex"); k.tenant("globex").Version = "" }, "2 2 0"},
		"a comment of another tenant":              {func(_ *known, s *stamps) { s.comments["c"]["t_globex"] = pg.Stamp{} }, "2 1 0 globex:the stamp is that of another tenant"},
		"another generation":                       {func(k *known, _ *stamps) { k.tenant("acme").Generation = 2 }, "2 1 0 acme:the stamp is that of another home of the tenant"},
		"another catalog":                          {func(k *known, _ *stamps) { k.incarnation = "there" }, "2 0 0 acme:the stamp is that of another catalog globex:the stamp is that of another catalog"},
		"a tenant that a rollout is at work on":    {func(k *known, _ *stamps) { k.tenant("acme").Rollout = "r_1" }, "1 1 1"},
		"a tenant that is not settled":             {func(k *known, _ *stamps) { k.tenant("acme").Settled = false }, "1 1 1"},
		"a tenant that is deleted, and still kept": {func(k *known, _ *stamps) { k.tenant("acme").State = controlplane.TenantDeleting }, "1 1 0"},
		"a database that was not reached":          {func(_ *known, s *stamps) { delete(s.markers, "d_1") }, "1 1 0"},
		"a cluster that was not reached":           {func(_ *known, s *stamps) { delete(s.comments, "c"); delete(s.markers, "d_1") }, "0 0 0"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			seen := &stamps{markers: map[string]map[string]pg.Stamp{"d_1": byTenant(w.inside("d_1").markers)}, comments: map[string]map[string]pg.Stamp{"c": w.east().comments}}
			c.change(w.after, seen)
			v, doubts := weigh(w.after, seen)
			lines := []string{}
			for _, d := range doubts {
				lines = append(lines, d.Slug+":"+d.foreign)
			}
			slices.Sort(lines)
			got := strings.TrimSpace(fmt.Sprintf("%d %d %d %s", v.Tenants, v.Agree, v.AtWork, strings.Join(lines, " ")))
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
