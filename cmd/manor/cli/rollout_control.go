package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/manorhq/manor/controlplane"
)

// steering is a command that changes a rollout at work and does not wait.
type steering struct {
	use, short, long, example string
	most                      int // tenants that may be named after the rollout
	done                      string
	call                      func(*session) func(context.Context, string, controlplane.RolloutCommand) (*controlplane.Rollout, error)
}

func (a *app) rolloutPause() *cobra.Command {
	return a.steer(steering{use: "pause ID", short: "Start nothing more of a rollout",
		long: `Start nothing more of a rollout. It is paused once the tenants in hand are done:
nothing is killed in the middle of DDL. "manor rollout resume" goes on.`,
		example: "  manor rollout pause r_4f7k2m", done: "is going to pause",
		call: func(s *session) func(context.Context, string, controlplane.RolloutCommand) (*controlplane.Rollout, error) {
			return s.PauseRollout
		}})
}

func (a *app) rolloutAbort() *cobra.Command {
	return a.steer(steering{use: "abort ID", short: "End a rollout where it is",
		long: `End a rollout where it is, once the tenants in hand are done. What was not
started is skipped; what is done stays, and "manor rollout rollback" takes it back.`,
		example: "  manor rollout abort r_4f7k2m", done: "is going to end",
		call: func(s *session) func(context.Context, string, controlplane.RolloutCommand) (*controlplane.Rollout, error) {
			return s.AbortRollout
		}})
}

func (a *app) rolloutApprove() *cobra.Command {
	return a.steer(steering{use: "approve ID", short: "Pass the approval that a rollout waits for",
		long: `Pass the approval gate at which a rollout waits between two waves.
"manor rollout show" says whether it does.`,
		example: "  manor rollout approve r_4f7k2m", done: "is approved",
		call: func(s *session) func(context.Context, string, controlplane.RolloutCommand) (*controlplane.Rollout, error) {
			return s.ApproveRollout
		}})
}

func (a *app) rolloutSkip() *cobra.Command {
	return a.steer(steering{use: "skip ID TENANT...", short: "Take tenants out of a rollout", most: 1000,
		long: `Take tenants out of a rollout that it has not begun to change. They stay at their
versions and count as skipped.`,
		example: "  manor rollout skip r_4f7k2m acme --reason 'moves this week'", done: "goes on without them",
		call: func(s *session) func(context.Context, string, controlplane.RolloutCommand) (*controlplane.Rollout, error) {
			return s.SkipTargets
		}})
}

func (a *app) steer(what steering) *cobra.Command {
	var c controlplane.RolloutCommand
	least, names := 1, "the rollout's id"
	if what.most > 0 {
		least, names = 2, "the rollout's id and tenants"
	}
	cmd := &cobra.Command{
		Use: what.use, Short: what.short, Long: what.long, Example: what.example,
		Args: args(least, 1+what.most, names), ValidArgsFunction: a.completeRollouts,
	}
	if what.most > 0 {
		cmd.Flags().StringVar(&c.Reason, "reason", "", "`why`, for the record")
	}
	dryRun := dryRunFlag(cmd)
	cmd.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		c.Tenants, c.DryRun = args[1:], *dryRun
		return a.with(cmd, false, func(ctx context.Context, s *session) error {
			r, err := what.call(s)(ctx, args[0], c)
			if err != nil {
				return err
			}
			if *dryRun {
				return a.print.Rollout(r)
			}
			return a.print.Done(r, "Rollout %s %s.", r.ID, what.done)
		})
	})
	return cmd
}
