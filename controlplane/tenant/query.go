package tenant

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/credential"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/controlplane/selector"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/tenant"
)

const (
	defaultLimit = 100
	maxLimit     = 1000
	pageSize     = 1000 // rows read at a time while selecting
)

// List returns tenants by slug, a page at a time.
func (s *Service) List(ctx context.Context, by controlplane.Actor, q controlplane.TenantQuery) (controlplane.Page[controlplane.Tenant], error) {
	var page controlplane.Page[controlplane.Tenant]
	if err := s.guard.See(by, "tenant.list", ""); err != nil {
		return page, err
	}
	limit := q.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	limit = min(limit, maxLimit)
	page.Items = []controlplane.Tenant{}
	err := s.Each(ctx, q, func(t controlplane.Tenant) bool {
		if len(page.Items) == limit {
			page.Next = page.Items[limit-1].Slug
			return false
		}
		page.Items = append(page.Items, t)
		return true
	})
	return page, err
}

// Each calls f with every tenant that the query selects, by slug, until f
// returns false. It reads keyset pages and selects in Go.
func (s *Service) Each(ctx context.Context, q controlplane.TenantQuery, f func(controlplane.Tenant) bool) error {
	return Each(ctx, s.cat.Ent(), q, f)
}

// Each is the brick below [Service.Each]: it reads from any client, a
// transaction's too.
func Each(ctx context.Context, client *ent.Client, q controlplane.TenantQuery, f func(controlplane.Tenant) bool) error {
	selected, err := selector.Compile(q.Select)
	if err != nil {
		return err
	}
	names := &lookup{}
	for after := q.Cursor; ; {
		rows, err := page(ctx, client, q, after)
		if err != nil {
			return err
		}
		nouns, err := names.assemble(ctx, client, rows)
		if err != nil {
			return err
		}
		for i := range nouns {
			matches, err := selected.Matches(&nouns[i])
			if err != nil {
				return err
			}
			if matches && !f(nouns[i]) {
				return nil
			}
		}
		if len(rows) < pageSize {
			return nil
		}
		after = rows[len(rows)-1].Slug
	}
}

// Pick returns those of the tenants with these ids that a selection holds. One
// that it cannot be asked of, as of a label that is no number, is none of them.
func Pick(ctx context.Context, client *ent.Client, selection string, ids []string) ([]controlplane.Tenant, error) {
	selected, err := selector.Compile(selection)
	if err != nil {
		return nil, err
	}
	var picked []controlplane.Tenant
	for chunk := range slices.Chunk(ids, pageSize) {
		rows, err := client.Tenant.Query().Where(tenant.IDIn(chunk...)).Order(tenant.BySlug()).All(ctx)
		if err != nil {
			return nil, fmt.Errorf("read tenants: %w", err)
		}
		nouns, err := assemble(ctx, client, rows)
		if err != nil {
			return nil, err
		}
		for i := range nouns {
			if matches, err := selected.Matches(&nouns[i]); err == nil && matches {
				picked = append(picked, nouns[i])
			}
		}
	}
	return picked, nil
}

func page(ctx context.Context, client *ent.Client, q controlplane.TenantQuery, after string) ([]*ent.Tenant, error) {
	find := client.Tenant.Query().Where(tenant.SlugGT(after)).Order(tenant.BySlug(), tenant.ByID()).Limit(pageSize)
	if !q.IncludeDeleted {
		find.Where(tenant.StateNEQ(controlplane.TenantDeleted))
	}
	if text := strings.TrimSpace(q.Search); text != "" {
		find.Where(tenant.Or(tenant.SlugContainsFold(text), tenant.ExternalIDContainsFold(text)))
	}
	rows, err := find.All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read tenants: %w", err)
	}
	return rows, nil
}

// Show returns one tenant by its slug.
func (s *Service) Show(ctx context.Context, by controlplane.Actor, slug string) (*controlplane.Tenant, error) {
	if err := s.guard.See(by, "tenant.show", slug); err != nil {
		return nil, err
	}
	return s.show(ctx, slug)
}

