package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/manorhq/manor/controlplane"
)

func (a *app) rolloutCommand() *cobra.Command {
	cmd := group("rollout", "Take tenants to another version, and back", `
A rollout takes a selection of tenants from the versions they are at to one
version, in batches. What happens to each is kept: a failure can be tried again,
the whole run can be rolled back.

Exit codes of the commands that wait: 0 every selected tenant is at the version,
1 error, or the rollout was aborted, 3 some tenants failed or were left out,
4 paused, 5 rolled back, 6 refused and nothing was changed, 130 interrupted (the
rollout goes on). A rollback that was asked for ends with 0, 3 or 4.`, "  manor rollout start --release v2 --dry-run\n  manor rollout start --release v2 -l ring=canary --wait\n  manor rollout retry r_4f7k2m")
	cmd.Aliases = []string{"rollouts"}
	cmd.AddCommand(a.rolloutPlan(), a.rolloutStart(), a.rolloutList(), a.rolloutShow(), a.rolloutWatch(), a.rolloutTargets(),
		a.rolloutPause(), a.rolloutResume(), a.rolloutAbort(), a.rolloutApprove(), a.rolloutSkip(), a.rolloutRetry(), a.rolloutRollback())
	return cmd
}

func (a *app) rolloutList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the rollouts, newest first", Example: "  manor rollout list",
		Args: args(0, 0, ""),
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd, false, func(ctx context.Context, s *session) error {
				rollouts, err := s.ListRollouts(ctx)
				if err != nil {
					return err
				}
				return a.print.Rollouts(rollouts)
			})
		}),
	}
}

func (a *app) rolloutShow() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show a rollout", Example: "  manor rollout show r_4f7k2m",
		Args: args(1, 1, "the rollout's id"), ValidArgsFunction: a.completeRollouts,
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			return a.with(cmd, false, func(ctx context.Context, s *session) error {
				r, err := s.ShowRollout(ctx, args[0])
				if err != nil {
					return err
				}
				return a.print.Rollout(r)
			})
		}),
	}
}

func (a *app) rolloutWatch() *cobra.Command {
	cmd := &cobra.Command{
		Use: "watch ID", Short: "Follow a rollout until it rests",
		Long: `Follow a rollout until it rests; the exit code says how it ended. On a terminal
it shows waves, pace, what is in hand, who waits for whom, and failures by cause;
elsewhere it writes a line when something changes, at least every ten seconds. With
--output json every event is a line, and the rollout itself is the last one.
Without a service (MANOR_CATALOG) this command also does the rollout's work.`,
		Example: "  manor rollout watch r_4f7k2m\n  manor rollout watch r_4f7k2m -o json | jq -c .state",
		Args:    args(1, 1, "the rollout's id"), ValidArgsFunction: a.completeRollouts,
	}
	files := reportFlags(cmd)
	cmd.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		if err := files.check(true); err != nil {
			return err
		}
		return a.with(cmd, true, func(ctx context.Context, s *session) error {
			return a.setGoing(ctx, s, true, followed{stream: true, reports: files}, func() (*controlplane.Rollout, error) {
				return s.ShowRollout(ctx, args[0])
			})
		})
	})
	return cmd
}

func (a *app) rolloutTargets() *cobra.Command {
	var q controlplane.TargetQuery
	var page listFlags
	cmd := &cobra.Command{
		Use: "targets ID", Short: "List the tenants of a rollout and how each fares",
		Example: "  manor rollout targets r_4f7k2m --status failed",
		Args:    args(1, 1, "the rollout's id"), ValidArgsFunction: a.completeRollouts,
	}
	cmd.Flags().StringVar((*string)(&q.Status), "status", "", "only those of a `status`, such as failed")
	page.register(cmd)
	must(cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions(statusNames(), cobra.ShellCompDirectiveNoFileComp)))
	cmd.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		if err := q.Validate(); err != nil {
			return err
		}
		if err := page.check(); err != nil {
			return err
		}
		return a.with(cmd, false, func(ctx context.Context, s *session) error {
			targets, err := listTargets(ctx, s, args[0], q, page)
			if err != nil {
				return err
			}
			return a.print.Targets(targets)
		})
	})
	return cmd
}

func statusNames() []cobra.Completion {
	var names []cobra.Completion
	for _, s := range controlplane.TargetStatuses {
		names = append(names, string(s))
	}
	return names
}

func listTargets(ctx context.Context, s *session, id string, q controlplane.TargetQuery, page listFlags) (controlplane.Page[controlplane.Target], error) {
	return collect(page.cursor, page.limit, func(cursor string, limit int) (controlplane.Page[controlplane.Target], error) {
		q.Cursor, q.Limit = cursor, limit
		return s.Targets(ctx, id, q)
	})
}
