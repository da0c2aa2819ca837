package doctor

import (
	"slices"
	"strings"
	"time"

	"github.com/manorhq/manor/controlplane"
)

// known is what the catalog says at one moment.
type known struct {
	at          time.Time // by the catalog's clock
	incarnation string
	epoch       int64 // the last one drawn
	clusters    []controlplane.Cluster
	databases   map[string]*database // by id
	copies      []copied
	residents   []resident
	releases    []pushed // oldest first
	leases      []lease
	workers     []worker
}

// database is one that Manor made.
type database struct {
	ID, ClusterID, Name, Isolation string
	Owner, Connect                 string // roles
	Ready                          bool
}

// copied is a name that a copy of a tenant's database has, or the database whose
// place it took.
type copied struct{ ClusterID, Name string }

func (d *database) own() bool     { return d.Isolation == string(controlplane.IsolationDatabase) }
func (d *database) scratch() bool { return d.Isolation == "scratch" }

// resident is a tenant with its home, made or in the making or being unmade.
type resident struct {
	ID, Slug   string
	State      controlplane.TenantState
	Settled    bool
	Isolation  controlplane.Isolation
	Version    string
	ReleaseID  string
	Failure    string
	WantedAt   time.Time // since when it is to be in its state
	UpdatedAt  time.Time
	ClusterID  string // "" with the rest of the placement: it has none
	DatabaseID string
	Schema     string
	Role       string
	Logins     controlplane.Logins
	Generation int64
	Rollout    string // of which it is an unfinished target; "": none
	Attended   bool   // somebody works on it; only asked of those that have been unsettled for long
}

// comparable tenants rest: nobody is about to change where they are.
func (r *resident) resting() bool { return r.Settled && r.Rollout == "" }

// pushed is a release that a tenant may be at.
type pushed struct {
	ID, Name, Hash string
	Versions       []controlplane.Version
}

func (r *pushed) has(version string) bool {
	return (&controlplane.Release{Versions: r.Versions}).Has(version)
}

// lease is that of a batch which ran out and was not taken back.
type lease struct {
	Rollout string
	Batch   int
	Cluster string // id
	Worker  string
	Until   time.Time
}

// worker is a process that was not heard of for too long.
type worker struct {
	ID     string
	SeenAt time.Time
}

func (k *known) cluster(id string) *controlplane.Cluster {
	i := slices.IndexFunc(k.clusters, func(c controlplane.Cluster) bool { return c.ID == id })
	if i < 0 {
		return nil
	}
	return &k.clusters[i]
}

// releaseOf is the release of a tenant that turned out to be at a version: the
// one that the stamp names, if it was stamped with that version; else the one
// that the catalog has it at; else the newest that holds the version. "" is an
// empty home, or a version that no release holds.
func (k *known) releaseOf(version, stamped, hash, current string) string {
	if version == "" {
		return ""
	}
	holds := func(match func(*pushed) bool) string {
		for i := len(k.releases) - 1; i >= 0; i-- {
			if r := &k.releases[i]; r.has(version) && match(r) {
				return r.ID
			}
		}
		return ""
	}
	if stamped == version {
		if id := holds(func(r *pushed) bool { return r.Hash == hash }); id != "" {
			return id
		}
	}
	if id := holds(func(r *pushed) bool { return r.ID == current }); id != "" {
		return id
	}
	return holds(func(*pushed) bool { return true })
}

// databasesOf are those of a cluster for which f holds, by name.
func (k *known) databasesOf(clusterID string, f func(*database) bool) []*database {
	var of []*database
	for _, d := range k.databases {
		if d.ClusterID == clusterID && f(d) {
			of = append(of, d)
		}
	}
	slices.SortFunc(of, func(a, b *database) int { return strings.Compare(a.Name, b.Name) })
	return of
}

func (k *known) clusterName(id string) string {
	if c := k.cluster(id); c != nil {
		return c.Name
	}
	return id
}
