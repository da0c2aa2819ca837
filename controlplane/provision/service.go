package provision

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/credential"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/controlplane/secret"
	"github.com/manorhq/manor/ent"
)

// Service is the provision room.
type Service struct {
	cat   *catalog.Catalog
	keys  *secret.Keyring
	fleet *fleet.Service
}

// New furnishes the room.
func New(cat *catalog.Catalog, keys *secret.Keyring, f *fleet.Service) *Service {
	return &Service{cat: cat, keys: keys, fleet: f}
}

// Site is one home: whose it is and where.
type Site struct {
	TenantID  string
	Slug      string
	Isolation controlplane.Isolation
	Placement controlplane.Placement
}

// limits for the first migration of a home nobody uses yet: no lock is waited
// for, and statements may take their time.
var limits = migrator.Limits{Lock: 5 * time.Second, Statement: 5 * time.Minute}

// connectionLimit is how many sessions each of a tenant's logins may have
// until tiers say otherwise.
const connectionLimit = 50

// Build makes the home and takes it to a version of a release (nil: it stays
// empty). The error is a *[Refusal] when trying again cannot help.
func (s *Service) Build(ctx context.Context, site Site, release *migrator.Release, version string) error {
	database, err := s.fleet.EnsureDatabase(ctx, site.Placement.DatabaseID)
	if err != nil {
		return err
	}
	home, err := s.home(ctx, site, database)
	if err != nil {
		return err
	}
	if err := s.prove(ctx, database, home); err != nil {
		return err
	}
	if err := s.roles(ctx, site, home); err != nil {
		return err
	}
	return s.fleet.AsOwner(ctx, database.ID, func(owner *pgx.Conn) error {
		if err := pg.CreateHome(ctx, owner, home); err != nil {
			return fmt.Errorf("create the home of tenant %s: %w", site.Slug, err)
		}
		if release == nil || version == "" {
			return nil
		}
		return migrate(ctx, owner, site, home, release, version)
	})
}

// Refusal is a home that cannot be built as it is wanted: its first migration
// fails.
type Refusal struct{ Failure *controlplane.Failure }

func (r *Refusal) Error() string { return r.Failure.String() }

func migrate(ctx context.Context, owner *pgx.Conn, site Site, home pg.Home, release *migrator.Release, version string) error {
	from, err := migrator.CurrentVersion(ctx, owner, home.Schema)
	if err != nil {
		return fmt.Errorf("read the version of tenant %s: %w", site.Slug, err)
	}
	if from > version { // the default went back while the home was being built; nobody uses it yet
		if err := again(ctx, owner, home); err != nil {
			return fmt.Errorf("make the home of tenant %s again: %w", site.Slug, err)
		}
		from = ""
	}
	target := migrator.Target{Marker: home.Marker, Isolation: site.Isolation, From: from, Fresh: true}
	result := release.Apply(ctx, owner, target, version, limits)
	switch result.Outcome {
	case migrator.Applied, migrator.Current:
		return nil
	case migrator.Failed:
		return &Refusal{result.Failure}
	}
	if result.Err != nil {
		return fmt.Errorf("migrate the new home of tenant %s: %w", site.Slug, result.Err)
	}
	return fmt.Errorf("migrate the new home of tenant %s: %s", site.Slug, result.Failure)
}

func again(ctx context.Context, owner *pgx.Conn, home pg.Home) error {
	if err := pg.DropHome(ctx, owner, home); err != nil {
		return err
	}
	return pg.CreateHome(ctx, owner, home)
}

// prove refuses a home that is not this catalog's to work on. The control login
// may do anything to anybody's roles and databases: what it is about to do is
// asked of the owner first.
func (s *Service) prove(ctx context.Context, database *ent.Database, home pg.Home) error {
	return s.fleet.LookInto(ctx, database, func(owner *pgx.Conn) error { return pg.CheckHome(ctx, owner, home) })
}

