package tenant

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/event"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/cluster"
	"github.com/manorhq/manor/ent/database"
	"github.com/manorhq/manor/ent/placement"
	"github.com/manorhq/manor/ent/release"
	"github.com/manorhq/manor/ent/target"
	"github.com/manorhq/manor/ent/tenant"
)

// errDryRun rolls the transaction of a dry run back.
var errDryRun = errors.New("dry run")

// notFound is the error of a slug that nobody has.
func notFound(slug string) error {
	return controlplane.Errorf(controlplane.NotFound, "there is no tenant %s", slug).WithHint("`manor tenant list --search %s` looks for it", slug)
}

// bySlug finds a tenant that is not purged.
func bySlug(ctx context.Context, client *ent.Client, slug string) (*ent.Tenant, error) {
	row, err := client.Tenant.Query().Where(tenant.Slug(slug), tenant.StateNEQ(controlplane.TenantDeleted)).Only(ctx)
	return found(row, err, slug)
}

func lockBySlug(ctx context.Context, tx *catalog.Tx, slug string) (*ent.Tenant, error) {
	row, err := tx.Tenant.Query().Where(tenant.Slug(slug), tenant.StateNEQ(controlplane.TenantDeleted)).ForUpdate().Only(ctx)
	return found(row, err, slug)
}

func found(row *ent.Tenant, err error, slug string) (*ent.Tenant, error) {
	if ent.IsNotFound(err) {
		return nil, notFound(slug)
	}
	if err != nil {
		return nil, fmt.Errorf("read tenant %s: %w", slug, err)
	}
	return row, nil
}

// assemble turns rows into nouns, reading what belongs to them set-wise.
func assemble(ctx context.Context, client *ent.Client, rows []*ent.Tenant) ([]controlplane.Tenant, error) {
	return (&lookup{}).assemble(ctx, client, rows)
}

// lookup turns ids into the names that people use. What it has read once it
// does not read again.
type lookup struct{ clusters, databases, releases map[string]string }

func (names *lookup) assemble(ctx context.Context, client *ent.Client, rows []*ent.Tenant) ([]controlplane.Tenant, error) {
	ids := make([]string, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	placements, err := client.Placement.Query().Where(placement.TenantIDIn(ids...)).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read placements: %w", err)
	}
	if err := names.read(ctx, client, placements); err != nil {
		return nil, err
	}
	byTenant := make(map[string]*ent.Placement, len(placements))
	for _, p := range placements {
		byTenant[p.TenantID] = p
	}
	nouns := make([]controlplane.Tenant, len(rows))
	for i, row := range rows {
		nouns[i] = noun(row, byTenant[row.ID], names)
	}
	return nouns, nil
}

