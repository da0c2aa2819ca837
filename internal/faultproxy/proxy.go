package faultproxy

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// dialPatience is how long a server may take to accept a connection.
const dialPatience = 5 * time.Second

// Way is the way that messages go.
type Way uint8

// The ways.
const (
	ToServer Way = 1 << iota
	ToClient
	BothWays = ToServer | ToClient
)

// Proxy is one address that leads to a server. Without faults it changes nothing.
type Proxy struct {
	listener net.Listener
	running  sync.WaitGroup

	mu       sync.Mutex
	server   string // new connections lead there
	conns    []*Conn
	accepted int
	refusing bool
	lost     Way // what is swallowed of new connections
	delay    time.Duration
	armed    []*armed
	closed   bool
}

// Start listens on a port of 127.0.0.1 and leads to a server, given as host:port.
func Start(server string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("faultproxy: %w", err)
	}
	p := &Proxy{listener: listener, server: server}
	p.running.Go(p.accept)
	return p, nil
}

// Close cuts everything and returns when it is gone.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close()
	p.Cut()
	p.running.Wait()
}

// Host is where the proxy listens: this machine only.
func (p *Proxy) Host() string { return p.address().IP.String() }

// Port is where the proxy listens.
func (p *Proxy) Port() int { return p.address().Port }

func (p *Proxy) address() *net.TCPAddr { return p.listener.Addr().(*net.TCPAddr) }

// Conns are the connections that are there now, half-open ones included, oldest first.
func (p *Proxy) Conns() []*Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.conns)
}

// Accepted is how many clients have come so far, those refused included.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// Lead leads new connections to another server. Those that are there stay where they are.
func (p *Proxy) Lead(server string) { p.set(func() { p.server = server }) }

// Cut ends all connections there are.
func (p *Proxy) Cut() {
	for _, c := range p.Conns() {
		c.Cut()
	}
}

// HalfOpen makes all connections there are half-open: what goes that way is swallowed, their end included, and nobody
// is told.
func (p *Proxy) HalfOpen(way Way) {
	for _, c := range p.Conns() {
		c.HalfOpen(way)
	}
}

// BlackHole is HalfOpen for new connections too: they are accepted.
func (p *Proxy) BlackHole(way Way) {
	p.set(func() { p.lost = way })
	p.HalfOpen(way)
}

// Refuse turns new connections away, by a reset.
func (p *Proxy) Refuse() { p.set(func() { p.refusing = true }) }

// Delay holds up each message, or what comes together with it, for a time.
func (p *Proxy) Delay(by time.Duration) { p.set(func() { p.delay = by }) }

// Heal ends all faults. What was swallowed does not come back: connections that are half-open stay so until somebody
// gives them up.
func (p *Proxy) Heal() {
	p.set(func() { p.refusing, p.lost, p.delay, p.armed = false, 0, 0, nil })
}

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, refused := p.decide()
		if refused {
			_ = client.(*net.TCPConn).SetLinger(0) // the client is to get a reset
			_ = client.Close()
			continue
		}
		p.running.Go(func() { p.connect(client, server) })
	}
}

// decide says what becomes of a new connection.
func (p *Proxy) decide() (server string, refused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.accepted++
	return p.server, p.refusing || p.closed
}

func (p *Proxy) connect(client net.Conn, server string) {
	upstream, err := net.DialTimeout("tcp", server, dialPatience)
	if err != nil {
		_ = client.Close()
		return
	}
	c := &Conn{proxy: p, client: client, server: upstream, ended: make(chan struct{})}
	if p.add(c) {
		c.run()
	}
	c.Cut()
	p.remove(c)
}

// add reports whether the connection came before the end of the proxy.
func (p *Proxy) add(c *Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	c.lost = p.lost
	p.conns = append(p.conns, c)
	return true
}

func (p *Proxy) remove(c *Conn) {
	p.set(func() { p.conns = slices.DeleteFunc(p.conns, func(other *Conn) bool { return other == c }) })
}
