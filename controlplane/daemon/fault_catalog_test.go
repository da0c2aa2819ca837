package daemon_test

import (
	"log/slog"
	"net/url"
	"testing"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/faultproxy"
	"github.com/manorhq/manor/internal/pgtest"
)

// through is a URL that leads through a proxy.
func through(t *testing.T, p controlplanetest.Proxied, address string) controlplane.Secret {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = controlplanetest.HostPort(p)
	return controlplane.NewSecret(u.String())
}

// A worker that loses the catalog for longer than its lease, with tenants in
// hand, loses the batch to another one. Back again, it works as before.
func TestWorkerCutOffFromTheCatalogForLongerThanItsLease(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(*faultproxy.Proxy){
		"by a reset":               func(p *faultproxy.Proxy) { p.Refuse(); p.Cut() },
		"by half-open connections": func(p *faultproxy.Proxy) { p.BlackHole(faultproxy.BothWays) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address, proxied := pgtest.Database(t), controlplanetest.Proxy(t, pgtest.Server(t))
			f := newFleet(t, controlplanetest.Options{Catalog: address, Logger: slog.New(slog.DiscardHandler)}, pgtest.Server(t), controlplane.NewTenant{}, 4)
			f.Config.Catalog = through(t, proxied, address)
			id, release := f.inHand(controlplane.NewRollout{BatchSize: 4})
			cut(proxied.Proxy)
			f.Config.Catalog, f.Config.Dial = controlplane.NewSecret(address), nil
			f.Expire()
			f.Working(func() { f.thereAndBack(id, 1) })
			release() // its tenants are again where it left them
			proxied.Proxy.Heal()
			f.thereAndBack(f.begin(controlplane.NewRollout{}), 2) // there is nobody else to do it
			proxied.Proxy.Cut()                                   // or what is half-open would hold up the end of the test
		})
	}
}
