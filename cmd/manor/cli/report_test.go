package cli

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/manorhq/manor/controlplane"
)

func TestAFileIsWrittenWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "junit.xml")
	half := errors.New("half-way")
	for _, c := range []struct {
		text string
		err  error
		want string
	}{{"first", nil, "first"}, {"second", half, "first"}, {"third", nil, "third"}} {
		err := writeWhole(file, func(w io.Writer) error {
			_, err := io.WriteString(w, c.text)
			return errors.Join(err, c.err)
		})
		got, readErr := os.ReadFile(file)
		if !errors.Is(err, c.err) || readErr != nil || string(got) != c.want {
			t.Errorf("%s: %v; the file holds %q, %v", c.text, err, got, readErr)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v lie around, %v", entries, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v: others cannot read it", info.Mode(), err)
	}
}

func TestAFailureIsAtTheLineOfItsStatement(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "3_c.sql"), []byte("-- größer\nSELECT 1;\n\nALTER TABLE é\n  ADD x int,\n  ADD y itn;\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const sql = "ALTER TABLE é\n  ADD x int,\n  ADD y itn;"
	r := &reports{migrations: dir}
	for _, c := range []struct {
		what string
		f    controlplane.Failure
		want int
	}{
		{"no position", controlplane.Failure{File: "3_c.sql", SQL: sql}, 4},
		{"at its first character", controlplane.Failure{File: "3_c.sql", SQL: sql, Position: 1}, 4},
		{"after the second line break", controlplane.Failure{File: "3_c.sql", SQL: sql, Position: 28}, 6},
		{"beyond its end", controlplane.Failure{File: "3_c.sql", SQL: sql, Position: 999}, 6},
		{"the file says something else now", controlplane.Failure{File: "3_c.sql", SQL: "DROP TABLE x"}, 0},
		{"no statement", controlplane.Failure{File: "3_c.sql"}, 0},
		{"no such file", controlplane.Failure{File: "4_d.sql", SQL: sql}, 0},
		{"a file elsewhere", controlplane.Failure{File: "../../" + dir + "/3_c.sql", SQL: sql}, 0},
	} {
		if got := r.line(&c.f); got != c.want {
			t.Errorf("%s: line %d, want %d", c.what, got, c.want)
		}
	}
}
