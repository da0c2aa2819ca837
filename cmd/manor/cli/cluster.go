package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/manorhq/manor/controlplane"
)

func (a *app) clusterCommand() *cobra.Command {
	cmd := group("cluster", "PostgreSQL servers that take tenants", `
A cluster is one running PostgreSQL server (PostgreSQL's own word). Manor logs
in with a control login that needs CREATEDB and CREATEROLE and nothing more.`, "  manor cluster list\n  manor cluster add --help")
	cmd.Aliases = []string{"clusters"}
	cmd.AddCommand(a.clusterAdd(), a.clusterList(), a.clusterShow(), a.clusterSet(), a.clusterRemove())
	return cmd
}

// clusterFlags are the fields of a cluster as flags.
type clusterFlags struct {
	host, appHost, login, passwordFile string
	tls                                controlplane.TLS
	region                             string
	labels, extensions                 []string
	capacity, density, connections     int
	state                              string
}

func (f *clusterFlags) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.host, "host", "", "Manor's own way in: `host:port`, several separated by commas, IPv6 in brackets")
	fs.StringVar(&f.appHost, "app-host", "", "what applications use, perhaps a pooler: `host:port` (default: the same)")
	fs.StringVar(&f.passwordFile, "password-file", "", "`file` with the control login's password; - is standard input")
	fs.StringVar(&f.tls.Mode, "tls-mode", "", "`mode`: verify-full, verify-ca, require or disable (default verify-full)")
	fs.StringVar(&f.tls.RootCert, "tls-root-cert", "", "`file` with the certificate authority")
	fs.StringVar(&f.tls.Cert, "tls-cert", "", "`file` with the client certificate")
	fs.StringVar(&f.tls.Key, "tls-key", "", "`file` with the key of the client certificate")
	fs.StringVar(&f.region, "region", "", "`name` of the region it serves")
	fs.StringArrayVarP(&f.labels, "label", "l", nil, "label `k=v`; may be repeated")
	fs.IntVar(&f.capacity, "capacity", 0, "`tenants` it takes at most (default: no limit)")
	fs.IntVar(&f.density, "density", 0, "schema `tenants` in one shared database at most (default 1000)")
	fs.IntVar(&f.connections, "connections", 0, "`connections` that Manor opens at most, over all its processes (default: a quarter of those that the server has)")
	fs.StringSliceVar(&f.extensions, "extension", nil, "`extension` that homes may have, such as citext; may be repeated")
	must(cmd.RegisterFlagCompletionFunc("tls-mode", cobra.FixedCompletions(controlplane.TLSModes, cobra.ShellCompDirectiveNoFileComp)))
}

func (a *app) clusterAdd() *cobra.Command {
	f := &clusterFlags{}
	cmd := &cobra.Command{
		Use:   "add NAME --host HOST --login LOGIN --password-file FILE",
		Short: "Add a PostgreSQL server",
		Long: `Add a PostgreSQL server. Manor connects before it accepts it: the version must
be 15 or later, the login must have CREATEDB and CREATEROLE.

The login, once, as a superuser or the administrator of a managed service:
  CREATE ROLE manor LOGIN CREATEDB CREATEROLE PASSWORD '…';`,
		Example: `  manor cluster add east --host db-east:5432 --login manor --password-file east.pw --region eu
  pass show manor/east | manor cluster add east --host db1,db2 --login manor --password-file - --extension citext`,
		Args: args(1, 1, "the cluster's name"),
	}
	f.register(cmd)
	cmd.Flags().StringVar(&f.login, "login", "", "`name` of the control login")
	dryRun := dryRunFlag(cmd)
	cmd.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		n, err := a.newCluster(args[0], f)
		if err != nil {
			return err
		}
		n.DryRun = *dryRun
		return a.with(cmd, false, func(ctx context.Context, s *session) error {
			c, err := s.AddCluster(ctx, n)
			if err != nil {
				return err
			}
			return a.print.ClusterDone(c, did("added", *dryRun))
		})
	})
	return cmd
}

// did says what happened, or what would have.
func did(what string, dryRun bool) string {
	if dryRun {
		return "would be " + what + " (dry run)"
	}
	return what
}

func (a *app) newCluster(name string, f *clusterFlags) (controlplane.NewCluster, error) {
	n := controlplane.NewCluster{
		Name: name, Login: f.login, TLS: f.tls, Region: f.region,
		Capacity: f.capacity, Density: f.density, Connections: f.connections, Extensions: f.extensions,
	}
	if f.host == "" {
		return n, usage("give --host HOST:PORT", "cluster %s: the address is missing", name)
	}
	if f.passwordFile == "" {
		return n, usage("give --password-file FILE, or --password-file - for standard input", "cluster %s: the control login's password is missing", name)
	}
	var err error
	if n.Address, err = controlplane.ParseAddress(f.host); err != nil {
		return n, err
	}
	if n.AppAddress, err = optionalAddress(f.appHost); err != nil {
		return n, err
	}
	if n.Labels, err = parseLabels(f.labels); err != nil {
		return n, err
	}
	check := n
	if err := check.Validate(); err != nil {
		return n, err
	}
	n.Password, err = a.readSecret(f.passwordFile)
	return n, err
}

func optionalAddress(s string) (*controlplane.Address, error) {
	if s == "" {
		return nil, nil
	}
	address, err := controlplane.ParseAddress(s)
	return &address, err
}

func (a *app) clusterList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the clusters", Example: "  manor cluster list -o json",
		Args: args(0, 0, ""),
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd, false, func(ctx context.Context, s *session) error {
				clusters, err := s.ListClusters(ctx)
				if err != nil {
					return err
				}
				return a.print.Clusters(clusters)
			})
		}),
	}
}

