// Package catalog embeds the catalog's own migrations, an Atlas directory.
// `go run ./internal/catalogdiff NAME` writes the next file from ent/schema.
package catalog

import (
	"embed"
	"io/fs"
)

//go:embed *.sql atlas.sum
var dir embed.FS

// Files are the migrations with atlas.sum, by name.
func Files() (map[string][]byte, error) {
	names, err := fs.Glob(dir, "*")
	if err != nil {
		return nil, err
	}
	files := make(map[string][]byte, len(names))
	for _, name := range names {
		if files[name], err = dir.ReadFile(name); err != nil {
			return nil, err
		}
	}
	return files, nil
}
