package doctor

import (
	"context"
	"errors"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/pg"
)

// found is what there is on the clusters, as far as they were reached.
type found struct {
	mu        sync.Mutex
	clusters  map[string]*onCluster  // by id
	databases map[string]*inDatabase // by id
}

// onCluster is what the control login sees.
type onCluster struct {
	databases map[string]pg.FoundDatabase // by name
	roles     []pg.FoundRole
	ties      map[string]pg.Ties  // of roles that nobody knows
	comments  map[string]pg.Stamp // of databases, by name
}

func (c *onCluster) has(database string) bool {
	_, ok := c.databases[database]
	return ok
}

// inDatabase is what the owner of a database sees in it.
type inDatabase struct {
	schemas   []pg.FoundSchema
	markers   []pg.Stamp
	revisions map[string]pg.Revision // by schema
	indexes   []pg.InvalidIndex
}

// inventory looks at all clusters and into all databases that Manor knows.
func (s *Service) inventory(ctx context.Context, k *known) (*found, []missed, error) {
	f := &found{clusters: map[string]*onCluster{}, databases: map[string]*inDatabase{}}
	names := namesOf(k)
	v := &visit{fleet: s.fleet, clusters: k.clusters, residents: residentsOf(k.residents),
		databases: func(clusterID string) []*database {
			return k.databasesOf(clusterID, func(d *database) bool { return d.Ready && !d.scratch() && f.onCluster(clusterID).has(d.Name) })
		},
		atCluster: func(ctx context.Context, c *controlplane.Cluster, control *pgx.Conn) error {
			seen, err := lookAround(ctx, control, names)
			if err != nil {
				return err
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			f.clusters[c.ID] = seen
			return nil
		},
		inside: func(ctx context.Context, d *database, owner *pgx.Conn) error {
			seen, err := lookInside(ctx, owner)
			if err != nil {
				return err
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			f.databases[d.ID] = seen
			return nil
		}}
	missed, err := v.run(ctx)
	return f, missed, err
}

func (f *found) onCluster(id string) *onCluster {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.clusters[id]
}

func lookAround(ctx context.Context, control *pgx.Conn, names map[string]bool) (*onCluster, error) {
	databases, err := pg.FindDatabases(ctx, control)
	if err != nil {
		return nil, err
	}
	c := onCluster{databases: make(map[string]pg.FoundDatabase, len(databases))}
	for _, d := range databases {
		c.databases[d.Name] = d
	}
	if c.comments, _, err = pg.ReadStamps(ctx, control); err != nil {
		return nil, err
	}
	if c.roles, err = pg.FindRoles(ctx, control); err != nil {
		return nil, err
	}
	var unknown []string
	for _, r := range c.roles {
		if !names[r.Name] {
			unknown = append(unknown, r.Name)
		}
	}
	c.ties, err = pg.ReadTies(ctx, control, unknown)
	return &c, err
}

func lookInside(ctx context.Context, owner *pgx.Conn) (*inDatabase, error) {
	var d inDatabase
	var errs [4]error
	d.schemas, errs[0] = pg.FindSchemas(ctx, owner)
	d.markers, errs[1] = pg.ReadMarkers(ctx, owner)
	d.revisions, errs[2] = pg.ReadRevisions(ctx, owner)
	d.indexes, errs[3] = pg.FindInvalidIndexes(ctx, owner)
	return &d, errors.Join(errs[:]...)
}

// namesOf are all roles that the catalog knows.
func namesOf(k *known) map[string]bool {
	names := map[string]bool{}
	for _, d := range k.databases {
		names[d.Owner], names[d.Connect] = true, true
	}
	for i := range k.residents {
		for _, name := range k.residents[i].roles() {
			names[name] = true
		}
	}
	return names
}

// roles are those of a tenant's home.
func (r *resident) roles() []string {
	if r.Schema == "" {
		return nil
	}
	return []string{r.Role, r.Logins[0], r.Logins[1]}
}
