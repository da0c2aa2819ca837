package catalog

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/setting"
	catalogfiles "github.com/manorhq/manor/migrations/catalog"
)

// incarnation is the setting that tells this catalog from any other, also from
// a copy of it that was claimed for another environment.
const incarnation = "incarnation"

// release is the catalog's own migrations, parsed once per process.
var release = sync.OnceValues(func() (*migrator.Release, error) {
	files, err := catalogfiles.Files()
	if err != nil {
		return nil, err
	}
	r, err := migrator.Parse(files)
	if err != nil {
		return nil, fmt.Errorf("the catalog migrations of this binary: %w", err)
	}
	return r, nil
})

// Status says where a catalog is and where this binary wants it.
type Status struct {
	Current string   `json:"current"` // version of the catalog; "" before the first migration
	Latest  string   `json:"latest"`  // last version that this binary has
	Pending []string `json:"pending"` // versions that `manor catalog migrate` would run
	Newer   bool     `json:"newer"`   // the catalog has versions that this binary does not know
	Copy    bool     `json:"copy"`    // it was copied from another catalog and is to be claimed before it is written to
}

// Status reads where the catalog is. It changes nothing.
func (c *Catalog) Status(ctx context.Context) (Status, error) {
	r, err := release()
	if err != nil {
		return Status{}, err
	}
	applied, err := c.applied(ctx)
	if err != nil {
		return Status{}, c.Explain(fmt.Errorf("reading the catalog's version: %w", err))
	}
	s := compare(r.Versions(), applied)
	s.Copy = c.watch.copied.Load()
	return s, nil
}

// applied lists the versions that ran to their end, in order.
func (c *Catalog) applied(ctx context.Context) ([]string, error) {
	var exists bool
	err := c.pool.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, schemaName+".atlas_schema_revisions").Scan(&exists)
	if err != nil || !exists {
		return nil, err
	}
	rows, err := c.pool.Query(ctx, `
		SELECT version FROM atlas_schema_revisions
		WHERE version NOT LIKE '.%' AND applied = total ORDER BY version COLLATE "C"`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func compare(known []controlplane.Version, applied []string) Status {
	s := Status{Pending: []string{}}
	for _, v := range known {
		s.Latest = v.Version
		if !slices.Contains(applied, v.Version) {
			s.Pending = append(s.Pending, v.Version)
		}
	}
	for _, version := range applied {
		s.Current = version
		s.Newer = s.Newer || !slices.ContainsFunc(known, func(v controlplane.Version) bool { return v.Version == version })
	}
	return s
}

// Check refuses a catalog that this binary must not write to: one that is not
// migrated, or is newer.
func (c *Catalog) Check(ctx context.Context) error {
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	switch {
	case s.Newer:
		return newer(s)
	case s.Current == "":
		return controlplane.Errorf(controlplane.Refused, "the catalog, %s, is not migrated", c.where()).
			WithHint("run `manor catalog migrate`")
	case len(s.Pending) > 0:
		return controlplane.Errorf(controlplane.Refused, "the catalog is at version %s; this binary needs %s", s.Current, s.Latest).
			WithHint("run `manor catalog migrate`")
	}
	return nil
}

func newer(s Status) error {
	return controlplane.Errorf(controlplane.Refused, "the catalog is at version %s, newer than this binary, which knows %s", s.Current, s.Latest).
		WithHint("use the manor that migrated the catalog, or a newer one")
}

// Migrate brings the catalog to this binary's version and returns the versions
// that ran. On a catalog that is there already it does nothing; a copy stays one.
func (c *Catalog) Migrate(ctx context.Context) ([]string, error) {
	s, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	if s.Newer {
		return nil, newer(s)
	}
	r, err := release()
	if err != nil {
		return nil, err
	}
	applied, err := c.apply(ctx, r)
	if err != nil {
		return applied, c.explainMigrate(err)
	}
	if err := errors.Join(c.keep(ctx, incarnation, rand.Text()), c.settle(ctx)); err != nil {
		return applied, c.Explain(fmt.Errorf("giving the catalog its incarnation and its place: %w", err))
	}
	return applied, nil
}

func (c *Catalog) apply(ctx context.Context, r *migrator.Release) ([]string, error) {
	conn, err := c.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	return r.ApplyCatalog(ctx, conn.Conn(), schemaName)
}

func (c *Catalog) explainMigrate(err error) error {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "42501" {
		e := controlplane.Errorf(controlplane.Refused, "migrating the catalog, %s: %s", c.where(), pg.Message)
		e.Cause = err
		return e.WithHint("the login in MANOR_CATALOG must own the database: ALTER DATABASE … OWNER TO …")
	}
	return c.Explain(fmt.Errorf("migrating the catalog: %w", err))
}

// keep stores a setting that does not exist yet.
func (c *Catalog) keep(ctx context.Context, key, value string) error {
	return c.ent.Setting.Create().SetID(key).SetValue(value).OnConflictColumns(setting.FieldID).Ignore().Exec(ctx)
}

// Incarnation is the random name that the catalog got when it was first
// migrated. Markers carry it, so that a copied catalog cannot write to homes.
func (c *Catalog) Incarnation(ctx context.Context) (string, error) {
	s, err := c.ent.Setting.Get(ctx, incarnation)
	if ent.IsNotFound(err) {
		return "", controlplane.Errorf(controlplane.Refused, "the catalog has no incarnation").WithHint("run `manor catalog migrate`")
	}
	if err != nil {
		return "", c.Explain(fmt.Errorf("reading the catalog's incarnation: %w", err))
	}
	return s.Value, nil
}

func (c *Catalog) where() string { return where(c.pool.Config().ConnConfig) }