func (s *Service) roles(ctx context.Context, site Site, home pg.Home) error {
	err := s.fleet.AsControl(ctx, site.Placement.ClusterID, func(control *pgx.Conn) error { return pg.CreateRoles(ctx, control, home) })
	if err != nil {
		return fmt.Errorf("create the roles of tenant %s: %w", site.Slug, err)
	}
	return nil
}

// home is the site as package pg wants it, with fresh verifiers and a fence
// newer than any before.
func (s *Service) home(ctx context.Context, site Site, database *ent.Database) (pg.Home, error) {
	h, err := s.names(ctx, site, database)
	if err != nil {
		return h, err
	}
	passwords, err := credential.Passwords(ctx, s.cat.Ent(), s.keys, site.TenantID)
	if err != nil {
		return h, err
	}
	for i, p := range passwords {
		if h.Verifiers[i], err = pg.Verifier(p); err != nil {
			return h, fmt.Errorf("make the verifier of %s: %w", h.Logins[i], err)
		}
	}
	return h, nil
}

// names is home without what only making it needs.
func (s *Service) names(ctx context.Context, site Site, database *ent.Database) (pg.Home, error) {
	incarnation, err := s.cat.Incarnation(ctx)
	if err != nil {
		return pg.Home{}, err
	}
	var epoch int64
	err = s.cat.InTx(ctx, func(tx *catalog.Tx) (err error) {
		epoch, err = tx.NextEpoch(ctx)
		return err
	})
	if err != nil {
		return pg.Home{}, err
	}
	p := site.Placement
	return pg.Home{
		TenantID: site.TenantID, Slug: site.Slug, Database: database.Name, Connect: database.ConnectRole,
		Schema: p.Schema, Role: p.Role, Logins: p.Logins, ConnectionLimit: connectionLimit,
		Marker: pg.Marker{TenantID: site.TenantID, Slug: site.Slug, Schema: p.Schema, Incarnation: incarnation,
			Generation: p.Generation, Epoch: epoch},
	}, nil
}

// Raze removes the home, its roles and, in database isolation, its database.
func (s *Service) Raze(ctx context.Context, site Site) error {
	database, err := s.fleet.Database(ctx, site.Placement.DatabaseID)
	if err != nil {
		return err
	}
	home, err := s.names(ctx, site, database)
	if err != nil {
		return err
	}
	if err := s.raze(ctx, site, database, home); err != nil {
		return err
	}
	err = s.fleet.AsControl(ctx, site.Placement.ClusterID, func(control *pgx.Conn) error { return pg.DropRoles(ctx, control, home) })
	if err != nil {
		return fmt.Errorf("drop the roles of tenant %s: %w", site.Slug, err)
	}
	return nil
}

func (s *Service) raze(ctx context.Context, site Site, database *ent.Database, home pg.Home) error {
	if site.Isolation == controlplane.IsolationDatabase {
		return s.fleet.DropDatabaseIf(ctx, database, func(ctx context.Context, tx pgx.Tx) error { return pg.MayDrop(ctx, tx, home) })
	}
	// A shared database may not be there yet when its first tenant failed.
	if _, err := s.fleet.EnsureDatabase(ctx, database.ID); err != nil {
		return err
	}
	err := s.fleet.AsOwner(ctx, database.ID, func(owner *pgx.Conn) error { return pg.DropHome(ctx, owner, home) })
	if err != nil {
		return fmt.Errorf("drop the home of tenant %s: %w", site.Slug, err)
	}
	return nil
}

// Admit lets the tenant's logins in, or keeps them out and ends their sessions.
func (s *Service) Admit(ctx context.Context, site Site, allowed bool) error {
	database, err := s.fleet.Database(ctx, site.Placement.DatabaseID)
	if err != nil {
		return err
	}
	home, err := s.names(ctx, site, database)
	if err != nil {
		return err
	}
	if err := s.prove(ctx, database, home); err != nil {
		return err
	}
	err = s.fleet.AsControl(ctx, site.Placement.ClusterID, func(control *pgx.Conn) error { return pg.SetLogins(ctx, control, home, allowed) })
	if err != nil {
		return fmt.Errorf("let the logins of tenant %s in or out: %w", site.Slug, err)
	}
	return nil
}
