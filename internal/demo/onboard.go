package main

import (
	"context"
	"fmt"

	"github.com/manorhq/manor/controlplane"
)

func (d *demo) onboard(ctx context.Context) (string, error) {
	err := inOrder(ctx, d.pushFirst, d.createTenants, d.checkTenants)
	return fmt.Sprintf("%d schema and %d database tenants, active at release 1", schemaTenants, databaseTenants), err
}

func (d *demo) createTenants(ctx context.Context) error {
	rows, file := customers(), d.path("tenants.csv")
	if err := writeCustomers(file, rows); err != nil {
		return err
	}
	d.say("\nThe customers are in a file. Most share databases and have a schema each, banks and insurers get a database:\n")
	d.say("  slug,external_id,isolation,region,tier,labels")
	for _, i := range []int{0, 1, schemaTenants} {
		r := rows[i]
		d.say("  %s,%s,%s,%s,%s,ring=%s", r.Slug, r.ExternalID, r.Isolation, r.Region, r.Tier, r.Labels["ring"])
	}
	d.say("  …\n\nEach gets roles, logins and a home, then the %d versions. No cluster is named: the region decides.", releaseOne)
	if err := d.manor(ctx, "tenant", "create", "-f", file); err != nil {
		return err
	}
	return d.manor(ctx, "status")
}

// checkTenants reads the fleet back.
func (d *demo) checkTenants(ctx context.Context) error {
	var page controlplane.Page[controlplane.Tenant]
	if err := d.read(ctx, &page, "tenant", "list"); err != nil {
		return err
	}
	d.tenants = map[string]controlplane.Tenant{}
	active, isolation := 0, map[controlplane.Isolation]int{}
	for _, t := range page.Items {
		d.tenants[t.Slug] = t
		isolation[t.Isolation]++
		if t.State == controlplane.TenantActive && t.Settled && t.Version == d.first() && t.Cluster == clusterNames[t.Region] {
			active++
		}
	}
	claim := fmt.Sprintf("%d tenants are active at version %s, each in its region", allTenants, d.first())
	if err := check(d.screen, claim, active, allTenants); err != nil {
		return err
	}
	if err := check(d.screen, fmt.Sprintf("%d of them have a schema", schemaTenants), isolation[controlplane.IsolationSchema], schemaTenants); err != nil {
		return err
	}
	return check(d.screen, fmt.Sprintf("%d of them have a database", databaseTenants), isolation[controlplane.IsolationDatabase], databaseTenants)
}
