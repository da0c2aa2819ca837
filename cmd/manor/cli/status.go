package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/manorhq/manor/controlplane"
)

func (a *app) statusCommand() *cobra.Command {
	var verify bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "The fleet by version, cluster and rollout",
		Long: `The fleet by version: how many tenants are at which, behind, failed or in
progress; the clusters; the rollouts that run and the last ones that did.

This comes from the catalog. --verify compares the catalog with the stamps that
the tenants carry, names those that differ, and corrects the catalog by what
their revisions say. Tenants that a rollout is working on are left to it.

Exit codes of --verify: 0 when all agree, 3 when some differed, also if all of
them were corrected (a second time it is 0 then), 1 when a cluster or a database
did not answer.`,
		Example: "  manor status\n  manor status -o json | jq .behind\n  manor status --verify",
		Args:    args(0, 0, ""),
	}
	cmd.Flags().BoolVar(&verify, "verify", false, "compare the catalog with the tenants and correct it")
	dryRun := cmd.Flags().Bool("dry-run", false, "with --verify: compare and correct nothing")
	cmd.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		if *dryRun && !verify {
			return controlplane.Errorf(controlplane.Invalid, "--dry-run goes with --verify; without it, status changes nothing")
		}
		return a.with(cmd, false, func(ctx context.Context, s *session) error {
			if verify {
				return a.verifyStatus(ctx, s, *dryRun)
			}
			status, err := s.Status(ctx)
			if err != nil {
				return err
			}
			return a.print.Status(status)
		})
	})
	return cmd
}

func (a *app) verifyStatus(ctx context.Context, s *session, dryRun bool) error {
	v, err := s.VerifyStatus(ctx, dryRun)
	if err != nil {
		return err
	}
	if err := a.print.Verification(v); err != nil {
		return err
	}
	return differs(len(v.Differences), v.Unreached)
}
