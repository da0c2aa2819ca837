package tenant

import (
	"context"
	"errors"
	"fmt"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/credential"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/controlplane/work"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/tenant"
)

// placing is one transaction that places new tenants.
type placing struct {
	*Service
	tx     *catalog.Tx
	by     controlplane.Actor
	down   map[string]error
	first  *controlplane.Release // that new tenants start at; nil: none yet
	dryRun bool

	clusters   []controlplane.Cluster
	tenants    []*ent.TenantCreate
	placements []*ent.PlacementCreate
	logins     map[string]controlplane.Logins // by tenant id
	placed     []controlplane.Tenant
}

// place answers each wanted tenant with itself or its error, in their order.
func (p *placing) place(ctx context.Context, wanted []controlplane.NewTenant) ([]controlplane.TenantResult, error) {
	var err error
	if p.clusters, err = fleet.LockForPlacement(ctx, p.tx); err != nil {
		return nil, err
	}
	taken, err := takenNames(ctx, p.tx, wanted)
	if err != nil {
		return nil, err
	}
	p.logins = map[string]controlplane.Logins{}
	results := make([]controlplane.TenantResult, len(wanted))
	for i, n := range wanted {
		results[i] = controlplane.TenantResult{Slug: n.Slug}
		t, err := p.one(ctx, n, taken)
		var refused *controlplane.Error
		if errors.As(err, &refused) {
			results[i].Error = refused
			continue
		}
		if err != nil {
			return nil, err
		}
		results[i].Tenant = t
	}
	return results, p.store(ctx)
}

// one checks and plans a tenant; nothing of it is stored yet but the count of
// homes in its database.
func (p *placing) one(ctx context.Context, n controlplane.NewTenant, taken names) (*controlplane.Tenant, error) {
	if err := n.Validate(); err != nil {
		return nil, err
	}
	if err := taken.claim(n); err != nil {
		return nil, err
	}
	cluster, err := fleet.Choose(p.clusters, p.down, fleet.Wish{Cluster: n.Cluster, Region: n.Region})
	if err != nil {
		return nil, err
	}
	if p.first != nil {
		if err := p.first.FitsOn(cluster); err != nil {
			return nil, err
		}
	}
	home := pg.NewName("t_")
	t := controlplane.Tenant{
		ID: pg.NewName("ten_"), Slug: n.Slug, ExternalID: n.ExternalID, State: controlplane.TenantProvisioning,
		Isolation: n.Isolation, Cluster: cluster.Name, Region: cluster.Region, Tier: n.Tier, Labels: n.Labels,
		Placement: controlplane.Placement{ClusterID: cluster.ID, Schema: home, Role: home + "_app",
			Logins: controlplane.Logins{home + "_a", home + "_b"}, Generation: 1},
	}
	if t.Labels == nil {
		t.Labels = controlplane.Labels{}
	}
	cluster.Tenants++
	if p.dryRun {
		return &t, nil
	}
	database, err := p.fleet.Reserve(ctx, p.tx, cluster, n.Isolation, home)
	if err != nil {
		return nil, err
	}
	t.Placement.DatabaseID, t.Placement.Database = database.ID, database.Name
	p.add(t)
	return &t, nil
}

func (p *placing) add(t controlplane.Tenant) {
	create := p.tx.Tenant.Create().SetID(t.ID).SetSlug(t.Slug).SetState(t.State).SetSettled(false).
		SetIsolation(t.Isolation).SetTier(t.Tier).SetRegion(t.Region).SetLabels(t.Labels)
	if t.ExternalID != "" {
		create.SetExternalID(t.ExternalID)
	}
	p.tenants = append(p.tenants, create)
	p.placements = append(p.placements, p.tx.Placement.Create().SetTenantID(t.ID).SetClusterID(t.Placement.ClusterID).
		SetDatabaseID(t.Placement.DatabaseID).SetSchema(t.Placement.Schema).SetRole(t.Placement.Role).
		SetLogins(t.Placement.Logins).SetGeneration(t.Placement.Generation))
	p.logins[t.ID] = t.Placement.Logins
	p.placed = append(p.placed, t)
}

// store writes all that was planned, set-wise, with audit, events and jobs.
func (p *placing) store(ctx context.Context) error {
	if len(p.tenants) == 0 {
		return nil
	}
	// Rollouts go by this time to tell whom their selection did not see.
	now, err := p.tx.Now(ctx)
	if err != nil {
		return err
	}
	for _, create := range p.tenants {
		create.SetCreatedAt(now)
	}
	rows, err := p.tx.Tenant.CreateBulk(p.tenants...).Save(ctx)
	if err != nil {
		return fmt.Errorf("store tenants: %w", err)
	}
	if err := p.tx.Placement.CreateBulk(p.placements...).Exec(ctx); err != nil {
		return fmt.Errorf("store placements: %w", err)
	}
	if err := credential.Issue(ctx, p.tx, p.keys, p.logins); err != nil {
		return err
	}
	jobs := make([]work.Job, len(rows))
	for i, row := range rows {
		if err := p.guard.Permit(ctx, p.tx, p.by, "tenant.create", row.Slug, p.placed[i]); err != nil {
			return err
		}
		if err := announce(ctx, p.tx, row); err != nil {
			return err
		}
		jobs[i] = convergeJob{Tenant: row.ID}
	}
	return p.queue.Enqueue(ctx, p.tx, jobs...)
}

// names are slugs and external ids that are in use.
type names struct{ slugs, externals map[string]bool }

// takenNames finds which of the wanted names are in use.
func takenNames(ctx context.Context, tx *catalog.Tx, wanted []controlplane.NewTenant) (names, error) {
	var slugs, externals []string
	for _, n := range wanted {
		slugs = append(slugs, n.Slug)
		if n.ExternalID != "" {
			externals = append(externals, n.ExternalID)
		}
	}
	taken := names{map[string]bool{}, map[string]bool{}}
	rows, err := tx.Tenant.Query().
		Where(tenant.StateNEQ(controlplane.TenantDeleted), tenant.Or(tenant.SlugIn(slugs...), tenant.ExternalIDIn(externals...))).
		Select(tenant.FieldSlug, tenant.FieldExternalID).All(ctx)
	if err != nil {
		return taken, fmt.Errorf("look up the slugs: %w", err)
	}
	for _, row := range rows {
		taken.slugs[row.Slug] = true
		if row.ExternalID != nil {
			taken.externals[*row.ExternalID] = true
		}
	}
	return taken, nil
}

// claim takes the names of a tenant, or says which is taken.
func (t names) claim(n controlplane.NewTenant) error {
	if t.slugs[n.Slug] {
		return controlplane.Errorf(controlplane.Conflict, "slug %s is taken", n.Slug).WithHint("`manor tenant show %s` shows who has it", n.Slug)
	}
	if n.ExternalID != "" && t.externals[n.ExternalID] {
		return controlplane.Errorf(controlplane.Conflict, "external id %s is taken", n.ExternalID).
			WithHint("`manor tenant list --search %s` shows who has it", n.ExternalID)
	}
	t.slugs[n.Slug] = true
	if n.ExternalID != "" {
		t.externals[n.ExternalID] = true
	}
	return nil
}
