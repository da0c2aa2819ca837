package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/manorhq/manor/cmd/manor/render"
	"github.com/manorhq/manor/controlplane"
)

// createAtOnce is how many tenants go to the service in one request.
const createAtOnce = 100

func (a *app) tenantCreate() *cobra.Command {
	var common controlplane.NewTenant
	var file string
	var pairs []string
	cmd := &cobra.Command{
		Use:   "create SLUG… | -f FILE",
		Short: "Create tenants and make their homes",
		Long: `Create tenants, make their homes and bring them to the default release, then
wait until every one is active. Without --cluster Manor chooses the emptiest
cluster that fits.

A file is CSV with a header out of slug, external_id, isolation, cluster, region,
tier, labels (labels as "k=v;k2=v2"), or a YAML list with the same names. What a
row leaves empty is taken from the flags.`,
		Example: `  manor tenant create acme globex --label ring=canary
  manor tenant create initech --isolation database --region eu --external-id 4711
  manor tenant create -f tenants.csv --tier free`,
		Args: args(0, -1, ""),
	}
	fs := cmd.Flags()
	fs.StringVarP(&file, "file", "f", "", "`file` with tenants, CSV or YAML; - is standard input")
	fs.StringVar((*string)(&common.Isolation), "isolation", "", "what each gets of its own, `schema|database` (default schema)")
	fs.StringVar(&common.Cluster, "cluster", "", "`name` of the cluster")
	fs.StringVar(&common.Region, "region", "", "`name` of the region")
	fs.StringVar(&common.Tier, "tier", "", "`name` of the tier")
	fs.StringVar(&common.ExternalID, "external-id", "", "`id` applications key by; for one tenant")
	fs.StringArrayVarP(&pairs, "label", "l", nil, "label `k=v`; may be repeated")
	must(cmd.RegisterFlagCompletionFunc("isolation", cobra.FixedCompletions([]string{"schema", "database"}, cobra.ShellCompDirectiveNoFileComp)))
	dryRun, noWait := dryRunFlag(cmd), noWaitFlag(cmd)
	cmd.RunE = a.run(func(cmd *cobra.Command, slugs []string) error {
		labels, err := parseLabels(pairs)
		if err != nil {
			return err
		}
		common.Labels = labels
		wanted, err := a.wanted(slugs, file, common)
		if err != nil {
			return err
		}
		wait := !*noWait && !*dryRun
		return a.with(cmd, wait, func(ctx context.Context, s *session) error {
			c := creation{app: a, s: s, wanted: wanted, dryRun: *dryRun, wait: wait}
			return c.run(ctx)
		})
	})
	return cmd
}

// wanted are the tenants to create, each checked as far as that needs no service.
func (a *app) wanted(slugs []string, file string, common controlplane.NewTenant) ([]controlplane.NewTenant, error) {
	var wanted []controlplane.NewTenant
	switch {
	case len(slugs) == 0 && file == "":
		return nil, usage("`manor tenant create SLUG…` or `manor tenant create -f FILE`", "the tenant's slug is missing")
	case len(slugs) > 0 && file != "":
		return nil, usage("give either", "slugs and --file exclude each other")
	case file != "":
		rows, err := a.readTenants(file)
		if err != nil {
			return nil, err
		}
		wanted = rows
	}
	for _, slug := range slugs {
		wanted = append(wanted, controlplane.NewTenant{Slug: slug})
	}
	if common.ExternalID != "" && len(wanted) > 1 {
		return nil, usage("put an external_id column into a file", "--external-id names one tenant, and %d are to be created", len(wanted))
	}
	seen := map[string]bool{}
	for i := range wanted {
		n := &wanted[i]
		fill(n, common)
		if err := n.Validate(); err != nil {
			return nil, err
		}
		if seen[n.Slug] {
			return nil, usage("", "tenant %s is named twice", n.Slug)
		}
		seen[n.Slug] = true
	}
	return wanted, nil
}

// fill takes from the flags what a row leaves empty.
func fill(n *controlplane.NewTenant, common controlplane.NewTenant) {
	for _, f := range []struct {
		to   *string
		from string
	}{
		{&n.ExternalID, common.ExternalID}, {(*string)(&n.Isolation), string(common.Isolation)},
		{&n.Cluster, common.Cluster}, {&n.Region, common.Region}, {&n.Tier, common.Tier},
	} {
		if *f.to == "" {
			*f.to = f.from
		}
	}
	for k, v := range common.Labels {
		if n.Labels == nil {
			n.Labels = controlplane.Labels{}
		}
		if _, own := n.Labels[k]; !own {
			n.Labels[k] = v
		}
	}
}