func (s *Service) show(ctx context.Context, slug string) (*controlplane.Tenant, error) {
	row, err := bySlug(ctx, s.cat.Ent(), slug)
	if err != nil {
		return nil, err
	}
	nouns, err := assemble(ctx, s.cat.Ent(), []*ent.Tenant{row})
	if err != nil {
		return nil, err
	}
	return &nouns[0], nil
}

// DSN says how to connect as a tenant; with reveal, the password too. Only an
// active tenant has one: everything else is closed.
func (s *Service) DSN(ctx context.Context, by controlplane.Actor, slug string, reveal bool) (*controlplane.DSN, error) {
	if err := s.guard.See(by, "tenant.dsn", slug); err != nil {
		return nil, err
	}
	t, err := s.show(ctx, slug)
	if err != nil {
		return nil, err
	}
	if t.State != controlplane.TenantActive {
		return nil, controlplane.Errorf(controlplane.Refused, "tenant %s is %s: nobody connects to it", slug, t.State)
	}
	c, err := s.cat.Ent().Cluster.Get(ctx, t.Placement.ClusterID)
	if err != nil {
		return nil, fmt.Errorf("read the cluster of tenant %s: %w", slug, err)
	}
	address := c.Address
	if c.AppAddress != nil {
		address = *c.AppAddress
	}
	dsn := &controlplane.DSN{Tenant: slug, Hosts: address.Hosts, Database: t.Placement.Database, Schema: t.Placement.Schema,
		User: t.Placement.Logins[0], TLS: c.TLS, Generation: t.Placement.Generation, Version: t.Version}
	if reveal {
		err = s.reveal(ctx, by, t, dsn)
	}
	return dsn, err
}

// reveal fills in the password. That somebody saw it is in the audit log first.
func (s *Service) reveal(ctx context.Context, by controlplane.Actor, t *controlplane.Tenant, dsn *controlplane.DSN) error {
	err := s.cat.InTx(ctx, func(tx *catalog.Tx) error {
		return s.guard.Permit(ctx, tx, by, "tenant.reveal", t.Slug, map[string]string{"login": dsn.User})
	})
	if err != nil {
		return err
	}
	passwords, err := credential.Passwords(ctx, s.cat.Ent(), s.keys, t.ID)
	if err != nil {
		return err
	}
	dsn.Password = passwords[0].Reveal()
	return nil
}

// Fingerprints reads the schema of every selected tenant that has a home and
// groups the tenants by what it is.
func (s *Service) Fingerprints(ctx context.Context, by controlplane.Actor, q controlplane.TenantQuery) ([]controlplane.FingerprintGroup, error) {
	if err := s.guard.See(by, "tenant.fingerprint", ""); err != nil {
		return nil, err
	}
	majors, err := s.majors(ctx)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	groups := grouping{}
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(8)
	err = s.Each(ctx, q, func(t controlplane.Tenant) bool {
		if !t.State.Migratable() {
			return true
		}
		work.Go(func() error {
			print, err := s.fingerprint(ctx, t)
			if err != nil {
				return fmt.Errorf("fingerprint of tenant %s: %w", t.Slug, err)
			}
			mu.Lock()
			defer mu.Unlock()
			groups.add(t, print, majors[t.Placement.ClusterID])
			return nil
		})
		return ctx.Err() == nil
	})
	if workErr := work.Wait(); workErr != nil {
		return nil, workErr
	}
	if err != nil {
		return nil, err
	}
	return groups.sorted(), nil
}

func (s *Service) fingerprint(ctx context.Context, t controlplane.Tenant) (print pg.Print, err error) {
	err = s.fleet.AsOwner(ctx, t.Placement.DatabaseID, func(owner *pgx.Conn) error {
		print, err = pg.Fingerprint(ctx, owner, t.Placement.Schema)
		return err
	})
	return print, err
}

// majors are the major versions of the clusters by id.
func (s *Service) majors(ctx context.Context) (map[string]int, error) {
	clusters, err := s.fleet.Clusters(ctx)
	if err != nil {
		return nil, err
	}
	majors := make(map[string]int, len(clusters))
	for _, c := range clusters {
		majors[c.ID] = c.Version / 10000
	}
	return majors, nil
}
