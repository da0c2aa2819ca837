package fleet

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/allotment"
	"github.com/manorhq/manor/ent/cluster"
	"github.com/manorhq/manor/ent/database"
	"github.com/manorhq/manor/ent/placement"
)

// The AADs that bind sealed passwords to their columns.
const (
	sealedControl = "cluster.password"
	sealedOwner   = "database.password"
)

// byName finds a cluster by the name that operators use.
func byName(ctx context.Context, client *ent.Client, name string) (*ent.Cluster, error) {
	row, err := client.Cluster.Query().Where(cluster.Name(name)).Only(ctx)
	if ent.IsNotFound(err) {
		return nil, controlplane.Errorf(controlplane.NotFound, "there is no cluster %s", name).WithHint("`manor cluster list` lists them")
	}
	if err != nil {
		return nil, fmt.Errorf("read cluster %s: %w", name, err)
	}
	return row, nil
}

// homesByCluster counts the homes on each cluster, by its id.
func homesByCluster(ctx context.Context, client *ent.Client) (map[string]int, error) {
	var rows []struct {
		ClusterID string `json:"cluster_id"`
		Count     int    `json:"count"`
	}
	if err := client.Placement.Query().GroupBy(placement.FieldClusterID).Aggregate(ent.Count()).Scan(ctx, &rows); err != nil {
		return nil, fmt.Errorf("count the homes of the clusters: %w", err)
	}
	homes := make(map[string]int, len(rows))
	for _, r := range rows {
		homes[r.ClusterID] = r.Count
	}
	return homes, nil
}

func noun(row *ent.Cluster, homes int) *controlplane.Cluster {
	return &controlplane.Cluster{
		ID: row.ID, Name: row.Name, Address: row.Address, AppAddress: row.AppAddress, Login: row.Login, TLS: row.TLS,
		Region: row.Region, Labels: row.Labels, Capacity: row.Capacity, Density: row.Density, Extensions: row.Extensions,
		State: row.State, Version: row.ServerVersion, SystemID: row.SystemID,
		Connections: row.Connections, MaxConnections: row.MaxConnections, Flow: flowOf(row),
		Skipped: row.Skipped, Tenants: homes, CreatedAt: row.CreatedAt,
	}
}

// described is a new cluster as it is going to be stored.
func described(n controlplane.NewCluster, facts pg.Facts, most int, skipped []string) *controlplane.Cluster {
	return &controlplane.Cluster{
		Name: n.Name, Address: n.Address, AppAddress: n.AppAddress, Login: n.Login, TLS: n.TLS, Region: n.Region, Labels: labels(n.Labels),
		Capacity: n.Capacity, Density: n.Density, Extensions: listed(n.Extensions), State: controlplane.ClusterActive,
		Version: facts.Version, SystemID: facts.SystemID, Skipped: listed(skipped), CreatedAt: time.Now(),
		Connections: n.Connections, MaxConnections: most, Flow: flowOf(&ent.Cluster{Connections: n.Connections}),
	}
}

func (s *Service) insert(ctx context.Context, tx *catalog.Tx, c *controlplane.Cluster, password string) (*ent.Cluster, error) {
	c.ID = pg.NewName("c_")
	sealed, err := s.keys.Seal(controlplane.NewSecret(password), c.ID, sealedControl)
	if err != nil {
		return nil, fmt.Errorf("seal the password of cluster %s: %w", c.Name, err)
	}
	row, err := tx.Cluster.Create().SetID(c.ID).SetName(c.Name).SetAddress(c.Address).SetAppAddress(c.AppAddress).
		SetLogin(c.Login).SetSealedPassword(sealed).SetTLS(c.TLS).SetRegion(c.Region).SetLabels(c.Labels).
		SetCapacity(c.Capacity).SetDensity(c.Density).SetExtensions(c.Extensions).SetState(c.State).
		SetServerVersion(c.Version).SetSystemID(c.SystemID).SetSkipped(c.Skipped).
		SetConnections(c.Connections).SetMaxConnections(c.MaxConnections).Save(ctx)
	if catalog.IsUnique(err, "name") {
		return nil, controlplane.Errorf(controlplane.Conflict, "cluster %s exists already", c.Name)
	}
	if err != nil {
		return nil, fmt.Errorf("store cluster %s: %w", c.Name, err)
	}
	return row, nil
}

