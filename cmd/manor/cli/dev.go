package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/client"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/internal/devpg"
)

func (a *app) devCommand() *cobra.Command {
	d := &dev{app: a}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "PostgreSQL and a control plane, to try Manor out",
		Long: `Start a PostgreSQL server, a catalog and a control plane with one cluster, "dev",
print the variables to export in another terminal, and run until Ctrl-C. It is
all temporary and removed at the end, unless --dir keeps it.`,
		Example: "  manor dev\n  manor dev --dir ./manor-dev --port 5499",
		Args:    args(0, 0, ""),
		RunE:    a.run(func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context()) }),
	}
	cmd.Flags().StringVar(&d.dir, "dir", "", "`directory` that keeps data, key and socket (default: a temporary one)")
	cmd.Flags().IntVar(&d.port, "port", 0, "TCP `port` of PostgreSQL on 127.0.0.1 (default: any free one)")
	cmd.Flags().StringVar(&d.version, "postgres", "", "major `version` of PostgreSQL, such as 18 (default: the newest installed)")
	return cmd
}

// The names manor dev gives on its server.
const (
	devCluster      = "dev"
	devControl      = "manor_control" // CREATEDB and CREATEROLE, nothing more
	devCatalogLogin = "manor_catalog"
	devCatalog      = "manor_catalog"
)

var devExtensions = []string{"citext", "pgcrypto"}

// dev is one run of manor dev.
type dev struct {
	*app
	dir     string
	port    int
	version string

	home     string // where key and socket are
	server   *devpg.Server
	control  controlplane.Secret // password of the control login
	catalog  controlplane.Secret // URL
	teardown []func() error
}

// run brings everything up, says how to use it, and takes it down in reverse.
func (d *dev) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, d.takeDown()) }()
	for _, step := range []func(context.Context) error{d.makeHome, d.startServer, d.whenStopped, d.makeLogins} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return d.runPlane(ctx, environment{Catalog: d.catalog, KeyFile: d.keyFile()}, d.socket())
}

func (d *dev) keyFile() string { return filepath.Join(d.home, "manor.key") }
func (d *dev) socket() string  { return filepath.Join(d.home, "manor.sock") }

func (d *dev) takeDown() (err error) {
	for i := len(d.teardown) - 1; i >= 0; i-- {
		err = errors.Join(err, d.teardown[i]())
	}
	return err
}

// whenStopped answers the first signal at once. What must not outlast the run
// goes before anything that takes time: a second signal ends it there and then.
// It comes after startServer, which knows that nobody else uses the directory.
func (d *dev) whenStopped(ctx context.Context) error {
	said := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(said)
		if d.dir == "" {
			_ = os.Remove(d.keyFile())
		}
		_ = os.Remove(d.socket())
		d.print.Remark("Stopping …")
	})
	d.teardown = append(d.teardown, func() error {
		if !stop() {
			<-said
		}
		return nil
	})
	return nil
}

func (d *dev) makeHome(context.Context) error {
	if d.dir != "" {
		home, err := filepath.Abs(d.dir)
		d.home = home
		return errors.Join(err, os.MkdirAll(home, 0o755)) // PostgreSQL may run as another user below it
	}
	home, err := os.MkdirTemp("", "manor-dev-")
	if err != nil {
		return fmt.Errorf("a temporary directory cannot be made: %w", err)
	}
	d.home = home
	d.teardown = append(d.teardown, func() error { return os.RemoveAll(home) })
	return nil
}

func (d *dev) startServer(ctx context.Context) error {
	d.print.Remark("Starting PostgreSQL …")
	config := devpg.Config{Version: d.version, Port: d.port}
	if d.dir != "" {
		config.Dir, config.Durable = filepath.Join(d.home, "postgres"), true
	}
	server, err := devpg.Start(ctx, config)
	if err != nil {
		return err
	}
	d.server = server
	d.teardown = append(d.teardown, server.Stop)
	return nil
}

