package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/manorhq/manor/controlplane"
)

func (a *app) doctorCommand() *cobra.Command {
	var fix bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for orphans, ghosts and work undone",
		Long: `Compare the catalog with what there is on the clusters, in both directions:
homes, databases, markers and roles that belong to no tenant, and tenants without
their home; markers of another catalog or generation; versions and stamps that
differ from the tenants' revisions; invalid indexes; leases that ran out, workers
that fell silent, tenants that nobody works on; alarms and missing hardening.

What is just being made or unmade is no finding: everything is looked at twice.

--fix mends what is safe: it corrects the catalog, writes stamps again, drops
invalid indexes and roles on which nothing hangs, and has work taken up again. It
never drops a schema or a database, whoever it belongs to.

Exit codes: 0 when there is nothing left to look at (notes do not count), 3 when
there is, 1 when a cluster or a database did not answer.`,
		Example: "  manor doctor\n  manor doctor --fix\n  manor doctor -o json | jq '.findings[].kind'",
		Args:    args(0, 0, ""),
	}
	cmd.Flags().BoolVar(&fix, "fix", false, "mend what is safe; never drops data")
	dryRun := dryRunFlag(cmd)
	cmd.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		return a.with(cmd, false, func(ctx context.Context, s *session) error {
			checkup, err := s.Doctor(ctx, fix && !*dryRun)
			if err != nil {
				return err
			}
			if err := a.print.Checkup(checkup); err != nil {
				return err
			}
			return differs(checkup.Open(), checkup.Unreached)
		})
	})
	return cmd
}

// differs is the exit of a command that compared: an error when it could not
// compare all, and a code of its own when something was found.
func differs(findings int, unreached []controlplane.Unreached) error {
	switch {
	case len(unreached) > 0:
		return &exit{code: exitError}
	case findings > 0:
		return &exit{code: exitSomeFailed}
	}
	return nil
}
