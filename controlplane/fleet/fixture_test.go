package fleet

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/catalog/catalogtest"
	"github.com/manorhq/manor/controlplane/secret"
	"github.com/manorhq/manor/controlplane/work"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/internal/pgtest"
)

const patience = 30 * time.Second

// site is a catalog with one cluster, for processes to share.
type site struct {
	t       *testing.T
	url     string
	keys    *secret.Keyring
	cat     *catalog.Catalog
	cluster *ent.Cluster
}

func newSite(t *testing.T, connections int) *site {
	t.Helper()
	s := &site{t: t, url: catalogtest.URL(t)}
	var err error
	if s.keys, err = secret.CreateKeyring(filepath.Join(t.TempDir(), "key")); err != nil {
		t.Fatal(err)
	}
	s.cat = catalogtest.Open(t, s.url)
	server := pgtest.Server(t)
	user, password := pgtest.ControlLogin(t)
	address, err := controlplane.ParseAddress(strings.Split(strings.Split(server.URL("postgres"), "@")[1], "/")[0])
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(s.cat, s.keys, work.Join(s.cat, work.Process{ID: "adds"}, discard), nil).Add(t.Context(), controlplane.Loop("test"),
		controlplane.NewCluster{Name: "one", Address: address, Login: user, Password: password, TLS: controlplane.TLS{Mode: "disable"}, Connections: connections})
	if err != nil {
		t.Fatal(err)
	}
	if s.cluster, err = s.cat.Ent().Cluster.Get(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	return s
}

var discard = slog.New(slog.DiscardHandler)

// process is one of those that share the cluster.
type process struct {
	*Service
	t        *testing.T
	way      *Way
	presence *work.Presence
}

// process starts one; it ends with the test.
func (s *site) process(id string) *process {
	s.t.Helper()
	p := &process{t: s.t, presence: work.Join(s.cat, work.Process{ID: id}, discard)}
	p.Service = New(s.cat, s.keys, p.presence, nil)
	var err error
	if p.way, err = p.control(s.t.Context(), s.cluster.ID); err != nil {
		s.t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = p.presence.Run(ctx) })
	running.Go(func() { _ = p.Run(ctx) })
	s.t.Cleanup(func() { p.Close(); end(); running.Wait() })
	return p
}

// hold takes n connections and keeps them until release is called.
func (p *process) hold(n int) (release func()) {
	p.t.Helper()
	let, held := make(chan struct{}), make(chan error, n)
	var holding sync.WaitGroup
	for range n {
		holding.Go(func() {
			err := p.way.Do(p.t.Context(), func(*pgx.Conn) error {
				held <- nil
				<-let
				return nil
			})
			if err != nil {
				held <- err
			}
		})
	}
	for range n {
		if err := <-held; err != nil {
			p.t.Fatal(err)
		}
	}
	return sync.OnceFunc(func() { close(let); holding.Wait() })
}

// try asks for a connection and returns the error.
func (p *process) try() error {
	return p.way.Do(p.t.Context(), func(conn *pgx.Conn) error { return conn.Ping(p.t.Context()) })
}

func (s *site) exec(statement string, args ...any) {
	s.t.Helper()
	if _, err := s.cat.Pool().Exec(s.t.Context(), statement, args...); err != nil {
		s.t.Fatal(err)
	}
}

func (p *process) tallied(s *site) tally {
	pool := p.pool(s.cluster.ID)
	pool.mu.Lock()
	defer pool.mu.Unlock()
	return pool.tally
}

func (p *process) eventually(what string, ask func() bool) {
	p.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); !ask(); {
		select {
		case <-tick.C:
		case <-late:
			p.t.Fatalf("waited in vain until %s", what)
		}
	}
}
