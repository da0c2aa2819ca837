package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ariga.io/atlas/sql/migrate"
)

// releaseOne is how many versions release 1 has; release 2 has two more.
const releaseOne = 20

// cutRelease copies the first versions of a migration directory, with their down files, and writes the atlas.sum that
// fits. It returns the versions of the whole directory.
func cutRelease(from, to string) ([]string, error) {
	source, err := migrate.NewLocalDir(from)
	if err != nil {
		return nil, err
	}
	files, err := source.Files()
	if err != nil {
		return nil, err
	}
	if len(files) != releaseOne+2 {
		return nil, fmt.Errorf("%s holds %d versions, the demo is about %d and 2 more", from, len(files), releaseOne)
	}
	if err := os.MkdirAll(filepath.Join(to, "down"), 0o755); err != nil {
		return nil, err
	}
	var versions []string
	for i, file := range files {
		versions = append(versions, file.Version())
		if i >= releaseOne {
			continue
		}
		if err := copyVersion(from, to, file); err != nil {
			return nil, err
		}
	}
	return versions, hashDir(to)
}

func copyVersion(from, to string, file migrate.File) error {
	if err := os.WriteFile(filepath.Join(to, file.Name()), file.Bytes(), 0o644); err != nil {
		return err
	}
	down, err := os.ReadFile(filepath.Join(from, "down", file.Name()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to, "down", file.Name()), down, 0o644)
}

// hashDir does what `atlas migrate hash` does.
func hashDir(dir string) error {
	local, err := migrate.NewLocalDir(dir)
	if err != nil {
		return err
	}
	sum, err := local.Checksum()
	if err != nil {
		return err
	}
	return migrate.WriteSumFile(local, sum)
}

// pushFirst publishes release 1.
func (d *demo) pushFirst(ctx context.Context) (err error) {
	dir := d.path("release-1")
	if d.versions, err = cutRelease(d.migrations, dir); err != nil {
		return fmt.Errorf("release 1: %w", err)
	}
	d.say("The application is a project tracker of %d versions. Release 1 is its first %d.", len(d.versions), releaseOne)
	return d.manor(ctx, "release", "push", dir, "--name", "v1", "--extension", "citext,pgcrypto")
}
