package cli

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"

	"github.com/spf13/cobra"

	"github.com/manorhq/manor/controlplane"
)

func (a *app) releaseDiff() *cobra.Command {
	var f diffFlags
	cmd := &cobra.Command{
		Use:   "diff NAME",
		Short: "Write the next migration from the desired schema",
		Long: `Compare what a migration directory leads to with a schema file that says what
is desired, and write the migration between the two: <UTC time>_NAME.sql, a down
file where one could be computed and was seen to lead back, and atlas.sum. Both
sides are made in a scratch database of a cluster, which is dropped again.

Atlas computes the migration. It leaves out views, functions, triggers, policies,
grants and much else, and takes a rename for a drop; so the result is run, and
its fingerprint compared with the desired one. What does not lead there, or looks
like a rename, is named and not written; --partial writes the rest.

Exit codes: 0 when it was written or there is nothing to do, 6 when a part of it
has to be written by hand.`,
		Example: "  manor release diff add_teams\n  manor release diff add_teams --dry-run\n  manor release diff check --dry-run -o json | jq .in_sync",
		Args:    args(1, 1, "the migration's name"), ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVar(&f.dir, "dir", "migrations/tenant", "the migration `directory`")
	cmd.Flags().StringVar(&f.schema, "schema", "schema/tenant.sql", "the `file` that makes the desired schema from nothing")
	cmd.Flags().StringVar(&f.cluster, "cluster", "", "`cluster` whose PostgreSQL and extensions count (default: the first active one that answers)")
	cmd.Flags().BoolVar(&f.partial, "partial", false, "write it although a part has to be written by hand")
	must(cmd.MarkFlagDirname("dir"))
	must(cmd.MarkFlagFilename("schema", "sql"))
	dryRun := dryRunFlag(cmd)
	cmd.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		n, err := f.read(args[0])
		if err != nil {
			return err
		}
		return a.with(cmd, false, func(ctx context.Context, s *session) error {
			d, err := s.DiffRelease(ctx, n)
			if err != nil {
				return err
			}
			write := d.File != "" && (d.Complete || f.partial)
			if write && !*dryRun {
				if err := writeMigration(f.dir, n.Files, d); err != nil {
					return err
				}
			}
			if err := a.print.Diff(d, f.dir, f.schema, write && !*dryRun); err != nil || d.InSync || write {
				return err
			}
			return byHand(d)
		})
	})
	return cmd
}

// byHand is the exit of a diff that is not written.
func byHand(d *controlplane.Diff) error {
	e := &exit{code: exitRefused, message: "nothing was written: a part of the migration has to be written by hand", hint: "--partial writes the rest, to begin with"}
	if d.File == "" {
		e.message, e.hint = "nothing was written: all of the migration has to be written by hand", ""
	}
	return e
}

type diffFlags struct {
	dir, schema, cluster string
	partial              bool
}

// read reads the directory and the schema file.
func (f *diffFlags) read(name string) (controlplane.NewDiff, error) {
	n := controlplane.NewDiff{Name: name, Path: f.schema, Cluster: f.cluster}
	if err := n.Validate(); err != nil {
		return n, err
	}
	var err error
	if n.Files, err = globMigrations(f.dir); err != nil {
		return n, err
	}
	if n.Schema, err = os.ReadFile(f.schema); err != nil {
		if pe, ok := errors.AsType[*fs.PathError](err); ok {
			err = pe.Err
		}
		return n, controlplane.Errorf(controlplane.Invalid, "schema file %s cannot be read: %w", f.schema, err).
			WithHint("--schema names the file that makes the desired schema from nothing")
	}
	return n, nil
}

// writeMigration writes the files of a diff into the directory that it was
// computed from, each in one step, and atlas.sum last: a directory in which it
// was interrupted does not fit its atlas.sum, and is refused by everybody. Only
// atlas.sum is ever replaced.
func writeMigration(dir string, read map[string][]byte, d *controlplane.Diff) error {
	now, err := globMigrations(dir)
	if err != nil {
		return err
	}
	if !maps.EqualFunc(now, read, bytes.Equal) {
		return controlplane.Errorf(controlplane.Conflict, "migration directory %s was changed meanwhile", dir).WithHint("run it again")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return cannotRead(dir, err)
	}
	defer root.Close()
	for i, name := range d.Names() {
		if err := writeFile(root, name, d.Files[name]); err != nil {
			for _, written := range d.Names()[:i] {
				_ = root.Remove(written)
			}
			return controlplane.Errorf(controlplane.Internal, "write %s into migration directory %s: %w", name, dir, err)
		}
	}
	return nil
}

// writeFile gives a file its name when it is complete.
func writeFile(root *os.Root, name, content string) error {
	folder, base := path.Split(name)
	if folder != "" {
		if err := root.MkdirAll(path.Clean(folder), 0o755); err != nil {
			return err
		}
	}
	if _, err := root.Lstat(name); err == nil && name != "atlas.sum" {
		return fs.ErrExist
	}
	temporary := folder + "." + base + ".tmp"
	err := root.WriteFile(temporary, []byte(content), 0o644)
	if err == nil {
		err = root.Rename(temporary, name)
	}
	if err != nil {
		_ = root.Remove(temporary)
	}
	return err
}
