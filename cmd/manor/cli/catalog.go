package cli

import (
	"github.com/spf13/cobra"

	"github.com/manorhq/manor/controlplane"
)

func (a *app) catalogCommand() *cobra.Command {
	cmd := group("catalog", "Create and upgrade the catalog", `
The catalog is a PostgreSQL database of Manor's own. MANOR_CATALOG names it,
MANOR_KEY_FILE the file with the key that seals the passwords in it. These
commands work on it directly, never through a service.`, "  manor catalog migrate\n  manor catalog status")
	cmd.AddCommand(a.catalogMigrate(), a.catalogStatus(), a.catalogClaim())
	return cmd
}

func (a *app) catalogMigrate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Create the catalog or bring it to this binary's version",
		Long: `Create the catalog or bring it to this binary's version. A key file that does
not exist is made, readable for its owner only: keep a copy of it, without it
the passwords in the catalog are lost.`,
		Example: "  MANOR_CATALOG=postgres://manor@db/manor MANOR_KEY_FILE=manor.key manor catalog migrate",
		Args:    args(0, 0, ""),
	}
	dryRun := dryRunFlag(cmd)
	cmd.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		e, err := readEnvironment()
		if err != nil {
			return err
		}
		if *dryRun {
			return a.showCatalog(cmd.Context(), e)
		}
		return a.migrateCatalog(cmd.Context(), e)
	})
	return cmd
}

func (a *app) catalogStatus() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the version of the catalog", Example: "  manor catalog status",
		Args: args(0, 0, ""),
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			e, err := readEnvironment()
			if err != nil {
				return err
			}
			return a.showCatalog(cmd.Context(), e)
		}),
	}
}

func (a *app) catalogClaim() *cobra.Command {
	var n controlplane.NewClaim
	cmd := &cobra.Command{
		Use:   "claim --confirm DATABASE",
		Short: "Make a catalog of its own out of a copy",
		Long: `Make a catalog of its own out of a copy. A catalog knows where it lives: restored
from a dump or cloned into another database it can be read, and writes nothing,
since its tenants belong to the catalog that it was copied from.

This takes the tenants over. Their markers go over to the copy, database by
database, and from then on the other catalog is locked out of them. Before, stop
what runs on the copy; look with --dry-run. Interrupted, it goes on where it was.

A standby that took over is no copy. A physical copy of the whole server looks
like one, so that Manor cannot know: claim it, too, before it works beside the
original. After pg_upgrade the server is another: claim the catalog there.

Exit codes: 0 when all tenants were taken over, 3 when some could not be, 1 when
a cluster or a database did not answer.`,
		Example: "  manor catalog claim --dry-run\n  manor catalog claim --confirm manor",
		Args:    args(0, 0, ""),
	}
	cmd.Flags().StringVar(&n.Confirm, "confirm", "", "the name of the catalog's `database`")
	cmd.Flags().BoolVar(&n.Partly, "partly", false, "also without the clusters that do not answer; their tenants are claimed by the next attempt")
	dryRun := dryRunFlag(cmd)
	cmd.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		e, err := readEnvironment()
		if err != nil {
			return err
		}
		n.DryRun = *dryRun
		return a.claimCatalog(cmd.Context(), e, n)
	})
	return cmd
}
