package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/manorhq/manor/controlplane"
)

// rolloutFlags are what says which rollout is meant.
type rolloutFlags struct {
	controlplane.NewRollout
	selected *selection
	file     string // of a strategy
	copies   bool
	keep     time.Duration // of the copies
}

func (a *app) registerRollout(cmd *cobra.Command) *rolloutFlags {
	f := &rolloutFlags{selected: selectionFlags(cmd)}
	fs := cmd.Flags()
	fs.StringVar(&f.Release, "release", "", "`name` of the release")
	fs.StringVar(&f.Version, "to", "", "`version` of the release to go to (default: its last)")
	fs.StringVarP(&f.file, "file", "f", "", "`file` with a strategy: waves, limits, budget, gates; - is standard input")
	fs.StringVar(&f.StrategyName, "strategy", "", "`name` of a strategy that is kept")
	fs.IntVar(&f.BatchSize, "batch-size", 0, "`tenants` in a batch, all of one cluster (default 20)")
	fs.IntVar(&f.Concurrency, "concurrency", 0, "`tenants` migrated at a time, by all workers and rollouts together (default 8)")
	fs.IntVar(&f.PerCluster, "per-cluster", 0, "the same on one cluster (default: as its connections allow)")
	fs.IntVar(&f.PerDatabase, "per-database", 0, "the same in one shared database; 1 where an index is built concurrently (default 4)")
	fs.StringVar((*string)(&f.OnError), "on-error", "", "what failing tenants do to the rest, the first of them or the budget's last: `continue|pause|rollback|rollback_wave` (default continue)")
	fs.StringVar((*string)(&f.Check), "check", "", "what is looked at before a tenant counts as arrived: `schema|none`; schema: that its schema is what the release makes of an empty one (default schema)")
	must(cmd.RegisterFlagCompletionFunc("on-error", choices(controlplane.OnErrors)))
	must(cmd.RegisterFlagCompletionFunc("check", choices(controlplane.Checks)))
	fs.BoolVar(&f.copies, "snapshot", false, "copy each tenant's own database before it is changed, for \"rollback --restore\"; it is closed while it is copied")
	fs.DurationVar(&f.keep, "keep", 0, "with --snapshot: `time` after which a copy is dropped (default 72h)")
	must(cmd.RegisterFlagCompletionFunc("release", func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return a.completeReleases(cmd, nil, typed)
	}))
	return f
}

// wanted is the rollout that the flags say.
func (f *rolloutFlags) wanted(a *app, cmd *cobra.Command) (n controlplane.NewRollout, err error) {
	if f.Select, err = f.selected.expression(); err != nil {
		return n, err
	}
	if err := sizesGiven(cmd, f.NewRollout); err != nil {
		return n, err
	}
	if f.file != "" {
		if f.StrategyName != "" {
			return n, usage("leave one of them out", "--file and --strategy are both given")
		}
		if f.Strategy, err = a.readStrategy(f.file); err != nil {
			return n, err
		}
	}
	switch {
	case f.copies && f.keep < 0, f.copies && f.keep == 0 && cmd.Flags().Changed("keep"):
		return n, usage("leave the flag out for the default", "--keep %s is no time to keep a copy for", f.keep)
	case f.copies:
		f.Snapshot = &controlplane.Snapshot{Keep: controlplane.Duration(f.keep)}
	case cmd.Flags().Changed("keep"):
		return n, usage("add --snapshot", "--keep is given, and nothing to keep")
	}
	if f.Plan == "" {
		check := f.NewRollout
		err = check.Validate()
	}
	return f.NewRollout, err
}

