package pgtest

import (
	"context"
	"errors"
	"net/url"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/manorhq/manor/internal/devpg"
)

// startPatience is long since the first start on a machine may fetch a server.
const startPatience = 5 * time.Minute

// Cluster is the server shared by the tests of a process: one of our own, or that of MANOR_TEST_POSTGRES.
type Cluster struct {
	url *url.URL
	own *devpg.Server // nil on a server of somebody else; also what keeps ours from the garbage collector
}

// URL is the superuser's connection string to a database.
func (c *Cluster) URL(database string) string {
	u := *c.url
	u.Path = "/" + database
	return u.String()
}

// Host is the name or address the server is reached at.
func (c *Cluster) Host() string { return c.url.Hostname() }

// Port is the server's TCP port.
func (c *Cluster) Port() int {
	port, _ := strconv.Atoi(c.url.Port()) // url.Parse took nothing but digits
	return port
}

// User is the superuser's name.
func (c *Cluster) User() string { return c.url.User.Username() }

// Password is the superuser's password.
func (c *Cluster) Password() string {
	password, _ := c.url.User.Password()
	return password
}

// Own says whether the server is ours alone; on one that MANOR_TEST_POSTGRES names, others may be at work.
func (c *Cluster) Own() bool { return c.own != nil }

// shared is the one thing that the tests of a process have in common. Nothing stops the server: it ends with the
// process, which alone knows when its last test is over.
var shared = sync.OnceValues(func() (*Cluster, error) {
	return openCluster(os.Getenv("MANOR_TEST_POSTGRES"))
})

// Server returns the server that the tests of this process share.
func Server(t testing.TB) *Cluster {
	t.Helper()
	cluster, err := shared()
	if err != nil {
		t.Fatalf("pgtest: no PostgreSQL for the tests: %v", err)
	}
	return cluster
}

// NewServer starts a server of the test's own, for tests that need two clusters or crash one. MANOR_TEST_POSTGRES is
// of no use to it: it needs server binaries, and the test fails where none can be had.
func NewServer(t testing.TB, c devpg.Config) *devpg.Server {
	t.Helper()
	server, err := start(c)
	if err != nil {
		t.Fatalf("pgtest: this test starts a PostgreSQL server of its own and needs the binaries: %v", err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return server
}

func openCluster(address string) (*Cluster, error) {
	if address != "" {
		return parseCluster(address)
	}
	server, err := start(devpg.Config{})
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(server.URL("postgres"))
	return &Cluster{url: u, own: server}, err
}

func parseCluster(address string) (*Cluster, error) {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.User.Username() == "" {
		return nil, errors.New("MANOR_TEST_POSTGRES is not of the form postgres://user:password@host:port/database")
	}
	if u.Port() == "" {
		u.Host += ":5432"
	}
	return &Cluster{url: u}, nil
}

func start(c devpg.Config) (*devpg.Server, error) {
	if c.Version == "" {
		c.Version = os.Getenv("MANOR_TEST_PG")
	}
	ctx, cancel := context.WithTimeout(context.Background(), startPatience)
	defer cancel()
	return devpg.Start(ctx, c)
}
