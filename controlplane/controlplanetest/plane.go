package controlplanetest

import (
	"context"
	"log/slog"
	"maps"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/client"
	"github.com/manorhq/manor/controlplane/daemon"
	"github.com/manorhq/manor/internal/pgtest"
)

// patience is how long a test waits for something that is on its way.
const patience = 60 * time.Second

// Plane is a control plane that ends with its test.
type Plane struct {
	*client.Client
	Daemon  *daemon.Daemon
	Config  daemon.Config // to start another process on the same catalog
	Control controlplane.NewCluster
	t       testing.TB
}

// New starts a control plane whose one cluster is named "one", on the server
// that the tests of the package share.
func New(t testing.TB) *Plane {
	t.Helper()
	p := Empty(t)
	p.AddServer("one", pgtest.Server(t))
	return p
}

// Empty starts a control plane without a cluster.
func Empty(t testing.TB) *Plane {
	t.Helper()
	return Open(t, Options{})
}

// Options are for planes that are not as most tests want them.
type Options struct {
	Catalog string       // URL of an empty database; default: one on the shared server
	Idle    bool         // the doors are open, but no job is worked: see [Plane.Working]
	Logger  *slog.Logger // default: the test's output, from Warn on
}

// Open starts a control plane without a cluster.
func Open(t testing.TB, o Options) *Plane {
	t.Helper()
	if o.Catalog == "" {
		o.Catalog = pgtest.Database(t)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	config := daemon.Config{Catalog: controlplane.NewSecret(o.Catalog), KeyFile: filepath.Join(t.TempDir(), "key"),
		Workers: !o.Idle, Version: "test", Logger: o.Logger}
	if _, err := daemon.MigrateCatalog(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	p := &Plane{Config: config, t: t}
	p.Daemon = p.Start()
	p.Client = client.New("http://manor", p.Daemon.Transport())
	return p
}

// Start starts another control plane on the same catalog, as another process
// would; it ends with the test.
func (p *Plane) Start() *daemon.Daemon {
	p.t.Helper()
	d, err := daemon.New(p.t.Context(), p.Config)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := d.Start(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { p.stop(d) })
	return d
}

func (p *Plane) stop(d *daemon.Daemon) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.t.Context()), patience)
	defer cancel()
	if err := d.Stop(ctx); err != nil {
		p.t.Errorf("the control plane did not stop in order: %v", err)
	}
}

