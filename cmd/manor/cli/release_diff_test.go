package cli

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/manorhq/manor/controlplane"
)

var written = &controlplane.Diff{Complete: true, File: "2_b.sql", Files: map[string]string{"2_b.sql": "b", "down/2_b.sql": "back", "atlas.sum": "new"}}

func directory(t *testing.T, files map[string]string) (dir string, read map[string][]byte) {
	t.Helper()
	dir = t.TempDir()
	for name, content := range files {
		must(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		must(os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
	}
	read, err := globMigrations(dir)
	must(err)
	return dir, read
}

// found are all files below a directory.
func found(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	must(fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, name))
		files[name] = string(content)
		return err
	}))
	return files
}

func TestAMigrationIsWrittenAsAWhole(t *testing.T) {
	dir, read := directory(t, map[string]string{"1_a.sql": "a", "atlas.sum": "old", "README": "r"})
	if err := writeMigration(dir, read, written); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"1_a.sql": "a", "2_b.sql": "b", "down/2_b.sql": "back", "atlas.sum": "new", "README": "r"}
	if got := found(t, dir); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestADirectoryThatChangedMeanwhileIsLeftAlone(t *testing.T) {
	for name, content := range map[string]string{"1_a.sql": "edited", "1_b.sql": "new", "down/1_a.sql": "new", "atlas.sum": "edited"} {
		dir, read := directory(t, map[string]string{"1_a.sql": "a", "down/0.sql": "0", "atlas.sum": "old"})
		must(os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
		before := found(t, dir)
		if err := writeMigration(dir, read, written); !errors.Is(err, &controlplane.Error{Code: controlplane.Conflict}) {
			t.Errorf("%s: %v, want a conflict", name, err)
		}
		if got := found(t, dir); !maps.Equal(got, before) {
			t.Errorf("%s: got %v, want %v", name, got, before)
		}
	}
}

// TestNoFileIsOverwritten, nor anything left behind where not all could be
// written, nor anything written outside the directory.
func TestNoFileIsOverwritten(t *testing.T) {
	for _, name := range []string{"taken.txt", "../outside.sql", "/outside.sql", "2_b.sql"} {
		dir, read := directory(t, map[string]string{"1_a.sql": "a", "atlas.sum": "old", "taken.txt": "mine", "down/2_b.sql": "mine"})
		before := found(t, dir)
		if err := writeMigration(dir, read, &controlplane.Diff{File: name, Files: map[string]string{name: "x", "down/2_b.sql": "y", "atlas.sum": "new"}}); err == nil {
			t.Errorf("%s was written", name)
		}
		if got := found(t, dir); !maps.Equal(got, before) {
			t.Errorf("%s: got %v, want %v", name, got, before)
		}
		if _, err := os.Stat(filepath.Join(dir, "../outside.sql")); err == nil {
			t.Errorf("%s was written outside", name)
		}
	}
}
