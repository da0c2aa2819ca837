package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/manorhq/manor/internal/pgtest"
)

const catalogDir = "../../" + directory

func TestCatalogMigrationsLeadToTheEntSchema(t *testing.T) {
	t.Parallel()
	if err := verify(t.Context(), catalogDir, pgtest.Database(t)); err != nil {
		t.Error(err)
	}
}

// without copies the migrations but for the first one that contains text,
// which it drops from that file.
func without(t *testing.T, text string) string {
	t.Helper()
	dir, dropped := t.TempDir(), false
	files, err := filepath.Glob(filepath.Join(catalogDir, "*.sql"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		rest := strings.Replace(string(b), text, "", 1)
		dropped = dropped || rest != string(b)
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), []byte(rest), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if !dropped {
		t.Fatalf("no migration contains %q", text)
	}
	if err := rehash(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestWhatTheMigrationsLackIsFoundAndWritten(t *testing.T) {
	t.Parallel()
	for what, text := range map[string]string{
		"a column":      `, "forgiven" bigint NOT NULL DEFAULT 0`,
		"an index":      `CREATE INDEX "tenant_version" ON "tenants" ("version");`,
		"a known state": `, 'draining'::text`,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := without(t, text)
			err := verify(t.Context(), dir, pgtest.Database(t))
			if err == nil || !strings.Contains(err.Error(), "is behind ent/schema") {
				t.Errorf("it was not found: %v", err)
			}
			if err := diff(t.Context(), dir, pgtest.Database(t), "add_it"); err != nil {
				t.Fatal(err)
			}
			if files, _ := filepath.Glob(filepath.Join(dir, "*_add_it.sql")); len(files) != 1 {
				t.Errorf("written: %v", files)
			}
			if err := verify(t.Context(), dir, pgtest.Database(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMigrationEditedByHandMustBeHashed(t *testing.T) {
	t.Parallel()
	dir := without(t, `-- Create index "tenant_version" to table: "tenants"`)
	file, err := filepath.Glob(filepath.Join(dir, "*_create_catalog.sql"))
	if err != nil || len(file) != 1 {
		t.Fatal(file, err)
	}
	b, err := os.ReadFile(file[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file[0], append(b, "\n-- edited\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	err = verify(t.Context(), dir, pgtest.Database(t))
	if err == nil || !strings.Contains(err.Error(), "-hash") {
		t.Errorf("got %v", err)
	}
}