func (a *app) rolloutStart() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "start --release NAME | --plan ID",
		Short: "Start a rollout",
		Long: `Start a rollout of a release over the tenants selected, all of them by default,
or one that was planned: that is refused if the fleet has moved since. With
--dry-run it shows the plan and changes nothing. Without a service
(MANOR_CATALOG) it waits until the rollout rests, with one --wait asks for that.

What was not planned is rehearsed first, as "manor rollout plan" does it, where
that was not done before. It is refused where the way back of a version is not
proved, unless --allow-unproved says that this is meant.

A strategy says in which waves the tenants are changed, what is waited for
between them, and how many may fail: see "manor strategy".

With --snapshot the database of each tenant is copied before the first statement
reaches it, so that "manor rollout rollback --restore" can put it back, rows and
all. Nobody can be in a database that is copied: its sessions are ended and new
ones refused for as long as that takes, which is downtime for that tenant. It
takes tenants with a database of their own only.`,
		Example: `  manor rollout start --release v2 --dry-run
  manor rollout start --release v2 -l ring=canary --wait
  manor rollout start --release v2 -f strategy.yaml --wait
  manor rollout start --release v2 --allow-unproved
  manor rollout start --release v2 --select 'tenant.isolation == "database"' --snapshot --keep 24h
  manor rollout start --plan p_7c2m4k --wait`,
		Args: args(0, 0, ""),
	}
	flags := a.registerRollout(cmd)
	cmd.Flags().StringVar(&flags.Plan, "plan", "", "`id` of a plan, in place of everything else: \"manor rollout plan\"")
	cmd.Flags().BoolVar(&flags.AllowUnproved, "allow-unproved", false, "start it although the way back of some versions is not proved, and rehearse nothing")
	wait := cmd.Flags().Bool("wait", false, "wait until the rollout rests (always, without a service)")
	dryRun, files := dryRunFlag(cmd), reportFlags(cmd)
	cmd.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		n, err := flags.wanted(a, cmd)
		if err != nil {
			return err
		}
		if *dryRun && n.Plan != "" {
			return usage("it says what it is going to do: `manor rollout plan`", "--dry-run of a plan")
		}
		if err := files.check(!*dryRun); err != nil { // whether it waits is not known yet
			return err
		}
		return a.with(cmd, !*dryRun, func(ctx context.Context, s *session) error {
			if *dryRun {
				return a.planRollout(ctx, s, n)
			}
			waits := *wait || s.inProcess && !cmd.Flags().Changed("wait")
			if err := files.check(waits); err != nil {
				return err
			}
			return a.setGoing(ctx, s, waits, followed{verb: "started", reports: files}, func() (*controlplane.Rollout, error) {
				return s.StartRollout(ctx, n)
			})
		})
	})
	return cmd
}

func (a *app) rolloutPlan() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan --release NAME",
		Short: "Say what a rollout is going to do",
		Long: `Say what a rollout is going to do, and change nothing: which tenants from which
versions, in which waves, by which files. The files are rehearsed: in a scratch
database with generated rows on a cluster of each PostgreSQL version, from each
version that tenants are at. So it says what each statement locks, rewrites and
scans, and whether the way back is proved. The plan is kept under an id by which
it can be started: that is refused if the fleet has moved by then. With --snapshot
it asks the clusters how much the copies of the tenants' databases will take.

With --on-clones N the files run on copies of N tenants, too, with their rows:
the largest tenant of each version, then the largest of all. A copy is made in a
scratch database on the tenant's own cluster, of one moment, while the tenant goes
on to read and write; it is dropped again. What PostgreSQL refuses over its rows
is said in a warning, and so is how long each statement takes over them. Which
tenants were copied is kept in the audit log.`,
		Example: `  manor rollout plan --release v2
  manor rollout plan --release v2 --on-clones 3 --clone-limit 2GB
  manor rollout plan --release v2 -f strategy.yaml -o json | jq -r .id`,
		Args: args(0, 0, ""),
	}
	flags := a.registerRollout(cmd)
	flags.Keep = true
	cmd.Flags().IntVar(&flags.OnClones, "on-clones", 0, "rehearse on copies of so many `tenants`, too, with their rows (at most 20)")
	cmd.Flags().Var((*byteSize)(&flags.CloneLimit), "clone-limit", "copy no home of more than so many `bytes`, with its indexes (default 10GB)")
	cmd.Flags().BoolVar(&flags.NoRehearsal, "no-rehearsal", false, "rehearse nothing, which takes seconds for releases of many versions")
	cmd.MarkFlagsMutuallyExclusive("no-rehearsal", "on-clones")
	cmd.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		n, err := flags.wanted(a, cmd)
		if err != nil {
			return err
		}
		return a.with(cmd, false, func(ctx context.Context, s *session) error { return a.planRollout(ctx, s, n) })
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

// choices completes a flag by what it may be.
func choices[T ~string](values []T) cobra.CompletionFunc {
	texts := make([]cobra.Completion, len(values))
	for i, v := range values {
		texts[i] = string(v)
	}
	return cobra.FixedCompletions(texts, cobra.ShellCompDirectiveNoFileComp)
}
