package doctor

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/controlplane/tenant"
)

// Verify compares the version that the catalog has of each tenant with the
// stamp of its home, and corrects the catalog where the tenant's revisions say
// another. Tenants that somebody is changing are left to him. A dry run only
// compares.
func (s *Service) Verify(ctx context.Context, by controlplane.Actor, dryRun bool) (*controlplane.Verification, error) {
	if err := s.guard.See(by, "status.verify", ""); err != nil {
		return nil, err
	}
	began := time.Now()
	k, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	seen, missed, err := s.readStamps(ctx, k)
	if err != nil {
		return nil, err
	}
	v, doubts := weigh(k, seen)
	more, err := s.readRevisions(ctx, k, doubts)
	if err != nil {
		return nil, err
	}
	v.DryRun, v.Unreached = dryRun, unreached(append(missed, more...))
	if err := s.conclude(ctx, by, k, v, doubts); err != nil {
		return nil, err
	}
	v.DurationMS = time.Since(began).Milliseconds()
	return v, nil
}

// stamps are those that were read: by the tenant, in each shared database, and
// by the database, on each cluster. A place that is missing was not reached.
type stamps struct {
	mu       sync.Mutex
	markers  map[string]map[string]pg.Stamp
	comments map[string]map[string]pg.Stamp
}

// readStamps reads them with one query per shared database, and one per cluster
// for the databases of tenants that have their own.
func (s *Service) readStamps(ctx context.Context, k *known) (*stamps, []missed, error) {
	seen := &stamps{markers: map[string]map[string]pg.Stamp{}, comments: map[string]map[string]pg.Stamp{}}
	living := residentsOf(k.residents)
	v := &visit{fleet: s.fleet, clusters: k.clusters, residents: living,
		databases: func(clusterID string) []*database {
			return k.databasesOf(clusterID, func(d *database) bool { return d.Ready && !d.own() && !d.scratch() && living[d.ID] > 0 })
		},
		atCluster: func(ctx context.Context, c *controlplane.Cluster, control *pgx.Conn) error {
			comments, _, err := pg.ReadStamps(ctx, control)
			seen.mu.Lock()
			defer seen.mu.Unlock()
			if err == nil {
				seen.comments[c.ID] = comments
			}
			return err
		},
		inside: func(ctx context.Context, d *database, owner *pgx.Conn) error {
			read, err := pg.ReadMarkers(ctx, owner)
			if err != nil {
				return err
			}
			seen.mu.Lock()
			defer seen.mu.Unlock()
			seen.markers[d.ID] = byTenant(read)
			return nil
		}}
	missed, err := v.run(ctx)
	return seen, missed, err
}

func byTenant(read []pg.Stamp) map[string]pg.Stamp {
	m := make(map[string]pg.Stamp, len(read))
	for _, s := range read {
		m[s.TenantID] = s
	}
	return m
}

// of returns the stamp of a tenant, and whether the place where it is was reached.
func (s *stamps) of(k *known, r *resident) (stamp *pg.Stamp, reached bool) {
	at, key := s.markers[r.DatabaseID], r.ID
	if r.Isolation == controlplane.IsolationDatabase {
		d := k.databases[r.DatabaseID]
		if d == nil {
			return nil, false
		}
		at, key = s.comments[r.ClusterID], d.Name
	}
	if at == nil {
		return nil, false
	}
	if found, ok := at[key]; ok {
		return &found, true
	}
	return nil, true
}

// doubt is a tenant whose stamp does not say what the catalog says.
type doubt struct {
	*resident
	stamp   pg.Stamp
	foreign string // why the stamp is not the tenant's at all; then nothing is corrected
	reached bool
	actual  string // version, by its revisions
	lost    error  // why those cannot be read
}

// weigh compares what was read with what is known. It is a pure function.
func weigh(k *known, seen *stamps) (*controlplane.Verification, []*doubt) {
	v := &controlplane.Verification{Differences: []controlplane.Difference{}}
	var doubts []*doubt
	for i := range k.residents {
		r := &k.residents[i]
		if !r.State.Migratable() {
			continue
		}
		if !r.resting() {
			v.AtWork++
			continue
		}
		stamp, reached := seen.of(k, r)
		if !reached {
			continue
		}
		v.Tenants++
		d := judgeStamp(k, r, stamp)
		if d == nil {
			v.Agree++
			continue
		}
		doubts = append(doubts, d)
	}
	return v, doubts
}

// judgeStamp returns nil for a tenant that is where the catalog says.
func judgeStamp(k *known, r *resident, stamp *pg.Stamp) *doubt {
	if stamp == nil {
		if r.Isolation == controlplane.IsolationDatabase && r.Version == "" {
			return nil // a database gets its comment with its first version
		}
		return &doubt{resident: r, foreign: "its home has no stamp"}
	}
	d := &doubt{resident: r, stamp: *stamp}
	switch {
	case stamp.TenantID != r.ID || stamp.Schema != r.Schema:
		d.foreign = "the stamp is that of another tenant"
	case stamp.Incarnation != k.incarnation:
		d.foreign = "the stamp is that of another catalog"
	case stamp.Generation != r.Generation:
		d.foreign = "the stamp is that of another home of the tenant"
	case stamp.Version == r.Version && !stamp.Homeless:
		return nil
	}
	return d
}

