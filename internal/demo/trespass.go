package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/manorhq/manor/controlplane"
)

func (d *demo) trespass(ctx context.Context) (string, error) {
	err := inOrder(ctx, d.readOwn, d.readNeighbour, d.buildAtHome, d.enterDatabase)
	return "a neighbour's schema and database are refused (SQLSTATE " + insufficientPrivilege + ")", err
}

func (d *demo) readOwn(ctx context.Context) error {
	own := d.tenants[nosy]
	d.say("Tenant %s tries what its login can do. With its own schema's name in front, it reads:\n", nosy)
	return d.show(ctx, d.sessions[nosy], fmt.Sprintf("SELECT title FROM %s.issues", own.Placement.Schema))
}

// readNeighbour tries the schema next door.
func (d *demo) readNeighbour(ctx context.Context) error {
	next, found := d.neighbour(nosy, func(a, b controlplane.Tenant) bool {
		return b.Isolation == controlplane.IsolationSchema && a.Placement.DatabaseID == b.Placement.DatabaseID && d.sessions[b.Slug] != nil
	})
	if !found {
		return fmt.Errorf("not so: tenant %s has a neighbour with rows in its database", nosy)
	}
	d.say("\nTenant %s lives in the same database, and has rows as well:\n", next.Slug)
	for _, sql := range []string{"SELECT title FROM %s.issues", "DELETE FROM %s.issues"} {
		if err := d.tries(ctx, fmt.Sprintf(sql, next.Placement.Schema)); err != nil {
			return err
		}
	}
	return nil
}

// buildAtHome tries to leave something behind in its own home.
func (d *demo) buildAtHome(ctx context.Context) error {
	d.say("\nNot even at home can it build, or touch what Manor keeps there:\n")
	for _, sql := range []string{"CREATE TABLE souvenir (id int)", "DELETE FROM atlas_schema_revisions", "SELECT * FROM manor.marker"} {
		if err := d.tries(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// tries runs a statement that must be refused.
func (d *demo) tries(ctx context.Context, sql string) error {
	d.statement(nosy, sql+";")
	_, err := d.sessions[nosy].exec(ctx, sql)
	return d.refused(sql, err)
}

// enterDatabase tries the door of a tenant that has a database of its own, on the same server.
func (d *demo) enterDatabase(ctx context.Context) error {
	bank, found := d.neighbour(nosy, func(a, b controlplane.Tenant) bool {
		return b.Isolation == controlplane.IsolationDatabase && a.Cluster == b.Cluster
	})
	if !found {
		return fmt.Errorf("not so: a tenant with a database lives in the cluster of %s", nosy)
	}
	d.say("\nTenant %s has a database of its own on the same server:\n", bank.Slug)
	d.statement(nosy, `\connect `+bank.Placement.Database)
	s, err := d.connect(ctx, nosy, bank.Placement.Database)
	if err == nil {
		return errors.Join(fmt.Errorf("not so: tenant %s is kept out of the database of %s", nosy, bank.Slug), s.conn.Close(ctx))
	}
	if err := d.refused("the connection", err); err != nil {
		return err
	}
	d.say("")
	d.proved("what is its own it can use; everything else is refused by PostgreSQL itself")
	return nil
}
