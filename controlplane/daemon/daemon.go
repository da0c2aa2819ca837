package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-multierror"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/api"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/doctor"
	"github.com/manorhq/manor/controlplane/event"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/controlplane/provision"
	"github.com/manorhq/manor/controlplane/release"
	"github.com/manorhq/manor/controlplane/rollout"
	"github.com/manorhq/manor/controlplane/secret"
	"github.com/manorhq/manor/controlplane/tenant"
	"github.com/manorhq/manor/controlplane/work"
)

// Config is what a control plane stands on.
type Config struct {
	Catalog controlplane.Secret // URL of the catalog; may hold a password
	KeyFile string              // the keyring that seals passwords, mode 0600
	Workers bool                // whether this process works jobs
	Logger  *slog.Logger        // default: none
	Version string              // of the program

	// Dial opens the network connections to clusters: for tunnels, and for
	// tests that cut them. Default: as pgx does.
	Dial pgconn.DialFunc
}

// What a process works at a time. Most jobs wait for PostgreSQL most of the
// time. Tenants and batches have lanes of their own, so that neither waits for
// the other, and deciding and sweeping wait for none.
const (
	decisionJobs = 4
	tenantJobs   = 8
	batchJobs    = 12
	// connections to the catalog: jobs need one now and then, requests and River too.
	connections = 32
)

// drain is how long the tenants in hand may take when the process is told to
// stop. Those who stop it wait somewhat longer.
const drain = 20 * time.Second

// Daemon is a control plane in this process.
type Daemon struct {
	config   Config
	catalog  *catalog.Catalog
	fleet    *fleet.Service
	rollouts *rollout.Service
	queue    *work.Queue
	presence *work.Presence
	handler  http.Handler
	calls    *calls

	stopWork context.CancelFunc
	working  sync.WaitGroup
	idle     chan struct{} // closed when no jobs are worked any more
	workErr  error

	vanish context.CancelFunc
	living sync.WaitGroup // what goes on until the last tenant in hand is finished
}

// New opens the catalog and furnishes the rooms. A catalog that is not
// migrated, or newer than this binary, is refused.
func New(ctx context.Context, c Config) (*Daemon, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	cat, err := openChecked(ctx, c)
	if err != nil {
		return nil, err
	}
	keys, err := secret.OpenKeyring(c.KeyFile)
	if err != nil {
		cat.Close()
		return nil, err
	}
	queue := work.New(cat, work.Config{
		Concurrency: decisionJobs, Lanes: map[string]int{tenant.Lane: tenantJobs, rollout.Lane: batchJobs},
		Drain: drain, Logger: c.Logger})
	presence := work.Join(cat, work.Process{ID: workerName(), Version: c.Version, Works: c.Workers}, c.Logger)
	clusters := fleet.New(cat, keys, presence, c.Dial)
	if err := clusters.CheckKey(ctx); err != nil {
		cat.Close()
		return nil, err
	}
	releases := release.New(cat, clusters)
	tenants := tenant.New(cat, keys, clusters, provision.New(cat, keys, clusters), releases, queue, presence.ID())
	rollouts := rollout.New(cat, clusters, releases, queue, c.Logger, presence.ID())
	handler := api.New(api.Config{Fleet: clusters, Tenants: tenants, Releases: releases, Rollouts: rollouts,
		Doctor: doctor.New(cat, clusters, releases, tenants, rollouts, c.Logger),
		Events: event.NewLog(cat), Schema: schemaOf(cat), Version: c.Version, Logger: c.Logger})
	return &Daemon{config: c, catalog: cat, fleet: clusters, rollouts: rollouts, queue: queue, presence: presence, handler: handler, calls: newCalls(handler),
		idle: make(chan struct{})}, nil
}

// openChecked opens a catalog that this binary may write to.
func openChecked(ctx context.Context, c Config) (*catalog.Catalog, error) {
	cat, err := catalog.Open(ctx, c.Catalog, catalog.Config{Connections: connections})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(cat.Check(ctx), work.Check(ctx, cat)); err != nil {
		cat.Close()
		return nil, err
	}
	return cat, nil
}

func schemaOf(cat *catalog.Catalog) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		status, err := cat.Status(ctx)
		return status.Current, err
	}
}

