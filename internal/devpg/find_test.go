package devpg

import (
	"os"
	"path/filepath"
	"testing"
)

// These tests write programs and run them at once, so they are not parallel: a process that another test forks at
// that moment could still have the file open for writing, and Linux then refuses to run it.

func TestNewestSuitableServerIsFound(t *testing.T) {
	for _, c := range []struct {
		name    string
		servers map[string]string // folder: version
		version string
		want    string // folder, "" if none
	}{
		{"nothing there", nil, "", ""},
		{"in PATH", map[string]string{"/path/bin": "16.1"}, "", "/path/bin"},
		{"Debian", map[string]string{"/usr/lib/postgresql/17/bin": "17.2"}, "", "/usr/lib/postgresql/17/bin"},
		{"Red Hat", map[string]string{"/usr/pgsql-16/bin": "16.2"}, "", "/usr/pgsql-16/bin"},
		{"Homebrew", map[string]string{"/opt/homebrew/opt/postgresql@18/bin": "18.0"}, "", "/opt/homebrew/opt/postgresql@18/bin"},
		{"Homebrew on Intel", map[string]string{"/usr/local/opt/postgresql@18/bin": "18.0"}, "", "/usr/local/opt/postgresql@18/bin"},
		{
			"Postgres.app", map[string]string{"/Applications/Postgres.app/Contents/Versions/17/bin": "17.0"}, "",
			"/Applications/Postgres.app/Contents/Versions/17/bin",
		},
		{
			"newest before PATH", map[string]string{"/path/bin": "15.9", "/usr/lib/postgresql/15/bin": "15.10"}, "",
			"/usr/lib/postgresql/15/bin",
		},
		{"PATH among equals", map[string]string{"/path/bin": "15.9", "/usr/lib/postgresql/15/bin": "15.9"}, "", "/path/bin"},
		{
			"the version asked for", map[string]string{"/usr/lib/postgresql/15/bin": "15.9", "/usr/lib/postgresql/17/bin": "17.1"}, "15",
			"/usr/lib/postgresql/15/bin",
		},
		{"another version", map[string]string{"/usr/lib/postgresql/15/bin": "15.9"}, "18", ""},
		{"too old", map[string]string{"/usr/lib/postgresql/13/bin": "13.9"}, "", ""},
		{"a beta", map[string]string{"/path/bin": "19beta1", "/usr/lib/postgresql/18/bin": "18.4"}, "", "/path/bin"},
		{"Debian's own words", map[string]string{"/path/bin": "15.18 (Debian 15.18-0+deb12u1)"}, "15", "/path/bin"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			for dir, version := range c.servers {
				writeServer(t, filepath.Join(root, dir), version)
			}
			m := machine{root: root, path: []string{filepath.Join(root, "path/bin")}}
			bin, ok := m.installed(t.Context(), c.version)
			if ok != (c.want != "") || ok && bin.dir != filepath.Join(root, c.want) {
				t.Errorf("got %v %t, want %q", bin, ok, c.want)
			}
		})
	}
}

func TestClientsAndBrokenServersArePassedOver(t *testing.T) {
	root := t.TempDir()
	client, half, broken := filepath.Join(root, "client"), filepath.Join(root, "half"), filepath.Join(root, "broken")
	writeProgram(t, filepath.Join(client, "psql"))
	writeServer(t, half, "17.1")
	if err := os.Remove(filepath.Join(half, "initdb")); err != nil {
		t.Fatal(err)
	}
	writeServer(t, broken, "17.1")
	writeProgram(t, filepath.Join(broken, "postgres"), "exit 127")
	m := machine{root: root, path: []string{client, half, broken}}
	if bin, ok := m.installed(t.Context(), ""); ok {
		t.Errorf("got %v", bin)
	}
}

func TestPgConfigNamesAFolder(t *testing.T) {
	root := t.TempDir()
	writeServer(t, filepath.Join(root, "elsewhere"), "17.1")
	writeProgram(t, filepath.Join(root, "bin", "pg_config"), `[ "$1" = --bindir ] && echo `+filepath.Join(root, "elsewhere"))
	m := machine{root: root, path: []string{filepath.Join(root, "bin")}}
	if bin, ok := m.installed(t.Context(), ""); !ok || bin.version != "17.1" {
		t.Errorf("got %v %t", bin, ok)
	}
}
