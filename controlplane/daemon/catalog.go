package daemon

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"strconv"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/doctor"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/controlplane/secret"
	"github.com/manorhq/manor/controlplane/work"
)

// MigrateCatalog brings the catalog, and the jobs' tables in it, to this
// binary's version and returns the versions that ran. A new catalog gets a key
// file if there is none. A copy of a catalog is migrated too, and stays a copy.
func MigrateCatalog(ctx context.Context, c Config) ([]string, error) {
	cat, err := catalog.Open(ctx, c.Catalog, catalog.Config{Copy: true})
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

// ClaimCatalog makes a catalog of its own out of a copy. It works on the catalog
// alone and needs no service; one that runs on it would refuse to work.
func ClaimCatalog(ctx context.Context, c Config, n controlplane.NewClaim) (*controlplane.Claim, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	cat, err := catalog.Open(ctx, c.Catalog, catalog.Config{Copy: true})
	if err != nil {
		return nil, err
	}
	defer cat.Close()
	if err := cat.Check(ctx); err != nil {
		return nil, err
	}
	keys, err := secret.OpenKeyring(c.KeyFile)
	if err != nil {
		return nil, err
	}
	presence := work.Join(cat, work.Process{ID: workerName(), Version: c.Version}, c.Logger)
	d := &Daemon{config: c, presence: presence, fleet: fleet.New(cat, keys, presence, c.Dial)}
	if err := d.fleet.CheckKey(ctx); err != nil {
		return nil, err
	}
	d.live(ctx)
	defer d.leave()
	return doctor.Claim(ctx, cat, d.fleet, operator(), n)
}

// operator is the user of this process: whoever works on the catalog itself
// speaks to no API that would know.
func operator() controlplane.Actor {
	u, err := user.Current()
	if err != nil || u.Username == "" {
		return controlplane.Actor{Kind: "user", Name: "uid-" + strconv.Itoa(os.Getuid())}
	}
	return controlplane.Actor{Kind: "user", Name: u.Username}
}