// changed applies a change to a cluster's noun and returns it with the control
// password that holds afterwards.
func (s *Service) changed(row *ent.Cluster, c controlplane.ClusterChange) (*controlplane.Cluster, controlplane.Secret, error) {
	after := noun(row, 0)
	password, err := s.keys.Open(row.SealedPassword, row.ID, sealedControl)
	if err != nil {
		return nil, password, fmt.Errorf("open the password of cluster %s: %w", row.Name, err)
	}
	set(&after.Address, c.Address)
	set(&after.TLS, c.TLS)
	set(&after.Region, c.Region)
	set(&after.Capacity, c.Capacity)
	set(&after.Density, c.Density)
	set(&after.Connections, c.Connections)
	set(&after.State, c.State)
	if c.AppAddress != nil {
		if after.AppAddress = c.AppAddress; len(c.AppAddress.Hosts) == 0 {
			after.AppAddress = nil
		}
	}
	if c.Password != nil {
		password = controlplane.NewSecret(*c.Password)
	}
	after.Labels = merged(after.Labels, c.Labels)
	for _, e := range c.Extensions {
		if !slices.Contains(after.Extensions, e) {
			after.Extensions = append(slices.Clone(after.Extensions), e)
		}
	}
	if !slices.Contains(controlplane.ClusterStates, after.State) {
		return nil, password, controlplane.Errorf(controlplane.Invalid, "cluster state %q is none of active, draining, offline", after.State)
	}
	again := controlplane.NewCluster{Name: after.Name, Address: after.Address, AppAddress: after.AppAddress, Login: after.Login, TLS: after.TLS,
		Region: after.Region, Labels: after.Labels, Capacity: after.Capacity, Density: after.Density, Extensions: after.Extensions}
	err = again.Validate()
	after.Density = again.Density // 0 is the default
	return after, password, err
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

// merged lays changes over labels; an empty value removes its label.
func merged(l, changes controlplane.Labels) controlplane.Labels {
	out := labels(maps.Clone(l))
	for key, value := range changes {
		if value == "" {
			delete(out, key)
			continue
		}
		out[key] = value
	}
	return out
}

func labels(l controlplane.Labels) controlplane.Labels {
	if l == nil {
		return controlplane.Labels{}
	}
	return l
}

// listed is never nil: a JSON column holds [] and not null.
func listed(items []string) []string {
	if items == nil {
		return []string{}
	}
	return items
}

func (s *Service) update(ctx context.Context, tx *catalog.Tx, c *controlplane.Cluster, password controlplane.Secret) (*ent.Cluster, error) {
	sealed, err := s.keys.Seal(password, c.ID, sealedControl)
	if err != nil {
		return nil, fmt.Errorf("seal the password of cluster %s: %w", c.Name, err)
	}
	row, err := tx.Cluster.UpdateOneID(c.ID).SetAddress(c.Address).SetAppAddress(c.AppAddress).SetSealedPassword(sealed).
		SetTLS(c.TLS).SetRegion(c.Region).SetLabels(c.Labels).SetCapacity(c.Capacity).SetDensity(c.Density).
		SetExtensions(c.Extensions).SetState(c.State).SetConnections(c.Connections).SetMaxConnections(c.MaxConnections).
		SetUpdatedAt(time.Now()).Save(ctx)
	if err != nil {
		return nil, fmt.Errorf("store cluster %s: %w", c.Name, err)
	}
	return row, nil
}

func remove(ctx context.Context, tx *catalog.Tx, id string) error {
	if n, err := tx.Placement.Query().Where(placement.ClusterID(id)).Count(ctx); err != nil || n > 0 {
		return controlplane.Errorf(controlplane.Conflict, "the cluster got %d tenants meanwhile", n)
	}
	if _, err := tx.Database.Delete().Where(database.ClusterID(id)).Exec(ctx); err != nil {
		return fmt.Errorf("remove the databases of cluster %s: %w", id, err)
	}
	if _, err := tx.Allotment.Delete().Where(allotment.ClusterID(id)).Exec(ctx); err != nil {
		return fmt.Errorf("forget who has connections to cluster %s: %w", id, err)
	}
	if err := tx.Cluster.DeleteOneID(id).Exec(ctx); err != nil {
		return fmt.Errorf("remove cluster %s: %w", id, err)
	}
	return nil
}
