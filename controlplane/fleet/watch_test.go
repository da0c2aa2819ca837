package fleet

import (
	"context"
	"errors"
	"net"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/internal/faultproxy"
)

// through is the way to the site's cluster through a proxy.
func (p *process) through(s *site) (*Way, *faultproxy.Proxy) {
	p.t.Helper()
	proxy, err := faultproxy.Start(p.way.login.Address.String())
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(proxy.Close)
	login := p.way.login
	if login.Address, err = controlplane.ParseAddress(net.JoinHostPort(proxy.Host(), strconv.Itoa(proxy.Port()))); err != nil {
		p.t.Fatal(err)
	}
	return p.Service.way(s.cluster, login, maintenanceDatabase, "cluster one"), proxy
}

func TestWaitOnAHalfOpenConnectionEnds(t *testing.T) {
	t.Parallel()
	s := newSite(t, 4)
	p := s.process("one")
	w, proxy := p.through(s)
	proxy.Arm(faultproxy.Strike{On: "'never'", When: faultproxy.After, Silent: true})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := w.Do(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SELECT 'never'")
		return err
	})
	if !errors.Is(err, errHalfOpen) || pg.TroubleOf(err) != pg.NoTrouble {
		t.Errorf("%v (trouble %q)", err, pg.TroubleOf(err))
	}
	p.eventually("its place is free", func() bool { return p.tallied(s).open == 0 })
}

// TestConnectionsThatWorkAreNotGivenUp has one that is at work for longer than
// a wait goes unwatched, and one that nobody waits on meanwhile.
func TestConnectionsThatWorkAreNotGivenUp(t *testing.T) {
	t.Parallel()
	p := newSite(t, 4).process("one")
	over := make(chan struct{})
	var both errgroup.Group
	both.Go(func() error {
		return p.way.Do(t.Context(), func(idle *pgx.Conn) error {
			<-over
			return idle.Ping(t.Context())
		})
	})
	both.Go(func() error {
		defer close(over)
		return p.way.Do(t.Context(), func(busy *pgx.Conn) error {
			_, err := busy.Exec(t.Context(), "SELECT pg_sleep($1)", (watchAfter + watchEvery/2).Seconds())
			return err
		})
	})
	if err := both.Wait(); err != nil {
		t.Error(err)
	}
}
