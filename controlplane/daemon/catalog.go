package daemon

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/secret"
	"github.com/manorhq/manor/controlplane/work"
)

// MigrateCatalog brings the catalog, and the jobs' tables in it, to this
// binary's version and returns the versions that ran. A new catalog gets a key
// file if there is none.
func MigrateCatalog(ctx context.Context, c Config) ([]string, error) {
	cat, err := catalog.Open(ctx, c.Catalog, catalog.Config{})
	if err != nil {
		return nil, err
	}
	defer cat.Close()
	if err := ensureKeyring(ctx, cat, c.KeyFile); err != nil {
		return nil, err
	}
	applied, err := cat.Migrate(ctx)
	if err != nil {
		return applied, err
	}
	return applied, work.Migrate(ctx, cat)
}

// ensureKeyring makes a key file only for a catalog that has nothing sealed
// yet: another one would need the file it was created with.
func ensureKeyring(ctx context.Context, cat *catalog.Catalog, path string) error {
	status, err := cat.Status(ctx)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); status.Current == "" && errors.Is(err, fs.ErrNotExist) {
		_, err = secret.CreateKeyring(path)
		return err
	}
	_, err = secret.OpenKeyring(path)
	return err
}

// CatalogStatus says where the catalog is and where this binary wants it.
func CatalogStatus(ctx context.Context, c Config) (catalog.Status, error) {
	cat, err := catalog.Open(ctx, c.Catalog, catalog.Config{})
	if err != nil {
		return catalog.Status{}, err
	}
	defer cat.Close()
	return cat.Status(ctx)
}
