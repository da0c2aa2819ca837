package controlplanetest

import (
	"testing"

	"github.com/manorhq/manor/internal/faultproxy"
)

// Proxied is a server with a proxy before it, for tests of what networks do.
// Manor, to whom it is added, goes through the proxy; the test itself does not.
type Proxied struct {
	Server
	Proxy *faultproxy.Proxy
}

// Proxy puts a proxy before a server until the test ends.
func Proxy(t testing.TB, s Server) Proxied {
	t.Helper()
	p, err := faultproxy.Start(hostPort(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return Proxied{s, p}
}

// Host is the proxy's.
func (p Proxied) Host() string { return p.Proxy.Host() }

// Port is the proxy's.
func (p Proxied) Port() int { return p.Proxy.Port() }

// HostPort is the address of a server, for [faultproxy.Proxy.Lead].
func HostPort(s Server) string { return hostPort(s) }
