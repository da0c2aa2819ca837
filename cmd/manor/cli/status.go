package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "The fleet by version, cluster and rollout",
		Long: `The fleet by version: how many tenants are at which, behind, failed or in
progress; the clusters; the rollouts that run and the last ones that did.`,
		Example: "  manor status\n  manor status -o json | jq .behind",
		Args:    args(0, 0, ""),
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd, false, func(ctx context.Context, s *session) error {
				status, err := s.Status(ctx)
				if err != nil {
					return err
				}
				return a.print.Status(status)
			})
		}),
	}
}
