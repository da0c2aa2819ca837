package faultproxy

import (
	"bufio"
	"net"
	"sync"
	"time"
)

// Conn is one connection through the proxy.
type Conn struct {
	proxy          *Proxy
	client, server net.Conn
	ended          chan struct{}
	end            sync.Once

	mu     sync.Mutex
	lost   Way    // what is swallowed
	answer *armed // to be struck when the server has answered; until then the answer is swallowed
}

// Cut ends the connection on both sides.
func (c *Conn) Cut() {
	c.end.Do(func() {
		close(c.ended)
		_ = c.client.Close()
		_ = c.server.Close()
	})
}

// HalfOpen swallows what goes that way from now on, the end of the connection included.
func (c *Conn) HalfOpen(way Way) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost |= way
}

// Server is the address that the connection leads to.
func (c *Conn) Server() string { return c.server.RemoteAddr().String() }

// run carries messages until both sides have ended or the connection is cut.
func (c *Conn) run() {
	var carrying sync.WaitGroup
	carrying.Go(func() { c.carry(ToServer, c.toServer) })
	carrying.Go(func() { c.carry(ToClient, c.toClient) })
	carrying.Wait()
}

// carry lets the other side know that one has ended, unless that is swallowed too.
func (c *Conn) carry(way Way, messages func()) {
	messages()
	if !c.loses(way) {
		c.Cut()
	}
}

func (c *Conn) loses(way Way) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost&way != 0
}

func (c *Conn) toServer() {
	in := bufio.NewReader(c.client)
	m, err := readStartup(in, c.client)
	for err == nil && c.send(m) {
		m, err = c.next(in)
	}
}

func (c *Conn) toClient() {
	in := bufio.NewReader(c.server)
	for {
		m, err := c.next(in)
		if err != nil || !c.awaited(m) && !c.pass(ToClient, m) {
			return
		}
	}
}

// next reads a message and holds it up, if it is the first of those that come together.
func (c *Conn) next(in *bufio.Reader) (message, error) {
	first := in.Buffered() == 0
	m, err := readMessage(in, 1)
	if first && err == nil {
		c.holdUp()
	}
	return m, err
}

func (c *Conn) holdUp() {
	c.proxy.mu.Lock()
	delay := c.proxy.delay
	c.proxy.mu.Unlock()
	if delay == 0 {
		return
	}
	select {
	case <-time.After(delay):
	case <-c.ended:
	}
}

// pass writes a message, or swallows it, and reports whether there may be more.
func (c *Conn) pass(way Way, m message) bool {
	if c.loses(way) {
		return true
	}
	to := c.client
	if way == ToServer {
		to = c.server
	}
	_, err := to.Write(m)
	return err == nil
}