// read learns the names of clusters and releases, and of the databases of some
// placements.
func (names *lookup) read(ctx context.Context, client *ent.Client, placements []*ent.Placement) error {
	if names.clusters == nil {
		if err := names.readFew(ctx, client); err != nil {
			return err
		}
	}
	unknown := map[string]bool{}
	for _, p := range placements {
		if names.databases[p.DatabaseID] == "" {
			unknown[p.DatabaseID] = true
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	databases, err := client.Database.Query().Where(database.IDIn(slices.Collect(maps.Keys(unknown))...)).Select(database.FieldName).All(ctx)
	if err != nil {
		return fmt.Errorf("read the databases' names: %w", err)
	}
	for _, d := range databases {
		names.databases[d.ID] = d.Name
	}
	return nil
}

// readFew reads what there is little of.
func (names *lookup) readFew(ctx context.Context, client *ent.Client) error {
	clusters, err := client.Cluster.Query().Select(cluster.FieldName).All(ctx)
	if err != nil {
		return fmt.Errorf("read the clusters' names: %w", err)
	}
	releases, err := client.Release.Query().Select(release.FieldName).All(ctx)
	if err != nil {
		return fmt.Errorf("read the releases' names: %w", err)
	}
	names.clusters, names.databases, names.releases = map[string]string{}, map[string]string{}, map[string]string{}
	for _, c := range clusters {
		names.clusters[c.ID] = c.Name
	}
	for _, r := range releases {
		names.releases[r.ID] = r.Name
	}
	return nil
}

func noun(row *ent.Tenant, p *ent.Placement, names *lookup) controlplane.Tenant {
	t := controlplane.Tenant{
		ID: row.ID, Slug: row.Slug, State: row.State, Settled: row.Settled,
		Isolation: row.Isolation, Region: row.Region, Tier: row.Tier, Labels: row.Labels,
		Release: names.releases[row.ReleaseID], Version: row.Version, Failure: row.Failure,
		CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt,
	}
	if row.Pin.Holds(time.Now()) {
		t.Pin = row.Pin
	}
	if row.ExternalID != nil {
		t.ExternalID = *row.ExternalID
	}
	if p != nil {
		t.Cluster = names.clusters[p.ClusterID]
		t.Placement = controlplane.Placement{ClusterID: p.ClusterID, DatabaseID: p.DatabaseID, Database: names.databases[p.DatabaseID],
			Schema: p.Schema, Role: p.Role, Logins: p.Logins, Generation: p.Generation}
	}
	return t
}

// applyChange lays an operator's change over a tenant's row.
func applyChange(ctx context.Context, row *ent.Tenant, c controlplane.TenantChange) error {
	up := row.Update().SetUpdatedAt(time.Now())
	if c.Tier != nil {
		up.SetTier(*c.Tier)
	}
	switch {
	case c.ExternalID != nil && *c.ExternalID == "":
		up.ClearExternalID()
	case c.ExternalID != nil:
		up.SetExternalID(*c.ExternalID)
	}
	if c.Labels != nil {
		up.SetLabels(mergeLabels(row.Labels, c.Labels))
	}
	err := up.Exec(ctx)
	if catalog.IsUnique(err, "external_id") {
		return controlplane.Errorf(controlplane.Conflict, "external id %s is taken", *c.ExternalID)
	}
	if err != nil {
		return fmt.Errorf("store tenant %s: %w", row.Slug, err)
	}
	return nil
}

// mergeLabels lays changes over labels; an empty value removes its label.
func mergeLabels(labels, changes controlplane.Labels) controlplane.Labels {
	out := controlplane.Labels{}
	for key, value := range labels {
		out[key] = value
	}
	for key, value := range changes {
		out[key] = value
		if value == "" {
			delete(out, key)
		}
	}
	return out
}

// settleLater moves a tenant to a state and enqueues what brings the cluster
// there.
func (s *Service) settleLater(ctx context.Context, tx *catalog.Tx, row *ent.Tenant, to controlplane.TenantState) error {
	err := row.Update().SetState(to).SetSettled(false).SetWantedAt(time.Now()).ClearFailure().SetUpdatedAt(time.Now()).Exec(ctx)
	if err != nil {
		return fmt.Errorf("store tenant %s: %w", row.Slug, err)
	}
	return s.queue.Enqueue(ctx, tx, convergeJob{Tenant: row.ID})
}

// unengaged refuses to purge a tenant that a rollout is working on.
func unengaged(ctx context.Context, tx *catalog.Tx, id, slug string, to controlplane.TenantState) error {
	if to != controlplane.TenantDeleted {
		return nil
	}
	return notIn(ctx, tx, id, slug, controlplane.UnfinishedStatuses...)
}

// notInHand refuses a tenant that a rollout is changing just now, or may be.
func notInHand(ctx context.Context, tx *catalog.Tx, id, slug string) error {
	return notIn(ctx, tx, id, slug, controlplane.TargetRunning, controlplane.TargetUnknown)
}

// notIn refuses a tenant that is a target of a rollout with one of the statuses.
func notIn(ctx context.Context, tx *catalog.Tx, id, slug string, statuses ...controlplane.TargetStatus) error {
	busy, err := tx.Target.Query().Where(target.TenantID(id), target.StatusIn(statuses...)).First(ctx)
	if ent.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for rollouts of tenant %s: %w", slug, err)
	}
	return controlplane.Errorf(controlplane.Conflict, "rollout %s is working on tenant %s", busy.RolloutID, slug).
		WithHint("wait for it: `manor rollout watch %s`", busy.RolloutID)
}

// announce emits what a tenant has become.
func announce(ctx context.Context, tx *catalog.Tx, row *ent.Tenant) error {
	return event.Emit(ctx, tx, controlplane.EventTenantChanged, row.ID, controlplane.TenantEvent{
		Slug: row.Slug, State: row.State, Settled: row.Settled, Failure: row.Failure})
}
