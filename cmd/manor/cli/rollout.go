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

Exit codes of the commands that wait: 0 done, 3 some targets failed, 4 paused,
5 rolled back, 130 interrupted (the rollout goes on).`, "  manor rollout start --release v2 --dry-run\n  manor rollout start --release v2 -l ring=canary --wait\n  manor rollout retry r_4f7k2m")
	cmd.Aliases = []string{"rollouts"}
	cmd.AddCommand(a.rolloutStart(), a.rolloutList(), a.rolloutShow(), a.rolloutWatch(), a.rolloutTargets(),
		a.rolloutResume(), a.rolloutRetry(), a.rolloutRollback())
	return cmd
}

func (a *app) rolloutStart() *cobra.Command {
	var n controlplane.NewRollout
	cmd := &cobra.Command{
		Use:   "start --release NAME",
		Short: "Start a rollout",
		Long: `Start a rollout of a release over the tenants selected, all of them by default.
With --dry-run it shows the plan and changes nothing. Without a service
(MANOR_CATALOG) it waits until the rollout rests, with one --wait asks for that.`,
		Example: `  manor rollout start --release v2 --dry-run
  manor rollout start --release v2 -l ring=canary --wait
  manor rollout start --release v2 --select 'tenant.cluster == "east"' --batch-size 50 --on-error pause`,
		Args: args(0, 0, ""),
	}
	selected := selectionFlags(cmd)
	fs := cmd.Flags()
	fs.StringVar(&n.Release, "release", "", "`name` of the release")
	fs.StringVar(&n.Version, "to", "", "`version` of the release to go to (default: its last)")
	fs.IntVar(&n.BatchSize, "batch-size", controlplane.DefaultBatchSize, "`tenants` in a batch, all of one cluster")
	fs.IntVar(&n.Concurrency, "concurrency", controlplane.DefaultConcurrency, "`tenants` migrated at a time, by all workers and rollouts together")
	fs.IntVar(&n.PerCluster, "per-cluster", 0, "the same on one cluster (default: as its connections allow)")
	fs.IntVar(&n.PerDatabase, "per-database", controlplane.DefaultPerDatabase, "the same in one shared database; 1 where an index is built concurrently")
	fs.StringVar((*string)(&n.OnError), "on-error", string(controlplane.OnErrorContinue), "what a failing tenant does to the rest: `continue|pause|rollback`")
	wait := fs.Bool("wait", false, "wait until the rollout rests (always, without a service)")
	dryRun := dryRunFlag(cmd)
	must(cmd.RegisterFlagCompletionFunc("on-error", cobra.FixedCompletions([]string{"continue", "pause", "rollback"}, cobra.ShellCompDirectiveNoFileComp)))
	must(cmd.RegisterFlagCompletionFunc("release", func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return a.completeReleases(cmd, nil, typed)
	}))
	cmd.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		var err error
		if n.Select, err = selected.expression(); err != nil {
			return err
		}
		if err := sizesGiven(cmd, n); err != nil {
			return err
		}
		if err := n.Validate(); err != nil {
			return err
		}
		n.DryRun = *dryRun
		return a.with(cmd, !*dryRun, func(ctx context.Context, s *session) error {
			if *dryRun {
				return a.planRollout(ctx, s, n)
			}
			waits := *wait || s.inProcess && !cmd.Flags().Changed("wait")
			return a.setGoing(ctx, s, waits, followed{verb: "started"}, func() (*controlplane.Rollout, error) {
				return s.StartRollout(ctx, n)
			})
		})
	})
	return cmd
}

// sizesGiven refuses a 0 that somebody typed: in a request it means the default.
func sizesGiven(cmd *cobra.Command, n controlplane.NewRollout) error {
	for flag, n := range map[string]int{"batch-size": n.BatchSize, "concurrency": n.Concurrency, "per-cluster": n.PerCluster, "per-database": n.PerDatabase} {
		if n == 0 && cmd.Flags().Changed(flag) {
			return usage("leave the flag out for the default", "--%s 0 is not between 1 and 1000", flag)
		}
	}
	return nil
}

func (a *app) planRollout(ctx context.Context, s *session, n controlplane.NewRollout) error {
	plan, err := s.PlanRollout(ctx, n)
	if err != nil {
		return err
	}
	return a.print.RolloutPlan(plan)
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
	return &cobra.Command{
		Use: "watch ID", Short: "Follow a rollout until it rests",
		Long: `Follow a rollout until it rests; the exit code says how it ended. With
--output json every event is a line, and the rollout itself is the last one.
Without a service (MANOR_CATALOG) this command also does the rollout's work.`,
		Example: "  manor rollout watch r_4f7k2m\n  manor rollout watch r_4f7k2m -o json | jq -c .state",
		Args:    args(1, 1, "the rollout's id"), ValidArgsFunction: a.completeRollouts,
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			return a.with(cmd, true, func(ctx context.Context, s *session) error {
				return a.setGoing(ctx, s, true, followed{stream: true}, func() (*controlplane.Rollout, error) {
					return s.ShowRollout(ctx, args[0])
				})
			})
		}),
	}
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
