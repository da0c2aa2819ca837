package cli

import (
	"github.com/spf13/cobra"
)

func (a *app) catalogCommand() *cobra.Command {
	cmd := group("catalog", "Create and upgrade the catalog", `
The catalog is a PostgreSQL database of Manor's own. MANOR_CATALOG names it,
MANOR_KEY_FILE the file with the key that seals the passwords in it. These
commands work on it directly, never through a service.`, "  manor catalog migrate\n  manor catalog status")
	cmd.AddCommand(a.catalogMigrate(), a.catalogStatus())
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
