package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/manorhq/manor/controlplane"
)

func (a *app) releaseRehearse() *cobra.Command {
	var ask controlplane.RehearsalRequest
	cmd := &cobra.Command{
		Use:   "rehearse NAME",
		Short: "Run a release in a scratch database and tell what was seen",
		Long: `Run a release, version by version, in a scratch database with generated rows, and
tell what was seen of each statement: which locks it holds on which table, what
it rewrites or scans, whether it runs in a transaction. Each version goes up,
down and up again: its way back is proved when schema and rows are then those of
before. No tenant is touched, and the scratch database is dropped.

It exits with 6 when a version cannot run at all; an unproved way back is no
error.`,
		Example: "  manor release rehearse v2\n  manor release rehearse v2 --from 20260907090000 --cluster east -o json",
		Args:    args(1, 1, "the release's name"), ValidArgsFunction: a.completeReleases,
	}
	cmd.Flags().StringVar(&ask.From, "from", "", "`version` that tenants are at (default: an empty home)")
	cmd.Flags().StringVar(&ask.To, "to", "", "`version` to go to (default: the last)")
	cmd.Flags().StringVar(&ask.Cluster, "cluster", "", "`name` of the cluster to do it on (default: any that is active and answers)")
	must(cmd.RegisterFlagCompletionFunc("cluster", func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return a.completeClusters(cmd, nil, typed)
	}))
	cmd.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		return a.with(cmd, false, func(ctx context.Context, s *session) error {
			r, err := s.RehearseRelease(ctx, args[0], ask)
			if err != nil {
				return err
			}
			if err := a.print.Rehearsal(r); err != nil {
				return err
			}
			for _, v := range r.Versions {
				if v.Refuses == controlplane.RefusesEverything {
					return controlplane.Errorf(controlplane.Refused, "version %s of release %s cannot run: %s", v.Version, r.Release, v.Failure)
				}
			}
			return nil
		})
	})
	return cmd
}
