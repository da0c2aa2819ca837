package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/manorhq/manor/controlplane"
)

func (a *app) tenantCommand() *cobra.Command {
	cmd := group("tenant", "Customers, each with a home of their own", `
A tenant has a home of its own: a schema in a shared database, or a database.
Its slug is what people type, its external id what applications key by.`, "  manor tenant create acme\n  manor tenant list -l ring=canary\n  manor tenant psql acme")
	cmd.Aliases = []string{"tenants"}
	cmd.AddCommand(a.tenantCreate(), a.tenantList(), a.tenantShow(), a.tenantSet(),
		a.tenantPin(), a.tenantUnpin(), a.tenantSetVersion(), a.tenantSuspend(), a.tenantResume(), a.tenantDelete(), a.tenantPurge(),
		a.tenantDSN(), a.tenantPsql(), a.tenantFingerprint())
	return cmd
}

// listFlags bound a list.
type listFlags struct {
	cursor string
	limit  int
}

func (f *listFlags) register(cmd *cobra.Command) {
	cmd.Flags().IntVar(&f.limit, "limit", 0, "at most so many, `n` (default: all)")
	cmd.Flags().StringVar(&f.cursor, "cursor", "", "go on after a page whose next was `cursor`")
}

func (f *listFlags) check() error {
	if f.limit < 0 {
		return usage("give a number from 1, or leave it out for all", "limit %d is negative", f.limit)
	}
	return nil
}

func (a *app) tenantList() *cobra.Command {
	var q controlplane.TenantQuery
	var page listFlags
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List tenants",
		Example: `  manor tenant list -l ring=canary
  manor tenant list --select 'tenant.tier == "pro" && tenant.cluster != "east"' -o json
  manor tenant list --search acme`,
		Args: args(0, 0, ""),
	}
	selected := selectionFlags(cmd)
	cmd.Flags().StringVar(&q.Search, "search", "", "tenants whose slug or external id holds `text`")
	cmd.Flags().BoolVar(&q.IncludeDeleted, "deleted", false, "include tenants that were purged")
	page.register(cmd)
	cmd.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		var err error
		if q.Select, err = selected.expression(); err != nil {
			return err
		}
		if err := page.check(); err != nil {
			return err
		}
		return a.with(cmd, false, func(ctx context.Context, s *session) error {
			tenants, err := listTenants(ctx, s, q, page)
			if err != nil {
				return err
			}
			return a.print.Tenants(tenants)
		})
	})
	return cmd
}

func listTenants(ctx context.Context, s *session, q controlplane.TenantQuery, page listFlags) (controlplane.Page[controlplane.Tenant], error) {
	return collect(page.cursor, page.limit, func(cursor string, limit int) (controlplane.Page[controlplane.Tenant], error) {
		q.Cursor, q.Limit = cursor, limit
		return s.ListTenants(ctx, q)
	})
}

func (a *app) tenantShow() *cobra.Command {
	return &cobra.Command{
		Use: "show SLUG", Short: "Show a tenant and its placement", Example: "  manor tenant show acme",
		Args: args(1, 1, "the tenant's slug"), ValidArgsFunction: a.completeTenants,
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			return a.with(cmd, false, func(ctx context.Context, s *session) error {
				t, err := s.ShowTenant(ctx, args[0])
				if err != nil {
					return err
				}
				return a.print.Tenant(t)
			})
		}),
	}
}

func (a *app) tenantSet() *cobra.Command {
	var externalID, tier string
	var pairs []string
	cmd := &cobra.Command{
		Use: "set SLUG [flags]", Short: "Change what is known of a tenant",
		Long:    "Change what is known of a tenant: only what is given. A label without a value is taken off.",
		Example: "  manor tenant set acme --label ring=canary --tier pro\n  manor tenant set acme --label ring=",
		Args:    args(1, 1, "the tenant's slug"), ValidArgsFunction: a.completeTenants,
	}
	cmd.Flags().StringVar(&externalID, "external-id", "", "`id` applications key by")
	cmd.Flags().StringVar(&tier, "tier", "", "`name` of the tier")
	cmd.Flags().StringArrayVarP(&pairs, "label", "l", nil, "label `k=v`; may be repeated")
	dryRun := dryRunFlag(cmd)
	cmd.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		if noneChanged(cmd, "external-id", "tier", "label") {
			return usage("give --label, --tier or --external-id", "tenant %s: nothing to change was given", args[0])
		}
		labels, err := parseLabels(pairs)
		if err != nil {
			return err
		}
		change := controlplane.TenantChange{
			ExternalID: changed(cmd, "external-id", externalID), Tier: changed(cmd, "tier", tier), Labels: labels, DryRun: *dryRun,
		}
		return a.with(cmd, false, func(ctx context.Context, s *session) error {
			t, err := s.SetTenant(ctx, args[0], change)
			if err != nil {
				return err
			}
			return a.print.TenantDone(t, did("changed", *dryRun))
		})
	})
	return cmd
}

func (a *app) tenantDSN() *cobra.Command {
	cmd := &cobra.Command{
		Use: "dsn SLUG", Short: "Show how to connect as a tenant",
		Long:    "Show how to connect as a tenant, in parts and as a URI. The password is shown with --reveal only, and that is audited.",
		Example: "  manor tenant dsn acme\n  manor tenant psql acme\n  umask 077; manor tenant dsn acme --reveal --uri > acme.uri",
		Args:    args(1, 1, "the tenant's slug"), ValidArgsFunction: a.completeTenants,
	}
	reveal := cmd.Flags().Bool("reveal", false, "show the password")
	uri := cmd.Flags().Bool("uri", false, "write the URI alone")
	cmd.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		return a.with(cmd, false, func(ctx context.Context, s *session) error {
			dsn, err := s.TenantDSN(ctx, args[0], *reveal)
			if err != nil {
				return err
			}
			if *uri {
				return a.print.URI(dsn)
			}
			return a.print.DSN(dsn)
		})
	})
	return cmd
}

func (a *app) tenantFingerprint() *cobra.Command {
	var q controlplane.TenantQuery
	cmd := &cobra.Command{
		Use: "fingerprint", Short: "Group tenants by the fingerprint of their schema",
		Long: `Group tenants by version and fingerprint: a hash of the schema as PostgreSQL has
it. Tenants at one version with two fingerprints differ in their schemas.`,
		Example: "  manor tenant fingerprint\n  manor tenant fingerprint -l ring=canary",
		Args:    args(0, 0, ""),
	}
	selected := selectionFlags(cmd)
	cmd.Flags().StringVar(&q.Search, "search", "", "tenants whose slug or external id holds `text`")
	cmd.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		var err error
		if q.Select, err = selected.expression(); err != nil {
			return err
		}
		return a.with(cmd, false, func(ctx context.Context, s *session) error {
			groups, err := s.Fingerprints(ctx, q)
			if err != nil {
				return err
			}
			return a.print.Fingerprints(groups)
		})
	})
	return cmd
}
