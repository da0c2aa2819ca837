package controlplanetest

import (
	"fmt"
	"net"
	"path"
	"strconv"
	"testing"

	"ariga.io/atlas/sql/migrate"
)

// Summed are files with the atlas.sum that belongs to them.
func Summed(t testing.TB, files map[string]string) map[string][]byte {
	t.Helper()
	dir := &migrate.MemDir{}
	out := map[string][]byte{}
	for name, content := range files {
		out[name] = []byte(content)
		if path.Dir(name) == "." {
			if err := dir.WriteFile(name, out[name]); err != nil {
				t.Fatal(err)
			}
		}
	}
	sum, err := dir.Checksum()
	if err != nil {
		t.Fatal(err)
	}
	if out[migrate.HashFileName], err = sum.MarshalText(); err != nil {
		t.Fatal(err)
	}
	return out
}

// First are two versions: a table of notes, and an index on it.
func First() map[string]string {
	return map[string]string{
		"1_notes.sql": "CREATE TABLE notes (id int PRIMARY KEY, body text NOT NULL, stars int);\n",
		"2_index.sql": "CREATE INDEX notes_body_idx ON notes (body);\n",
	}
}

// Second is First with two versions more: a CHECK that a tenant with negative
// stars cannot take, and a table.
func Second() map[string]string {
	files := First()
	files["3_stars.sql"] = "ALTER TABLE notes ADD COLUMN pinned bool;\nALTER TABLE notes ADD CONSTRAINT notes_stars_check CHECK (stars >= 0);\n"
	files["4_tags.sql"] = "CREATE TABLE tags (id int PRIMARY KEY, note_id int REFERENCES notes (id));\n"
	return files
}

// Slugs are n slugs that begin alike: "name-001", "name-002", ….
func Slugs(name string, n int) []string {
	slugs := make([]string, n)
	for i := range slugs {
		slugs[i] = fmt.Sprintf("%s-%03d", name, i+1)
	}
	return slugs
}

func hostPort(s Server) string { return net.JoinHostPort(s.Host(), strconv.Itoa(s.Port())) }
