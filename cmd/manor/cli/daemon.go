package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/manorhq/manor/cmd/manor/render"
	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/client"
	"github.com/manorhq/manor/controlplane/daemon"
)

// stopWithin bounds how long a control plane in this process may take to
// finish the tenants it has in hand.
const stopWithin = 30 * time.Second

// daemonConfig is how a control plane on the catalog of the environment is set up.
func (a *app) daemonConfig(e environment, workers bool, least slog.Level) (daemon.Config, error) {
	if e.Catalog.Empty() {
		return daemon.Config{}, noCatalog()
	}
	if e.KeyFile == "" {
		return daemon.Config{}, usage("export MANOR_KEY_FILE=FILE; `manor catalog migrate` makes the file if it does not exist", "the key file is not named: MANOR_KEY_FILE is empty")
	}
	return daemon.Config{Catalog: e.Catalog, KeyFile: e.KeyFile, Workers: workers, Logger: a.logger(least), Version: Version()}, nil
}

func noCatalog() error {
	return usage("export MANOR_CATALOG=postgres://user@host/database, a PostgreSQL database of Manor's own", "the catalog is not named: MANOR_CATALOG is empty")
}

// openInProcess starts a control plane in this process and a client that
// speaks to it without a socket.
func (a *app) openInProcess(ctx context.Context, e environment, workers bool) (*session, error) {
	config, err := a.daemonConfig(e, workers, a.logLevel(slog.LevelError))
	if err != nil {
		return nil, err
	}
	d, stop, err := startDaemon(ctx, config)
	if err != nil {
		return nil, err
	}
	return &session{Client: client.New("http://manor", d.Transport()), inProcess: true, close: stop}, nil
}

// startDaemon starts a control plane. It outlives ctx: whoever is interrupted
// stops it, and it finishes what it has in hand.
func startDaemon(ctx context.Context, config daemon.Config) (*daemon.Daemon, func(), error) {
	d, err := daemon.New(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	stop := func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
		defer cancel()
		if err := d.Stop(late); err != nil {
			config.Logger.Error("control plane did not stop in order", "err", err)
		}
	}
	if err := d.Start(context.WithoutCancel(ctx)); err != nil {
		stop()
		return nil, nil, err
	}
	return d, stop, nil
}

// migrateCatalog brings the catalog to this binary's version. The key file is
// made first if there is none.
func (a *app) migrateCatalog(ctx context.Context, e environment) error {
	config, err := a.daemonConfig(e, false, a.logLevel(slog.LevelWarn))
	if err != nil {
		return err
	}
	applied, err := daemon.MigrateCatalog(ctx, config)
	if err != nil {
		return err
	}
	if applied == nil {
		applied = []string{}
	}
	text := "The catalog is up to date."
	if n := len(applied); n > 0 {
		text = fmt.Sprintf("The catalog is at version %s (%d applied).", applied[n-1], n)
	}
	return a.print.Done(map[string]any{"applied": applied}, "%s", text)
}

// showCatalog needs no key: it reads no password.
func (a *app) showCatalog(ctx context.Context, e environment) error {
	if e.Catalog.Empty() {
		return noCatalog()
	}
	status, err := daemon.CatalogStatus(ctx, daemon.Config{Catalog: e.Catalog, Logger: a.logger(a.logLevel(slog.LevelWarn)), Version: Version()})
	if err != nil {
		return err
	}
	return a.print.Catalog(render.CatalogStatus(status))
}

// claimCatalog makes a catalog of its own out of a copy.
func (a *app) claimCatalog(ctx context.Context, e environment, n controlplane.NewClaim) error {
	config, err := a.daemonConfig(e, false, a.logLevel(slog.LevelWarn))
	if err != nil {
		return err
	}
	claim, err := daemon.ClaimCatalog(ctx, config, n)
	if err != nil {
		return err
	}
	if err := a.print.Claim(claim); err != nil {
		return err
	}
	return differs(len(claim.Left), claim.Unreached)
}

// serve runs the control plane on a socket until ctx ends.
func (a *app) serve(ctx context.Context, e environment, path string) error {
	config, err := a.daemonConfig(e, true, a.logLevel(slog.LevelInfo))
	if err != nil {
		return err
	}
	d, stop, err := startDaemon(ctx, config)
	if err != nil {
		return err
	}
	defer stop()
	return serveAt(ctx, d, path, func() error {
		a.print.Remark("Manor %s serves at unix://%s; Ctrl-C ends it.", Version(), path)
		return nil
	})
}

// serveAt serves on a socket until ctx ends, and calls ready once it answers.
func serveAt(ctx context.Context, d *daemon.Daemon, path string, ready func() error) error {
	if conn, err := net.Dial("unix", path); err == nil { // another's: Serve has the words for it
		conn.Close()
		return d.Serve(ctx, path)
	}
	serving, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- d.Serve(serving, path) }()
	if err := answers(ctx, path, ended); err != nil {
		return served(ctx, err)
	}
	if err := ready(); err != nil {
		cancel()
		return errors.Join(err, served(serving, <-ended))
	}
	return served(ctx, <-ended)
}

// answers returns once somebody listens on the socket, or serving it ended.
func answers(ctx context.Context, path string, ended chan error) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if conn, err := net.Dial("unix", path); err == nil {
			return conn.Close()
		}
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// served takes the end that was asked for as a good one.
func served(ctx context.Context, err error) error {
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled) || errors.Is(err, http.ErrServerClosed)) {
		return nil
	}
	return err
}

// runPlane runs the control plane of manor dev on a catalog that it migrates
// unasked, until ctx ends.
func (d *dev) runPlane(ctx context.Context, e environment, socket string) error {
	config, err := d.daemonConfig(e, true, d.logLevel(slog.LevelWarn))
	if err != nil {
		return err
	}
	if _, err := daemon.MigrateCatalog(ctx, config); err != nil {
		return err
	}
	plane, stop, err := startDaemon(ctx, config)
	if err != nil {
		return err
	}
	defer stop()
	if err := d.addCluster(ctx, client.New("http://manor", plane.Transport())); err != nil {
		return err
	}
	return serveAt(ctx, plane, socket, func() error { return d.greet(e, socket) })
}