// creation is one run of tenant create.
type creation struct {
	*app
	s            *session
	wanted       []controlplane.NewTenant
	dryRun, wait bool
	results      []controlplane.TenantResult
}

func (c *creation) run(ctx context.Context) error {
	after, err := c.s.head(ctx, c.wait)
	if err != nil {
		return err
	}
	if err := c.send(ctx); err != nil {
		return err
	}
	if c.wait {
		if err := c.settle(ctx, after); err != nil {
			return err
		}
	}
	return c.finish()
}

// send asks for the tenants, some at a time. When a request fails after
// others went through, its tenants and the rest carry the error.
func (c *creation) send(ctx context.Context) error {
	for chunk := range slices.Chunk(c.wanted, createAtOnce) {
		results, err := c.s.CreateTenants(ctx, chunk, c.dryRun)
		if err != nil && len(c.results) == 0 {
			return err
		}
		if err != nil {
			return c.giveUp(ctx, err)
		}
		c.results = append(c.results, results...)
	}
	return nil
}

func (c *creation) giveUp(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return &exit{code: exitInterrupted, message: fmt.Sprintf("interrupted; %d of %d tenants were asked for", len(c.results), len(c.wanted)),
			hint: "the same command goes on: tenants that exist are reported as conflicts and stay as they are"}
	}
	for _, n := range c.wanted[len(c.results):] {
		c.results = append(c.results, controlplane.TenantResult{Slug: n.Slug, Error: &controlplane.Error{Code: controlplane.CodeOf(err), Message: "not created: " + err.Error()}})
	}
	return nil
}

// settle waits for the homes of the accepted tenants and reads them anew.
func (c *creation) settle(ctx context.Context, after string) error {
	var accepted []controlplane.Tenant
	for _, r := range c.results {
		if r.Tenant != nil {
			accepted = append(accepted, *r.Tenant)
		}
	}
	if len(accepted) == 0 {
		return nil
	}
	label := "Creating " + accepted[0].Slug
	if len(accepted) > 1 {
		label = "Creating tenants"
	}
	w := c.newTenantWait(c.s, controlplane.TenantActive, accepted)
	if err := w.run(ctx, after, label); err != nil {
		return err
	}
	return c.readAnew(ctx, accepted)
}

// readAnew takes the accepted tenants' results from where they are now.
func (c *creation) readAnew(ctx context.Context, accepted []controlplane.Tenant) error {
	slugs := make([]string, len(accepted))
	for i, t := range accepted {
		slugs[i] = t.Slug
	}
	found, err := lookup(ctx, c.s, slugs, false)
	if err != nil {
		return err
	}
	now := map[string]*controlplane.Tenant{}
	for i := range found {
		now[found[i].ID] = &found[i]
	}
	for i, r := range c.results {
		if r.Tenant != nil && now[r.Tenant.ID] != nil {
			c.results[i].Tenant = now[r.Tenant.ID]
		}
	}
	return nil
}

// finish shows the results. One tenant speaks for itself; of several, some
// failed ones make exit code 3.
func (c *creation) finish() error {
	if len(c.results) == 1 {
		return c.finishOne(c.results[0])
	}
	if err := c.print.TenantResults(c.results, did("created", c.dryRun)); err != nil {
		return err
	}
	if slices.ContainsFunc(c.results, func(r controlplane.TenantResult) bool { return render.Problem(r) != "" }) {
		return &exit{code: exitSomeFailed}
	}
	return nil
}

func (c *creation) finishOne(r controlplane.TenantResult) error {
	if r.Error != nil {
		return r.Error
	}
	if problem := render.Problem(r); problem != "" {
		return &exit{code: exitSomeFailed, message: fmt.Sprintf("tenant %s was not created: %s", r.Slug, problem),
			hint: fmt.Sprintf("nothing is left on the cluster; `manor tenant purge %s --confirm %s` frees the slug", r.Slug, r.Slug)}
	}
	return c.print.TenantCreated(r.Tenant, did("created", c.dryRun))
}