// workerName is how this process signs its leases. No other process ever has
// the same, also where each runs as process 1 of a container.
func workerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d-%s", host, os.Getpid(), strings.ToLower(rand.Text()[:4]))
}

// Start begins to work jobs, when Config.Workers says so. ctx bounds only the
// start; Stop ends the work. On a copy of a catalog that was not claimed nobody
// works.
func (d *Daemon) Start(ctx context.Context) error {
	if !d.config.Workers {
		d.live(ctx)
		return nil
	}
	if err := d.catalog.CheckPlace(ctx); err != nil {
		return err
	}
	d.live(ctx)
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stopWork = stop
	d.working.Go(func() {
		defer close(d.idle)
		if d.workErr = d.queue.Run(working); d.workErr != nil {
			d.config.Logger.Error("this process works no jobs any more", "err", d.workErr)
		}
	})
	return nil
}

// Name is how this process is known to the others: on the list of workers, in
// leases.
func (d *Daemon) Name() string { return d.presence.ID() }

// Wait returns when ctx ends, or with an error when this process has ceased to
// work jobs unasked.
func (d *Daemon) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-d.idle:
		return d.workErr
	}
}

// live lets the other processes see this one, and looks after its connections.
func (d *Daemon) live(ctx context.Context) {
	living, vanish := context.WithCancel(context.WithoutCancel(ctx))
	d.vanish = vanish
	for what, loop := range map[string]func(context.Context) error{
		"tell the others that it ends": d.presence.Run, "give its connections back": d.fleet.Run,
	} {
		d.living.Go(func() {
			if err := loop(living); err != nil {
				d.config.Logger.Warn("this process could not "+what, "err", err)
			}
		})
	}
}

// Handler is the API.
func (d *Daemon) Handler() http.Handler { return d.handler }

// Transport carries a client's requests to the API without a socket.
func (d *Daemon) Transport() http.RoundTripper { return api.Transport(d.calls) }

// shutdownGrace is how long requests may take to end when serving does.
const shutdownGrace = 5 * time.Second

// Serve serves the API on a unix socket of mode 0600 until ctx ends. A socket
// that a dead process left behind is replaced; one that answers is refused.
func (d *Daemon) Serve(ctx context.Context, path string) error {
	listener, err := listen(path)
	if err != nil {
		return err
	}
	requests, end := context.WithCancel(context.WithoutCancel(ctx)) // streams do not end by themselves
	defer end()
	server := &http.Server{
		Handler: d.handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		BaseContext: func(net.Listener) context.Context { return requests },
		ErrorLog:    slog.NewLogLogger(d.config.Logger.Handler(), slog.LevelWarn),
	}
	stop := context.AfterFunc(ctx, func() {
		end()
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		_ = server.Shutdown(late) // what does not end in time is cut off by Close
		_ = server.Close()
	})
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", path, err)
	}
	return nil
}

func listen(path string) (net.Listener, error) {
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = conn.Close()
		return nil, controlplane.Errorf(controlplane.Conflict, "another process serves on %s already", path)
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&fs.ModeSocket == 0 {
			return nil, controlplane.Errorf(controlplane.Refused, "%s exists and is not a socket", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove the dead socket %s: %w", path, err)
		}
	}
	listener, err := privately(path)
	if err != nil {
		return nil, controlplane.Errorf(controlplane.Refused, "cannot listen on %s: %w", path, err)
	}
	return listener, nil
}

// Stop ends the calls and the work, letting the tenants in hand be finished
// while ctx lasts, and closes what New opened.
func (d *Daemon) Stop(ctx context.Context) error {
	d.rollouts.Drain()
	d.calls.close(ctx)
	var errs *multierror.Error
	if d.stopWork != nil {
		d.stopWork()
		errs = multierror.Append(errs, d.waitForWork(ctx))
	}
	d.leave()
	d.catalog.Close()
	return errs.ErrorOrNil()
}

// leave ends what live began.
func (d *Daemon) leave() {
	d.fleet.Close()
	if d.vanish != nil {
		d.vanish()
		d.living.Wait()
	}
}

func (d *Daemon) waitForWork(ctx context.Context) error {
	done := make(chan struct{})
	go func() { d.working.Wait(); close(done) }()
	select {
	case <-done:
		return d.workErr
	case <-ctx.Done():
		return fmt.Errorf("jobs are still running: %w", ctx.Err())
	}
}
