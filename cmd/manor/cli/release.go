package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/manorhq/manor/controlplane"
)

func (a *app) releaseCommand() *cobra.Command {
	cmd := group("release", "Immutable migration directories", `
A release is a migration directory in Atlas's format, addressed by the hash of
its content, down files included. Pushing one changes no tenant.`, "  manor release lint migrations/tenant\n  manor release push migrations/tenant --name v2\n  manor release list")
	cmd.Aliases = []string{"releases"}
	cmd.AddCommand(a.releaseLint(), a.releaseDiff(), a.releaseRehearse(), a.releasePush(), a.releaseList(), a.releaseShow(), a.releaseDefault())
	return cmd
}

func (a *app) releasePush() *cobra.Command {
	var name string
	var extensions []string
	cmd := &cobra.Command{
		Use:   "push DIR --name NAME",
		Short: "Push a migration directory as a release",
		Long: `Push a migration directory as a release: its *.sql files, atlas.sum, and for each
file its down file down/<same name>.sql if there is one. It is refused when
atlas.sum does not fit, or when a file holds a statement that would break out
of the transaction it runs in; the message names file and line.`,
		Example: "  manor release push migrations/tenant --name v2\n  manor release push migrations/tenant --name v2 --extension citext --dry-run",
		Args:    args(1, 1, "the migration directory"),
	}
	cmd.Flags().StringVar(&name, "name", "", "`name` of the release")
	cmd.Flags().StringSliceVar(&extensions, "extension", nil, "`extension` it needs; may be repeated")
	dryRun := dryRunFlag(cmd)
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	cmd.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		if name == "" {
			return usage("give --name NAME, such as v2 or a commit", "the release's name is missing")
		}
		if err := controlplane.ValidateName("release", name); err != nil {
			return err
		}
		files, err := readMigrations(args[0])
		if err != nil {
			return err
		}
		return a.with(cmd, false, func(ctx context.Context, s *session) error {
			r, err := s.PushRelease(ctx, controlplane.NewRelease{Name: name, Files: files, Extensions: extensions, DryRun: *dryRun})
			if err != nil {
				return err
			}
			return a.print.ReleaseDone(r, did("pushed", *dryRun))
		})
	})
	return cmd
}

// readMigrations reads what belongs to a release out of a directory.
func readMigrations(dir string) (map[string][]byte, error) {
	files, err := globMigrations(dir)
	if err == nil && len(files) == 0 {
		return nil, controlplane.Errorf(controlplane.Invalid, "migration directory %s holds no .sql file", dir).
			WithHint("give the directory that holds atlas.sum, such as migrations/tenant")
	}
	return files, err
}

// globMigrations is readMigrations for a directory that may be empty yet.
func globMigrations(dir string) (map[string][]byte, error) {
	if info, err := os.Stat(dir); err != nil {
		return nil, cannotRead(dir, err)
	} else if !info.IsDir() {
		return nil, controlplane.Errorf(controlplane.Invalid, "%s is a file, not a migration directory", dir)
	}
	files := map[string][]byte{}
	for _, pattern := range []string{"*.sql", "atlas.sum", "down/*.sql"} {
		names, err := fs.Glob(os.DirFS(dir), pattern)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			content, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
			if err != nil {
				return nil, cannotRead(dir, err)
			}
			files[name] = content
		}
	}
	return files, nil
}

func cannotRead(dir string, err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return controlplane.Errorf(controlplane.Invalid, "migration directory %s cannot be read: %w", strings.TrimSuffix(dir, "/"), err)
}

func (a *app) releaseList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the releases", Example: "  manor release list",
		Args: args(0, 0, ""),
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd, false, func(ctx context.Context, s *session) error {
				releases, err := s.ListReleases(ctx)
				if err != nil {
					return err
				}
				return a.print.Releases(releases)
			})
		}),
	}
}

func (a *app) releaseShow() *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show a release and how each version can be undone", Example: "  manor release show v2",
		Args: args(1, 1, "the release's name"), ValidArgsFunction: a.completeReleases,
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			return a.with(cmd, false, func(ctx context.Context, s *session) error {
				r, err := s.ShowRelease(ctx, args[0])
				if err != nil {
					return err
				}
				return a.print.Release(r)
			})
		}),
	}
}

func (a *app) releaseDefault() *cobra.Command {
	var version string
	cmd := &cobra.Command{
		Use:   "default NAME",
		Short: "Choose the release new tenants start at",
		Long: `Choose the release and version new tenants start at. The first release pushed
is the default by itself, later the one of the last rollout that reached every
tenant; a push alone never changes it.`,
		Example: "  manor release default v2\n  manor release default v2 --version 20260907090000",
		Args:    args(1, 1, "the release's name"), ValidArgsFunction: a.completeReleases,
	}
	cmd.Flags().StringVar(&version, "version", "", "`version` of the release (default: its last)")
	dryRun := dryRunFlag(cmd)
	cmd.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		return a.with(cmd, false, func(ctx context.Context, s *session) error {
			r, err := s.SetDefaultRelease(ctx, args[0], version, *dryRun)
			if err != nil {
				return err
			}
			at := version
			if at == "" {
				at = r.Latest()
			}
			return a.print.Done(r, "New tenants %s at release %s, version %s.", map[bool]string{false: "start", true: "would start"}[*dryRun], r.Name, at)
		})
	})
	return cmd
}
