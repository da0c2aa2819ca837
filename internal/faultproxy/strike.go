package faultproxy

import "slices"

// Moment is when a message of a client strikes.
type Moment uint8

// The moments.
const (
	Before Moment = iota // the server does not get the message
	During               // the server gets it, and nobody waits for the answer
	After                // the server has answered; the answer is swallowed
)

// Moments are all of them.
var Moments = []Moment{Before, During, After}

func (m Moment) String() string { return [...]string{"before", "during", "after"}[m] }

// Strike is a fault at one message of one client.
type Strike struct {
	On     string // a word that the client's simple query holds, in any case of letters
	Nth    int    // of those, over all connections and from now on; default: the first
	When   Moment
	Silent bool // the connection goes half-open, both ways; default: it is cut
}

type armed struct {
	Strike
	left   int // messages until it strikes
	struck chan struct{}
}

// Arm makes ready for one strike; several may be, and each counts for itself. struck is closed when it has happened.
func (p *Proxy) Arm(s Strike) (struck <-chan struct{}) {
	a := &armed{Strike: s, left: max(s.Nth, 1), struck: make(chan struct{})}
	p.set(func() { p.armed = append(p.armed, a) })
	return a.struck
}

// hit counts a message and returns the strike whose turn it is.
func (p *Proxy) hit(m message) *armed {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.armed {
		if m.says(a.On) {
			a.left--
		}
	}
	i := slices.IndexFunc(p.armed, func(a *armed) bool { return a.left <= 0 && m.says(a.On) })
	if i < 0 {
		return nil
	}
	a := p.armed[i]
	p.armed = slices.Delete(p.armed, i, i+1)
	return a
}

// send passes a message of the client, and strikes where it should. It reports whether there may be more.
func (c *Conn) send(m message) bool {
	a := c.proxy.hit(m)
	switch {
	case a == nil:
		return c.pass(ToServer, m)
	case a.When == After:
		c.mu.Lock()
		c.answer = a
		c.mu.Unlock()
		return c.pass(ToServer, m)
	case a.When == During:
		c.pass(ToServer, m)
	}
	c.strike(a)
	return true
}

// awaited reports whether a message of the server is part of an answer that is to be swallowed, and strikes at its end.
func (c *Conn) awaited(m message) bool {
	c.mu.Lock()
	a, over := c.answer, m[0] == readyForQuery
	if over {
		c.answer = nil
	}
	c.mu.Unlock()
	if a != nil && over {
		c.strike(a)
	}
	return a != nil
}

func (c *Conn) strike(a *armed) {
	if a.Silent {
		c.HalfOpen(BothWays)
	} else {
		c.Cut()
	}
	close(a.struck)
}
