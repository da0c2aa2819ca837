package migrator_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/migrator"
)

func TestCatalogIsMigratedOnceByManyAtOnce(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	f := files{"1_a.sql": "CREATE TABLE a (id int);", "2_b.sql": "CREATE TABLE b (id int);"}
	r := parse(t, f)
	var group errgroup.Group
	results := make([][]string, 4)
	for i := range results {
		conn := db.connect()
		group.Go(func() (err error) {
			results[i], err = r.ApplyCatalog(t.Context(), conn, "manor_catalog")
			return err
		})
	}
	noError(t, group.Wait())
	var all []string
	for _, applied := range results {
		all = append(all, applied...)
	}
	if diff := cmp.Diff([]string{"1", "2"}, all, cmp.Transformer("sort", sorted)); diff != "" {
		t.Error(diff)
	}
	f["3_c.sql"] = "INSERT INTO a VALUES (1);"
	applied, err := parse(t, f).ApplyCatalog(t.Context(), db.conn, "manor_catalog")
	noError(t, err)
	equal(t, "then", strings.Join(applied, " "), "3")
	version, err := migrator.CurrentVersion(t.Context(), db.conn, "manor_catalog")
	noError(t, err)
	equal(t, "version", version, "3")

	_, err = r.ApplyCatalog(t.Context(), db.conn, "manor_catalog")
	equal(t, "an older program", controlplane.CodeOf(err), controlplane.Refused)
	f["3_c.sql"] = "INSERT INTO a VALUES (2);"
	_, err = parse(t, f).ApplyCatalog(t.Context(), db.conn, "manor_catalog")
	equal(t, "an edited migration", controlplane.CodeOf(err), controlplane.Refused)
}

func sorted(in []string) map[string]int {
	counts := map[string]int{}
	for _, s := range in {
		counts[s]++
	}
	return counts
}

func TestCatalogMigrationThatFailsIsToldAndLeavesTheVersionBefore(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	r := parse(t, files{"1_a.sql": "CREATE TABLE a (id int);", "2_b.sql": "SELECT 'é';\nSELECT 'é', nothing;"})
	applied, err := r.ApplyCatalog(t.Context(), db.conn, "public")
	equal(t, "applied", strings.Join(applied, " "), "1")
	if err == nil || !strings.Contains(err.Error(), "2_b.sql statement 2 position 13") {
		t.Errorf("got %v", err)
	}
	applied, err = parse(t, files{"1_a.sql": "CREATE TABLE a (id int);", "2_b.sql": "SELECT 1;"}).ApplyCatalog(t.Context(), db.conn, "public")
	noError(t, err)
	equal(t, "applied", strings.Join(applied, " "), "2")
}