func (a *app) clusterShow() *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show a cluster", Example: "  manor cluster show east",
		Args: args(1, 1, "the cluster's name"), ValidArgsFunction: a.completeClusters,
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			return a.with(cmd, false, func(ctx context.Context, s *session) error {
				c, err := s.ShowCluster(ctx, args[0])
				if err != nil {
					return err
				}
				return a.print.Cluster(c)
			})
		}),
	}
}

// clusterChanges are the flags of cluster set that change something.
var clusterChanges = []string{
	"host", "app-host", "password-file", "tls-mode", "tls-root-cert", "tls-cert", "tls-key", "region", "label",
	"capacity", "density", "connections", "extension", "state",
}

func (a *app) clusterSet() *cobra.Command {
	f := &clusterFlags{}
	cmd := &cobra.Command{
		Use:   "set NAME [flags]",
		Short: "Change a cluster",
		Long: `Change a cluster: only what is given. A label without a value is taken off, an
empty --app-host removes the address for applications (they use --host again),
an empty name clears a TLS file.
A draining cluster keeps its tenants and takes no new ones; on an offline one
nothing is started. What the server has beyond --connections is never used by
Manor: it is kept for applications.`,
		Example: "  manor cluster set east --state draining\n  manor cluster set east --capacity 500 --label ring=\n  manor cluster set east --connections 40",
		Args:    args(1, 1, "the cluster's name"), ValidArgsFunction: a.completeClusters,
	}
	f.register(cmd)
	cmd.Flags().StringVar(&f.state, "state", "", "`state`: active, draining or offline")
	must(cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions([]string{"active", "draining", "offline"}, cobra.ShellCompDirectiveNoFileComp)))
	dryRun := dryRunFlag(cmd)
	cmd.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		if noneChanged(cmd, clusterChanges...) {
			return usage("`manor cluster set --help` lists what can be changed", "cluster %s: nothing to change was given", args[0])
		}
		return a.with(cmd, false, func(ctx context.Context, s *session) error {
			change, err := a.clusterChange(ctx, cmd, s, args[0], f)
			if err != nil {
				return err
			}
			change.DryRun = *dryRun
			c, err := s.SetCluster(ctx, args[0], change)
			if err != nil {
				return err
			}
			return a.print.ClusterDone(c, did("changed", *dryRun))
		})
	})
	return cmd
}

func (a *app) clusterChange(ctx context.Context, cmd *cobra.Command, s *session, name string, f *clusterFlags) (controlplane.ClusterChange, error) {
	c := controlplane.ClusterChange{
		Region: changed(cmd, "region", f.region), Capacity: changed(cmd, "capacity", f.capacity),
		Density: changed(cmd, "density", f.density), Connections: changed(cmd, "connections", f.connections), Extensions: f.extensions,
		State: changed(cmd, "state", controlplane.ClusterState(f.state)),
	}
	var err error
	if cmd.Flags().Changed("host") {
		address, err := controlplane.ParseAddress(f.host)
		if err != nil {
			return c, err
		}
		c.Address = &address
	}
	if c.AppAddress, err = optionalAddress(f.appHost); err != nil {
		return c, err
	}
	if f.appHost == "" && cmd.Flags().Changed("app-host") {
		c.AppAddress = &controlplane.Address{} // removes it
	}
	if c.Labels, err = parseLabels(f.labels); err != nil {
		return c, err
	}
	if cmd.Flags().Changed("password-file") {
		password, err := a.readSecret(f.passwordFile)
		if err != nil {
			return c, err
		}
		c.Password = &password
	}
	c.TLS, err = changedTLS(ctx, cmd, s, name, f)
	return c, err
}

// changedTLS lays the given TLS flags over what the cluster has: TLS is
// changed as a whole. An empty file name clears a file; there is no empty mode.
func changedTLS(ctx context.Context, cmd *cobra.Command, s *session, name string, f *clusterFlags) (*controlplane.TLS, error) {
	if noneChanged(cmd, "tls-mode", "tls-root-cert", "tls-cert", "tls-key") {
		return nil, nil
	}
	if f.tls.Mode == "" && cmd.Flags().Changed("tls-mode") {
		return nil, usage("give one of "+strings.Join(controlplane.TLSModes, ", "), "the TLS mode is empty")
	}
	now, err := s.ShowCluster(ctx, name)
	if err != nil {
		return nil, err
	}
	tls := now.TLS
	for flag, to := range map[string]*string{"tls-mode": &tls.Mode, "tls-root-cert": &tls.RootCert, "tls-cert": &tls.Cert, "tls-key": &tls.Key} {
		if value := changed(cmd, flag, cmd.Flag(flag).Value.String()); value != nil {
			*to = *value
		}
	}
	return &tls, nil
}

func (a *app) clusterRemove() *cobra.Command {
	cmd := &cobra.Command{
		Use: "remove NAME", Aliases: []string{"rm"}, Short: "Remove a cluster that has no tenants",
		Long:    "Remove a cluster from the catalog. It is refused while tenants live on it; the server itself is left as it is.",
		Example: "  manor cluster remove east --dry-run",
		Args:    args(1, 1, "the cluster's name"), ValidArgsFunction: a.completeClusters,
	}
	dryRun := dryRunFlag(cmd)
	cmd.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		return a.with(cmd, false, func(ctx context.Context, s *session) error {
			if err := s.RemoveCluster(ctx, args[0], *dryRun); err != nil {
				return err
			}
			return a.print.Done(map[string]any{"name": args[0], "removed": !*dryRun}, "Cluster %s %s.", args[0], did("removed", *dryRun))
		})
	})
	return cmd
}
