package catalog_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/internal/pgtest"
)

// empty is a catalog that was never migrated.
func empty(t *testing.T) *catalog.Catalog {
	t.Helper()
	return reopen(t, pgtest.Database(t))
}

func reopen(t *testing.T, url string) *catalog.Catalog {
	t.Helper()
	cat, err := catalog.Open(t.Context(), controlplane.NewSecret(url), catalog.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cat.Close)
	return cat
}

func refused(t *testing.T, err error, says string) {
	t.Helper()
	e, ok := err.(*controlplane.Error)
	if !ok || e.Code != controlplane.Refused || !strings.Contains(e.Message, says) || e.Hint == "" {
		t.Errorf("got %v; want it refused with %q and a hint", err, says)
	}
}

func TestCatalogThatIsNotMigratedIsRefused(t *testing.T) {
	t.Parallel()
	cat := empty(t)
	refused(t, cat.Check(t.Context()), "is not migrated")
	status, err := cat.Status(t.Context())
	if err != nil || status.Current != "" || len(status.Pending) < 2 || status.Latest != status.Pending[len(status.Pending)-1] {
		t.Errorf("status %+v, %v", status, err)
	}
}

func TestMigrateTwiceIsANoOp(t *testing.T) {
	t.Parallel()
	cat := empty(t)
	pending, err := cat.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	applied, err := cat.Migrate(t.Context())
	if err != nil || strings.Join(applied, " ") != strings.Join(pending.Pending, " ") {
		t.Fatalf("the first applied %v, %v; want %v", applied, err, pending.Pending)
	}
	incarnation, err := cat.Incarnation(t.Context())
	if err != nil || len(incarnation) < 20 {
		t.Errorf("incarnation %q, %v", incarnation, err)
	}
	applied, err = cat.Migrate(t.Context())
	if err != nil || len(applied) != 0 {
		t.Errorf("the second applied %v, %v", applied, err)
	}
	if again, _ := cat.Incarnation(t.Context()); again != incarnation {
		t.Errorf("the incarnation changed from %s to %s", incarnation, again)
	}
	if err := cat.Check(t.Context()); err != nil {
		t.Error(err)
	}
	status, err := cat.Status(t.Context())
	if err != nil || status.Current != status.Latest || len(status.Pending) != 0 || status.Newer {
		t.Errorf("status %+v, %v", status, err)
	}
}

func TestMigrateFromSeveralProcessesAtOnceRunsEachVersionOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	times, incarnations := map[string]int{}, map[string]bool{}
	for range 4 {
		cat := reopen(t, url)
		wg.Go(func() {
			applied, err := cat.Migrate(t.Context())
			incarnation, err2 := cat.Incarnation(t.Context())
			if err != nil || err2 != nil {
				t.Error(err, err2)
			}
			mu.Lock()
			defer mu.Unlock()
			incarnations[incarnation] = true
			for _, version := range applied {
				times[version]++
			}
		})
	}
	wg.Wait()
	for version, n := range times {
		if n != 1 {
			t.Errorf("version %s ran %d times", version, n)
		}
	}
	if len(incarnations) != 1 || len(times) == 0 {
		t.Errorf("incarnations %v, versions %v", incarnations, times)
	}
}

func TestCatalogNewerThanTheBinaryIsRefused(t *testing.T) {
	t.Parallel()
	cat := empty(t)
	if _, err := cat.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := cat.Pool().Exec(t.Context(), `
		INSERT INTO atlas_schema_revisions
		SELECT (jsonb_populate_record(r, '{"version": "29990101000000"}')).* FROM atlas_schema_revisions r ORDER BY version LIMIT 1`)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, cat.Check(t.Context()), "newer than this binary")
	_, err = cat.Migrate(t.Context())
	refused(t, err, "29990101000000")
}

func TestCatalogOlderThanTheBinaryIsRefused(t *testing.T) {
	t.Parallel()
	cat := empty(t)
	if _, err := cat.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := cat.Pool().Exec(t.Context(), `DELETE FROM atlas_schema_revisions WHERE version = (SELECT max(version) FROM atlas_schema_revisions)`); err != nil {
		t.Fatal(err)
	}
	refused(t, cat.Check(t.Context()), "this binary needs")
}

func TestCatalogWhoseLoginMayNotCreateIsRefused(t *testing.T) {
	t.Parallel()
	user, password := pgtest.ControlLogin(t)
	cat := reopen(t, strings.Replace(pgtest.Database(t), "://"+userinfo(t)+"@", "://"+user+":"+password+"@", 1))
	_, err := cat.Migrate(t.Context())
	refused(t, err, "permission denied")
}

func userinfo(t *testing.T) string {
	t.Helper()
	url := pgtest.Server(t).URL("postgres")
	return url[strings.Index(url, "://")+3 : strings.LastIndex(url, "@")]
}