// makeLogins makes the catalog's database and both logins, with new passwords
// each time: nothing has to be kept.
func (d *dev) makeLogins(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, d.server.URL("postgres"))
	if err != nil {
		return fmt.Errorf("PostgreSQL started and cannot be reached: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if d.control, err = makeLogin(ctx, conn, devControl, "CREATEDB CREATEROLE"); err != nil {
		return err
	}
	password, err := makeLogin(ctx, conn, devCatalogLogin, "")
	if err != nil {
		return err
	}
	d.catalog = controlplane.NewSecret(fmt.Sprintf("postgres://%s:%s@%s:%d/%s?sslmode=disable",
		devCatalogLogin, password.Reveal(), d.server.Host(), d.server.Port(), devCatalog))
	return makeDatabase(ctx, conn, devCatalog, devCatalogLogin)
}

func makeLogin(ctx context.Context, conn *pgx.Conn, name, rights string) (controlplane.Secret, error) {
	password := pg.NewPassword()
	verifier, err := pg.Verifier(password)
	if err != nil {
		return password, err
	}
	verb := "CREATE"
	if there, err := exists(ctx, conn, "SELECT FROM pg_roles WHERE rolname = $1", name); err != nil {
		return password, err
	} else if there {
		verb = "ALTER"
	}
	_, err = conn.Exec(ctx, fmt.Sprintf("%s ROLE %s LOGIN %s PASSWORD %s", verb, pg.Quote(name), rights, pg.Literal(verifier)))
	if err != nil {
		return password, fmt.Errorf("login %s cannot be made: %w", name, err)
	}
	return password, nil
}

func makeDatabase(ctx context.Context, conn *pgx.Conn, name, owner string) error {
	there, err := exists(ctx, conn, "SELECT FROM pg_database WHERE datname = $1", name)
	if err != nil || there {
		return err
	}
	if _, err := conn.Exec(ctx, fmt.Sprintf("CREATE DATABASE %s OWNER %s", pg.Quote(name), pg.Quote(owner))); err != nil {
		return fmt.Errorf("database %s cannot be made: %w", name, err)
	}
	return nil
}

func exists(ctx context.Context, conn *pgx.Conn, query, name string) (bool, error) {
	err := conn.QueryRow(ctx, query, name).Scan()
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// addCluster makes the server the cluster "dev", or tells the one from last
// time where the server is now.
func (d *dev) addCluster(ctx context.Context, c *client.Client) error {
	address, err := controlplane.ParseAddress(fmt.Sprintf("%s:%d", d.server.Host(), d.server.Port()))
	if err != nil {
		return err
	}
	password, tls := d.control.Reveal(), controlplane.TLS{Mode: "disable"}
	_, err = c.AddCluster(ctx, controlplane.NewCluster{
		Name: devCluster, Address: address, Login: devControl, Password: password, TLS: tls, Extensions: devExtensions,
	})
	if errors.Is(err, &controlplane.Error{Code: controlplane.Conflict}) {
		_, err = c.SetCluster(ctx, devCluster, controlplane.ClusterChange{Address: &address, Password: &password, TLS: &tls})
	}
	return err
}

// greet says how to use what is running now. The result goes to standard
// output, so that it can be read by a script.
func (d *dev) greet(e environment, socket string) error {
	server := "unix://" + socket
	d.print.Remark("PostgreSQL %s at %s:%d is cluster %q. In another terminal:\n", d.server.Version(), d.server.Host(), d.server.Port(), devCluster)
	err := d.print.Done(map[string]any{
		"manor_server": server, "key_file": e.KeyFile, "host": d.server.Host(), "port": d.server.Port(), "server_version": d.server.Version(),
	}, "export MANOR_SERVER=%s", shellQuote(server))
	d.print.Remark(`
  manor release push DIR --name v1    # a migration directory of Atlas's
  manor tenant create acme globex
  manor status

Ctrl-C ends it%s.`, map[bool]string{true: " and removes everything", false: "; " + d.dir + " keeps the data"}[d.dir == ""])
	return err
}

func shellQuote(s string) string {
	if strings.ContainsAny(s, " '\"$\\`&;()<>*?#~!") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}