// readRevisions visits the tenants in doubt: what counts as the version is what
// their own revisions say.
func (s *Service) readRevisions(ctx context.Context, k *known, doubts []*doubt) ([]missed, error) {
	in := map[string][]*doubt{}
	at := map[string]int{}
	for _, d := range doubts {
		in[d.DatabaseID] = append(in[d.DatabaseID], d)
		at[d.ClusterID]++
		at[d.DatabaseID]++
	}
	v := &visit{fleet: s.fleet, residents: at,
		clusters: slices.DeleteFunc(slices.Clone(k.clusters), func(c controlplane.Cluster) bool { return at[c.ID] == 0 }),
		databases: func(clusterID string) []*database {
			return k.databasesOf(clusterID, func(d *database) bool { return len(in[d.ID]) > 0 })
		},
		atCluster: func(ctx context.Context, _ *controlplane.Cluster, control *pgx.Conn) error { return control.Ping(ctx) },
		inside: func(ctx context.Context, d *database, owner *pgx.Conn) error {
			for _, d := range in[d.ID] {
				if err := d.read(ctx, owner); err != nil {
					return err
				}
			}
			return nil
		}}
	return v.run(ctx)
}

func (d *doubt) read(ctx context.Context, owner *pgx.Conn) error {
	version, err := migrator.CurrentVersion(ctx, owner, d.Schema)
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok && (refused.Code == "42P01" || refused.Code == "3F000") {
		d.reached, d.lost = true, err
		return nil
	}
	if err != nil {
		return err
	}
	d.reached, d.actual = true, version
	return nil
}

// wrong reports whether the catalog is to be corrected.
func (d *doubt) wrong() bool {
	return d.reached && d.lost == nil && d.foreign == "" && d.actual != d.Version
}

// reason says what a doubt turned out to be.
func (d *doubt) reason() string {
	switch {
	case !d.reached:
		return "its revisions could not be read"
	case d.lost != nil:
		return "its home is not there, or has no revisions: `manor doctor` says more"
	case d.foreign != "":
		return d.foreign + ": `manor doctor` says more"
	case d.actual == d.Version:
		return "the stamp is outdated; the revisions say what the catalog says"
	case d.actual < d.Version:
		return "the catalog is ahead of the tenant: its cluster went back to an earlier state, or somebody took the version back"
	}
	return "the catalog lags behind the tenant: a result was not reported, or another tool migrated it"
}

// conclude names the differences and corrects the catalog.
func (s *Service) conclude(ctx context.Context, by controlplane.Actor, k *known, v *controlplane.Verification, doubts []*doubt) error {
	var corrections []tenant.Correction
	for _, d := range doubts {
		if d.wrong() && !v.DryRun {
			corrections = append(corrections, d.correction(k))
		}
	}
	done, err := s.correct(ctx, by, corrections)
	if err != nil {
		return err
	}
	for _, d := range doubts {
		if d.wrong() && !v.DryRun && !done[d.ID] { // it has changed meanwhile
			v.Tenants--
			v.AtWork++
			continue
		}
		v.Differences = append(v.Differences, controlplane.Difference{Tenant: d.Slug, TenantID: d.ID, Cluster: k.clusterName(d.ClusterID),
			Catalog: d.Version, Stamp: d.stamp.Version, Actual: d.actual, Reason: d.reason(), Corrected: done[d.ID]})
	}
	slices.SortFunc(v.Differences, func(a, b controlplane.Difference) int { return cmp.Compare(a.Tenant, b.Tenant) })
	return nil
}

func (d *doubt) correction(k *known) tenant.Correction {
	return tenant.Correction{TenantID: d.ID, Seen: d.UpdatedAt, Version: d.actual, Reason: d.reason(),
		ReleaseID: k.releaseOf(d.actual, d.stamp.Version, d.stamp.Release, d.ReleaseID)}
}

// correctedAtOnce bounds how long a transaction holds the rows of tenants.
const correctedAtOnce = 500

// correct stores where tenants are, and returns which it corrected.
func (s *Service) correct(ctx context.Context, by controlplane.Actor, corrections []tenant.Correction) (map[string]bool, error) {
	all := map[string]bool{}
	for part := range slices.Chunk(corrections, correctedAtOnce) {
		var done map[string]bool
		err := s.cat.InTx(ctx, func(tx *catalog.Tx) (err error) {
			done, err = s.tenants.Correct(ctx, tx, by, part)
			return err
		})
		if err != nil {
			return nil, err
		}
		for id := range done {
			all[id] = true
		}
	}
	return all, nil
}
