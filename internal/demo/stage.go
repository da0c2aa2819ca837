package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/internal/devpg"
)

// The names on stage.
const (
	catalogName  = "manor_catalog" // database and login
	controlLogin = "manor_control"
	serviceLog   = "manor.log"
)

// clusterNames are the clusters by the region each serves.
var clusterNames = map[string]string{"eu": "eu-1", "us": "us-1"}

// regions in the order they come on.
var regions = []string{"eu", "us"}

// stage is what the demo starts and takes down again.
type stage struct {
	dir      string
	env      []string // of every run of the binary
	catalog  *devpg.Server
	clusters map[string]*devpg.Server // by region
	guard    *guard
	teardown []func() error
}

func (s *stage) path(name string) string { return filepath.Join(s.dir, name) }

func (s *stage) after(f func() error) { s.teardown = append(s.teardown, f) }

// tearDown stops and removes everything, last first, once.
func (s *stage) tearDown() error {
	var err error
	for i := len(s.teardown) - 1; i >= 0; i-- {
		err = errors.Join(err, s.teardown[i]())
	}
	s.teardown = nil
	return err
}

func (d *demo) setUp(ctx context.Context) (string, error) {
	d.say("Three PostgreSQL servers, all temporary: one for Manor's catalog, two as clusters. On a cluster Manor logs")
	d.say("in as %s, which has CREATEDB and CREATEROLE and nothing more: no superuser, as on managed services.", controlLogin)
	err := inOrder(ctx, d.makeFolder, d.startServers, d.makeCatalog, d.serve, d.addClusters)
	return "catalog and 2 clusters; the control logins are no superusers", err
}

func (d *demo) makeFolder(context.Context) (err error) {
	if d.dir, err = os.MkdirTemp("", "manor-demo-"); err != nil { // mode 0700
		return err
	}
	if d.guard, err = startGuard(d.dir); err != nil {
		return errors.Join(err, os.RemoveAll(d.dir))
	}
	d.after(d.guard.close)
	return nil
}

// startServers starts them together. Each is kept as soon as it runs, whatever becomes of the others.
func (d *demo) startServers(ctx context.Context) error {
	servers := make([]*devpg.Server, 1+len(regions))
	var all errgroup.Group
	for i := range servers {
		all.Go(func() (err error) {
			servers[i], err = devpg.Start(ctx, devpg.Config{Version: d.postgres})
			return err
		})
	}
	err := all.Wait()
	d.after(func() error { return stopServers(servers) })
	if err != nil {
		return err
	}
	d.catalog, d.clusters = servers[0], map[string]*devpg.Server{}
	d.say("PostgreSQL %s for the catalog at %s.", d.catalog.Version(), address(d.catalog))
	for i, region := range regions {
		d.clusters[region] = servers[i+1]
		d.say("PostgreSQL %s for cluster %s at %s.", servers[i+1].Version(), clusterNames[region], address(servers[i+1]))
	}
	return nil
}

// stopServers stops them together.
func stopServers(servers []*devpg.Server) error {
	var all errgroup.Group
	for _, server := range servers {
		if server != nil {
			all.Go(server.Stop)
		}
	}
	return all.Wait()
}

func address(s *devpg.Server) string { return fmt.Sprintf("%s:%d", s.Host(), s.Port()) }

// makeCatalog makes the catalog's empty database, then has Manor furnish it.
func (d *demo) makeCatalog(ctx context.Context) error {
	password, err := makeLogin(ctx, d.catalog, catalogName, "")
	if err != nil {
		return err
	}
	if err := execute(ctx, d.catalog, fmt.Sprintf("CREATE DATABASE %s OWNER %[1]s", pg.Quote(catalogName))); err != nil {
		return err
	}
	url := fmt.Sprintf("postgres://%s:%%s@%s/%s?sslmode=disable", catalogName, address(d.catalog), catalogName)
	key := "MANOR_KEY_FILE=" + d.path("manor.key")
	d.env = []string{"MANOR_CATALOG=" + fmt.Sprintf(url, password.Reveal()), key}
	d.command("export " + shellText([]string{"MANOR_CATALOG=" + fmt.Sprintf(url, password)}))
	d.command("export " + key)
	return d.manor(ctx, "catalog", "migrate")
}

// addClusters hands the control logins to Manor; the passwords go by standard input.
func (d *demo) addClusters(ctx context.Context) error {
	for _, region := range regions {
		server, name := d.clusters[region], clusterNames[region]
		password, err := makeLogin(ctx, server, controlLogin, "CREATEDB CREATEROLE")
		if err != nil {
			return err
		}
		file := d.path(name + ".password")
		if err := os.WriteFile(file, []byte(password.Reveal()+"\n"), 0o600); err != nil {
			return err
		}
		err = d.manorEnds(ctx, exitDone, file, "cluster", "add", name, "--host", address(server), "--tls-mode", "disable",
			"--login", controlLogin, "--password-file", "-", "--region", region, "--extension", "citext,pgcrypto")
		if err != nil {
			return err
		}
	}
	return d.manor(ctx, "cluster", "list")
}

// makeLogin makes a login on a server. PostgreSQL gets a verifier, never the password.
func makeLogin(ctx context.Context, server *devpg.Server, name, rights string) (controlplane.Secret, error) {
	password := pg.NewPassword()
	verifier, err := pg.Verifier(password)
	if err != nil {
		return password, err
	}
	return password, execute(ctx, server, fmt.Sprintf("CREATE ROLE %s LOGIN %s PASSWORD %s", pg.Quote(name), rights, pg.Literal(verifier)))
}

// execute runs SQL as the superuser of a server, which Manor never is.
func execute(ctx context.Context, server *devpg.Server, sql string) error {
	conn, err := pgx.Connect(ctx, server.URL("postgres"))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
}

// lastLines are the last n lines of a text.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
