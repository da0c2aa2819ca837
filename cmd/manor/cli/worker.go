package cli

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"
)

func (a *app) workerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Work on the catalog's tenants and rollouts, next to other processes",
		Long: `Work on what there is to do on the catalog that MANOR_CATALOG names: make homes,
work through the batches of rollouts. It serves nothing. Any number of workers
on any number of machines share the work of one catalog; limits hold over all of
them together, and when one dies the others take over within 30 s.

Ctrl-C (SIGTERM) lets it finish the tenants in hand and give the rest back.`,
		Example: "  MANOR_CATALOG=postgres://manor@db/catalog MANOR_KEY_FILE=key manor worker\n  manor worker list",
		Args:    args(0, 0, ""),

		Annotations: map[string]string{runsAlone: "yes"},
	}
	cmd.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		e, err := readEnvironment()
		if err != nil {
			return err
		}
		return a.work(cmd.Context(), e)
	})
	cmd.AddCommand(a.workerList())
	return cmd
}

// work works until ctx ends.
func (a *app) work(ctx context.Context, e environment) error {
	config, err := a.daemonConfig(e, true, a.logLevel(slog.LevelInfo))
	if err != nil {
		return err
	}
	d, stop, err := startDaemon(ctx, config)
	if err != nil {
		return err
	}
	defer stop() // finishes what it has in hand
	a.print.Remark("Manor %s works as %s; Ctrl-C ends it.", Version(), d.Name())
	return d.Wait(ctx)
}

func (a *app) workerList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List who works on what, and since when",
		Long: `List the processes that work on the catalog: since when they are up, when they
were heard of last, the batches that each holds and the tenants it has in hand.
Who was not heard of for more than 10 s is silent: stuck, cut off or dead.`,
		Example: "  manor worker list\n  manor worker list -o json | jq '.items[] | select(.silent)'",
		Args:    args(0, 0, ""),
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd, false, func(ctx context.Context, s *session) error {
				workers, err := s.ListWorkers(ctx)
				if err != nil {
					return err
				}
				return a.print.Workers(workers)
			})
		}),
	}
}
