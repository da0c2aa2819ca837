package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/manorhq/manor/controlplane"
)

// setAtOnce is how many tenants go to the service in one request.
const setAtOnce = 100

func (a *app) tenantSetVersion() *cobra.Command {
	var r controlplane.VersionRequest
	cmd := &cobra.Command{
		Use:   "set-version VERSION [SLUG…] --release NAME --reason WHY",
		Short: "Say at which version tenants are, and run no file",
		Long: `Say in tenants' own revisions that they are at a version of a release, up or
down, as atlas migrate set does; the version none is before its first file. No
file runs, and nothing but the revisions is changed: it is for tenants that
somebody repaired by hand, or another tool migrated. The next rollout goes on
from there. A file without transaction that stopped half-way counts as applied
up to the version, and as not begun behind it.

Tenants that a rollout has still to work on are refused. What was interrupted is
finished by the same command again. Exit code 3 when some tenants were not set.`,
		Example: `  manor tenant set-version 20260301 acme --release v3 --reason 'ticket 4711: index built by hand'
  manor tenant set-version 20260215 -l tool=flyway --release v3 --reason 'moved from Flyway' --dry-run`,
		Args: args(1, -1, "the version"),
	}
	cmd.Flags().StringVar(&r.Release, "release", "", "`name` of the release that holds the version")
	cmd.Flags().StringVar(&r.Reason, "reason", "", "`why`, for who reads it later")
	must(cmd.RegisterFlagCompletionFunc("release", a.completeReleases))
	selected, dryRun := selectionFlags(cmd), dryRunFlag(cmd)
	cmd.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		expr, err := selected.expression()
		if err != nil {
			return err
		}
		slugs := args[1:]
		switch {
		case expr == "" && len(slugs) == 0:
			return usage("give slugs, or --select or --label; --select true is all of them", "which tenants are at version %s is missing", args[0])
		case expr != "" && len(slugs) > 0:
			return usage("give either", "slugs exclude --select and --label")
		}
		r.Version, r.DryRun = args[0], *dryRun
		if err := r.Validate(); err != nil {
			return err
		}
		return a.with(cmd, false, func(ctx context.Context, s *session) error {
			if expr != "" {
				page, err := listTenants(ctx, s, controlplane.TenantQuery{Select: expr}, listFlags{})
				if err != nil {
					return err
				}
				slugs = namesOf(page.Items, func(t controlplane.Tenant) string { return t.Slug })
			}
			return a.setVersions(ctx, s, r, slugs)
		})
	})
	return cmd
}

// setVersions asks for some tenants at a time. When a request fails after others
// went through, its tenants and the rest carry the error.
func (a *app) setVersions(ctx context.Context, s *session, r controlplane.VersionRequest, slugs []string) error {
	bar := a.print.Progress("Setting versions")
	defer bar.Close()
	var results []controlplane.VersionResult
	for r.Tenants = range slices.Chunk(slugs, setAtOnce) {
		some, err := s.SetVersions(ctx, r)
		switch {
		case err != nil && ctx.Err() != nil:
			return &exit{code: exitInterrupted, message: fmt.Sprintf("interrupted; %d of %d tenants were asked", len(results), len(slugs)),
				hint: "the same command goes on: what is done is found done"}
		case err != nil && len(results) == 0:
			return err
		case err != nil:
			for _, slug := range slugs[len(results):] {
				results = append(results, controlplane.VersionResult{Slug: slug, Error: &controlplane.Error{Code: controlplane.CodeOf(err), Message: "not asked: " + err.Error()}})
			}
			bar.Close()
			return a.versionsSet(results, r.DryRun)
		}
		results = append(results, some...)
		bar.Update(len(results), len(slugs), "")
	}
	bar.Close()
	return a.versionsSet(results, r.DryRun)
}

func (a *app) versionsSet(results []controlplane.VersionResult, dryRun bool) error {
	if err := a.print.VersionResults(results, did("set", dryRun)); err != nil {
		return err
	}
	if slices.ContainsFunc(results, func(r controlplane.VersionResult) bool { return r.Error != nil }) {
		return &exit{code: exitSomeFailed}
	}
	return nil
}
