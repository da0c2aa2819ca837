package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/manorhq/manor/controlplane"
)

// move is a command that takes one tenant to another state and waits until
// its cluster has followed.
type move struct {
	verb, done  string // "suspend", "suspended"
	short, long string
	example     string
	want        controlplane.TenantState
	call        func(ctx context.Context, s *session, slug string, dryRun bool) (*controlplane.Tenant, error)
}

func (a *app) tenantMove(m move) *cobra.Command {
	cmd := &cobra.Command{
		Use: m.verb + " SLUG", Short: m.short, Long: m.long, Example: m.example,
		Args: args(1, 1, "the tenant's slug"), ValidArgsFunction: a.completeTenants,
	}
	dryRun, noWait := dryRunFlag(cmd), noWaitFlag(cmd)
	cmd.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		wait := !*noWait && !*dryRun
		return a.with(cmd, wait, func(ctx context.Context, s *session) error {
			after, err := s.head(ctx, wait)
			if err != nil {
				return err
			}
			t, err := m.call(ctx, s, args[0], *dryRun)
			if err != nil {
				return err
			}
			if wait {
				if t, err = a.settle(ctx, s, t, m.want, after); err != nil {
					return err
				}
			}
			return a.print.TenantDone(t, did(m.done, *dryRun))
		})
	})
	return cmd
}

func noWaitFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("no-wait", false, "return at once; a service or the next command that works on jobs does the rest")
}

func (a *app) tenantSuspend() *cobra.Command {
	return a.tenantMove(move{
		verb: "suspend", done: "suspended", want: controlplane.TenantSuspended,
		short:   "Refuse a tenant's logins",
		long:    "Refuse a tenant's logins and end its sessions. Its data stays, and rollouts still migrate it.",
		example: "  manor tenant suspend acme",
		call: func(ctx context.Context, s *session, slug string, dryRun bool) (*controlplane.Tenant, error) {
			return s.SuspendTenant(ctx, slug, dryRun)
		},
	})
}

func (a *app) tenantResume() *cobra.Command {
	return a.tenantMove(move{
		verb: "resume", done: "active again", want: controlplane.TenantActive,
		short:   "Let a suspended or deleted tenant in again",
		long:    "Let a suspended tenant in again, or a deleted one that was not purged yet.",
		example: "  manor tenant resume acme",
		call: func(ctx context.Context, s *session, slug string, dryRun bool) (*controlplane.Tenant, error) {
			return s.ResumeTenant(ctx, slug, dryRun)
		},
	})
}

func (a *app) tenantDelete() *cobra.Command {
	return a.tenantMove(move{
		verb: "delete", done: "deleted; its data is kept until `manor tenant purge`", want: controlplane.TenantDeleting,
		short:   "Disable a tenant and keep its data",
		long:    "Disable a tenant: its logins are refused, its data is kept. `manor tenant resume` brings it back, `manor tenant purge` drops its data.",
		example: "  manor tenant delete acme",
		call: func(ctx context.Context, s *session, slug string, dryRun bool) (*controlplane.Tenant, error) {
			return s.DeleteTenant(ctx, slug, dryRun)
		},
	})
}

func (a *app) tenantPurge() *cobra.Command {
	var confirm string
	cmd := a.tenantMove(move{
		verb: "purge", done: "purged", want: controlplane.TenantDeleted,
		short:   "Drop a deleted tenant's data for good",
		long:    "Drop the home and the logins of a deleted tenant for good. The slug has to be given twice.",
		example: "  manor tenant purge acme --confirm acme",
		call: func(ctx context.Context, s *session, slug string, dryRun bool) (*controlplane.Tenant, error) {
			return s.PurgeTenant(ctx, slug, confirm, dryRun)
		},
	})
	cmd.Flags().StringVar(&confirm, "confirm", "", "the `slug` once more")
	check := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return err
		}
		if confirm != args[0] {
			return usage("repeat the slug: --confirm "+args[0], "purging %s drops its data for good and was not confirmed", args[0])
		}
		return nil
	}
	return cmd
}

// settle waits until the cluster has brought a tenant to a state, following
// events after a cursor.
func (a *app) settle(ctx context.Context, s *session, t *controlplane.Tenant, want controlplane.TenantState, after string) (*controlplane.Tenant, error) {
	w := a.newTenantWait(s, want, []controlplane.Tenant{*t})
	if err := w.run(ctx, after, "Waiting for "+t.Slug); err != nil {
		return nil, err
	}
	now, err := lookup(ctx, s, []string{t.Slug}, want == controlplane.TenantDeleted)
	if err != nil {
		return nil, err
	}
	for i := range now {
		if now[i].ID == t.ID {
			return &now[i], nil
		}
	}
	return nil, controlplane.Errorf(controlplane.NotFound, "tenant %s became %s and then vanished", t.Slug, want)
}
