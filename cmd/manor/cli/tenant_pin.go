package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/manorhq/manor/controlplane"
)

func (a *app) tenantPin() *cobra.Command {
	var p controlplane.PinRequest
	cmd := &cobra.Command{
		Use: "pin SLUG --reason WHY", Short: "Keep a tenant at its version",
		Long: `Keep a tenant at its version: no rollout changes it, forwards or back, until it is
unpinned or the pin expires. A rollout that selects it counts it as skipped;
--select '!tenant.pinned' leaves it out.`,
		Example: "  manor tenant pin acme --reason 'ticket 4711' --for 168h",
		Args:    args(1, 1, "the tenant's slug"), ValidArgsFunction: a.completeTenants,
	}
	cmd.Flags().StringVar(&p.Reason, "reason", "", "`why`, for who reads it later")
	length := cmd.Flags().Duration("for", 0, "how long, such as 168h (default: until it is unpinned)")
	dryRun := dryRunFlag(cmd)
	cmd.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		p.For, p.DryRun = controlplane.Duration(length.Round(time.Second)), *dryRun
		if err := p.Validate(); err != nil {
			return err
		}
		return a.with(cmd, false, func(ctx context.Context, s *session) error {
			t, err := s.PinTenant(ctx, args[0], p)
			if err != nil {
				return err
			}
			return a.print.TenantDone(t, did("pinned at version "+t.Version, *dryRun))
		})
	})
	return cmd
}

func (a *app) tenantUnpin() *cobra.Command {
	cmd := &cobra.Command{
		Use: "unpin SLUG", Short: "Let rollouts change a tenant again",
		Long:    "Let rollouts change a pinned tenant again. None does so by itself: start one, or `manor rollout retry` one that skipped it.",
		Example: "  manor tenant unpin acme", Args: args(1, 1, "the tenant's slug"), ValidArgsFunction: a.completeTenants,
	}
	dryRun := dryRunFlag(cmd)
	cmd.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		return a.with(cmd, false, func(ctx context.Context, s *session) error {
			t, err := s.UnpinTenant(ctx, args[0], *dryRun)
			if err != nil {
				return err
			}
			return a.print.TenantDone(t, did("not pinned any more", *dryRun))
		})
	})
	return cmd
}