// Working runs f while a control plane on the same catalog works jobs.
func (p *Plane) Working(f func()) {
	p.t.Helper()
	config := p.Config
	config.Workers = true
	d, err := daemon.New(p.t.Context(), config)
	if err != nil {
		p.t.Fatal(err)
	}
	defer p.stop(d)
	if err := d.Start(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	f()
}

// Catalog opens a connection to the catalog, for what no door tells or does.
func (p *Plane) Catalog() *pgx.Conn {
	p.t.Helper()
	return connect(p.t, p.Config.Catalog.Reveal())
}

// Superuser opens a connection that sees everything in a database.
func Superuser(t testing.TB, s Server, database string) *pgx.Conn {
	t.Helper()
	return connect(t, s.URL(database))
}

func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// Server is a PostgreSQL server of pgtest or devpg.
type Server interface {
	Host() string
	Port() int
	URL(database string) string
}

// AddServer makes a server known as a cluster, with a control login that has
// CREATEDB and CREATEROLE only.
func (p *Plane) AddServer(name string, s Server) *controlplane.Cluster {
	p.t.Helper()
	user, password := pgtest.ControlLogin(p.t, s)
	p.Control = controlplane.NewCluster{
		Name: name, Address: controlplane.Address{Hosts: []string{hostPort(s)}}, Login: user, Password: password,
		TLS: controlplane.TLS{Mode: "disable"}, Extensions: []string{"citext"},
	}
	c, err := p.AddCluster(p.t.Context(), p.Control)
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// Push pushes a release of the files given as name and content, alternating.
// The checksum file is made; "down/…" files are down files.
func (p *Plane) Push(name string, files map[string]string) *controlplane.Release {
	p.t.Helper()
	r, err := p.PushRelease(p.t.Context(), controlplane.NewRelease{Name: name, Files: Summed(p.t, files)})
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// Create creates tenants like the given one, which needs no slug, and waits
// until they are settled.
func (p *Plane) Create(like controlplane.NewTenant, slugs ...string) []*controlplane.Tenant {
	p.t.Helper()
	wanted := make([]controlplane.NewTenant, len(slugs))
	for i, slug := range slugs {
		wanted[i] = like
		wanted[i].Slug = slug
		wanted[i].Labels = maps.Clone(like.Labels)
	}
	results, err := p.CreateTenants(p.t.Context(), wanted, false)
	if err != nil {
		p.t.Fatal(err)
	}
	tenants := make([]*controlplane.Tenant, len(slugs))
	for i, r := range results {
		if r.Error != nil {
			p.t.Fatalf("create %s: %v", r.Slug, r.Error)
		}
		tenants[i] = p.Settled(r.Slug)
	}
	return tenants
}

// Settled waits until the cluster is where a tenant's state wants it.
func (p *Plane) Settled(slug string) *controlplane.Tenant {
	p.t.Helper()
	var tenant *controlplane.Tenant
	p.Eventually("tenant "+slug+" settles", func() (bool, error) {
		var err error
		tenant, err = p.ShowTenant(p.t.Context(), slug)
		return err == nil && tenant.Settled, err
	})
	return tenant
}

// Rested waits until nothing more happens to a rollout by itself.
func (p *Plane) Rested(id string) *controlplane.Rollout {
	p.t.Helper()
	var rollout *controlplane.Rollout
	p.Eventually("rollout "+id+" rests", func() (bool, error) {
		var err error
		rollout, err = p.ShowRollout(p.t.Context(), id)
		return err == nil && rollout.State.Resting(), err
	})
	return rollout
}

// StartRollout starts a rollout. The way back of one without a plan need not be
// proved: rehearsing takes seconds.
func (p *Plane) StartRollout(ctx context.Context, n controlplane.NewRollout) (*controlplane.Rollout, error) {
	n.AllowUnproved = n.AllowUnproved || n.Plan == ""
	return p.Client.StartRollout(ctx, n)
}

// Rollout starts a rollout and waits until it rests.
func (p *Plane) Rollout(n controlplane.NewRollout) *controlplane.Rollout {
	p.t.Helper()
	r, err := p.StartRollout(p.t.Context(), n)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.Rested(r.ID)
}

// Eventually asks until the answer is yes, an error, or patience runs out.
func (p *Plane) Eventually(what string, ask func() (bool, error)) {
	p.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		done, err := ask()
		if err != nil {
			p.t.Fatalf("waiting until %s: %v", what, err)
		}
		if done {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			p.t.Fatalf("waited %s in vain until %s", patience, what)
		}
	}
}

// Connect opens a connection as the tenant's login.
func (p *Plane) Connect(slug string) *pgx.Conn {
	p.t.Helper()
	dsn, err := p.TenantDSN(p.t.Context(), slug, true)
	if err != nil {
		p.t.Fatal(err)
	}
	conn, err := Dial(p.t.Context(), dsn)
	if err != nil {
		p.t.Fatalf("connect as %s: %v", slug, err)
	}
	p.t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(p.t.Context())) })
	return conn
}

// Exec runs a statement as the tenant's login.
func (p *Plane) Exec(slug, sql string, args ...any) {
	p.t.Helper()
	if _, err := p.Connect(slug).Exec(p.t.Context(), sql, args...); err != nil {
		p.t.Fatalf("as %s: %v", slug, err)
	}
}

// Dial connects as a DSN says that was asked for with its password.
func Dial(ctx context.Context, dsn *controlplane.DSN) (*pgx.Conn, error) {
	hosts, ports, err := controlplane.Address{Hosts: dsn.Hosts}.Split()
	if err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig("host=" + hosts[0] + " sslmode=disable")
	if err != nil {
		return nil, err
	}
	config.Port, config.User, config.Password, config.Database = ports[0], dsn.User, dsn.Password, dsn.Database
	return pgx.ConnectConfig(ctx, config)
}
