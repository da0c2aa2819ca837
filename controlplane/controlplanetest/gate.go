package controlplanetest

import (
	"context"
	"net"
	"sync"
)

// Gate holds up what a control plane writes to clusters after it has logged in.
// Its Dial goes into daemon.Config. The zero Gate is open.
type Gate struct {
	mu      sync.Mutex
	open    chan struct{} // nil or closed: writes pass
	knocked chan struct{} // closed by the first that has to wait
}

// Shut holds up all writes until release is called. knocked is closed when the
// first one waits.
func (g *Gate) Shut() (knocked <-chan struct{}, release func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	open := make(chan struct{})
	g.open, g.knocked = open, make(chan struct{})
	return g.knocked, func() { close(open) }
}

func (g *Gate) pass() {
	g.mu.Lock()
	open := g.open
	if g.knocked != nil {
		close(g.knocked)
		g.knocked = nil
	}
	g.mu.Unlock()
	if open != nil {
		<-open
	}
}

// Dial opens connections that pass through the gate.
func (g *Gate) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	return &gated{Conn: conn, gate: g}, err
}

// loginWrites are the startup packet, the two answers of SCRAM and the question
// which server it is.
const loginWrites = 4

type gated struct {
	net.Conn
	gate   *Gate
	writes int // pgconn writes from one goroutine at a time
}

func (c *gated) Write(b []byte) (int, error) {
	if c.writes++; c.writes > loginWrites {
		c.gate.pass()
	}
	return c.Conn.Write(b)
}
