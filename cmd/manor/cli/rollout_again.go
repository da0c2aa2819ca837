package cli

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/manorhq/manor/controlplane"
)

func (a *app) rolloutResume() *cobra.Command {
	return a.rolloutAgain("resume", "resumed", "Go on with a paused rollout", "  manor rollout resume r_4f7k2m",
		again{[]controlplane.RolloutState{controlplane.RolloutPaused},
			[]controlplane.TargetStatus{controlplane.TargetPending, controlplane.TargetDeferred, controlplane.TargetUnknown}},
		func(ctx context.Context, s *session, id string) (*controlplane.Rollout, error) {
			return s.ResumeRollout(ctx, id)
		})
}

func (a *app) rolloutRetry() *cobra.Command {
	return a.rolloutAgain("retry", "started again", "Try the failed targets of a rollout again", "  manor rollout retry r_4f7k2m",
		again{[]controlplane.RolloutState{controlplane.RolloutFailed, controlplane.RolloutPaused},
			[]controlplane.TargetStatus{controlplane.TargetFailed, controlplane.TargetSkipped}},
		func(ctx context.Context, s *session, id string) (*controlplane.Rollout, error) {
			return s.RetryRollout(ctx, id)
		})
}

// again is what a command that sets a rollout going works from.
type again struct {
	from  []controlplane.RolloutState
	works []controlplane.TargetStatus // the targets it puts to work
}

// rolloutAgain is a command that sets a resting rollout going and waits. A dry
// run lists the targets it would work on.
func (a *app) rolloutAgain(verb, done, short, example string, what again,
	call func(context.Context, *session, string) (*controlplane.Rollout, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use: verb + " ID", Short: short, Example: example, Long: short + ", and wait until it rests again. With --dry-run it lists the targets it would work on.",
		Args: args(1, 1, "the rollout's id"), ValidArgsFunction: a.completeRollouts,
	}
	dryRun, noWait, files := dryRunFlag(cmd), noWaitFlag(cmd), reportFlags(cmd)
	cmd.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		wait := !*noWait && !*dryRun
		if err := files.check(wait); err != nil {
			return err
		}
		return a.with(cmd, wait, func(ctx context.Context, s *session) error {
			if *dryRun {
				return a.wouldWorkOn(ctx, s, verb, args[0], what)
			}
			return a.setGoing(ctx, s, wait, followed{verb: done, reports: files}, func() (*controlplane.Rollout, error) {
				return call(ctx, s, args[0])
			})
		})
	})
	return cmd
}

// wouldWorkOn lists what a command would work on, or refuses as it would.
func (a *app) wouldWorkOn(ctx context.Context, s *session, verb, id string, what again) error {
	r, err := s.ShowRollout(ctx, id)
	if err != nil {
		return err
	}
	if !slices.Contains(what.from, r.State) {
		return controlplane.Errorf(controlplane.Refused, "rollout %s is %s: there is nothing to %s", id, r.State, verb)
	}
	var all controlplane.Page[controlplane.Target]
	for _, status := range what.works {
		page, err := listTargets(ctx, s, id, controlplane.TargetQuery{Status: status}, listFlags{})
		if err != nil {
			return err
		}
		all.Items = append(all.Items, page.Items...)
	}
	return a.print.Targets(all)
}

func (a *app) rolloutRollback() *cobra.Command {
	var req controlplane.RollbackRequest
	cmd := &cobra.Command{
		Use:   "rollback ID",
		Short: "Take the tenants of a rollout back",
		Long: `Take the tenants of a rollout back to the versions they were at before it, or
one of them with --tenant, or one wave with --wave; the last wave goes first. It shows first what it undoes and what cannot be
undone; tenants for which it cannot are left alone. Then it waits.

With --restore tenants of which the rollout took a snapshot get it back in place
of their database: everything written since it was taken is lost, and their
sessions are ended. Tenants without one go back by the down files, as otherwise.`,
		Example: "  manor rollout rollback r_4f7k2m --dry-run\n  manor rollout rollback r_4f7k2m\n  manor rollout rollback r_4f7k2m --tenant acme\n  manor rollout rollback r_4f7k2m --tenant acme --restore",
		Args:    args(1, 1, "the rollout's id"), ValidArgsFunction: a.completeRollouts,
	}
	cmd.Flags().StringVar(&req.Tenant, "tenant", "", "take back one tenant only, by `slug`")
	cmd.Flags().StringVar(&req.Wave, "wave", "", "take back one wave only, by `name`")
	cmd.Flags().BoolVar(&req.Restore, "restore", false, "put snapshots back where there are some: what was written since is lost")
	cmd.MarkFlagsMutuallyExclusive("tenant", "wave")
	dryRun, noWait, files := dryRunFlag(cmd), noWaitFlag(cmd), reportFlags(cmd)
	cmd.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		wait := !*noWait && !*dryRun
		if err := files.check(wait); err != nil {
			return err
		}
		return a.with(cmd, wait, func(ctx context.Context, s *session) error {
			plan, err := s.PlanRollback(ctx, args[0], req)
			if err != nil {
				return err
			}
			if *dryRun {
				return a.print.RollbackPlan(plan)
			}
			a.print.RollbackNotice(plan)
			f := followed{verb: "is being taken back", rollback: true, tenant: req.Tenant, wave: req.Wave, left: len(plan.Irreversible), reports: files}
			return a.setGoing(ctx, s, wait, f, func() (*controlplane.Rollout, error) {
				return s.RollbackRollout(ctx, args[0], req)
			})
		})
	})
	return cmd
}
