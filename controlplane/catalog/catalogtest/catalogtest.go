package catalogtest

import (
	"testing"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/work"
	"github.com/manorhq/manor/internal/pgtest"
)

// New is a migrated catalog that no other test sees. It is closed and dropped
// after the test.
func New(t testing.TB) *catalog.Catalog {
	t.Helper()
	return Open(t, pgtest.Database(t))
}

// URL is the URL of a migrated catalog that no other test sees, for tests that
// open it themselves, as a daemon or a second process would.
func URL(t testing.TB) string {
	t.Helper()
	url := pgtest.Database(t)
	cat, err := open(t, url)
	if err != nil {
		t.Fatalf("catalogtest: %v", err)
	}
	cat.Close()
	return url
}

// Open opens the catalog at url once more, migrated, until the end of the test.
func Open(t testing.TB, url string) *catalog.Catalog {
	t.Helper()
	cat, err := open(t, url)
	if err != nil {
		t.Fatalf("catalogtest: %v", err)
	}
	t.Cleanup(cat.Close)
	return cat
}

func open(t testing.TB, url string) (*catalog.Catalog, error) {
	cat, err := catalog.Open(t.Context(), controlplane.NewSecret(url), catalog.Config{})
	if err != nil {
		return nil, err
	}
	if _, err := cat.Migrate(t.Context()); err != nil {
		cat.Close()
		return nil, err
	}
	if err := work.Migrate(t.Context(), cat); err != nil {
		cat.Close()
		return nil, err
	}
	return cat, nil
}
