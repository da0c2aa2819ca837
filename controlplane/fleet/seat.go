package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/manorhq/manor/controlplane"
)

const (
	// seatPatience is how long somebody waits for a connection that others use.
	seatPatience = 5 * time.Second
	// askAgain is the pause between two questions to the catalog for more.
	askAgain = 250 * time.Millisecond
	// askTimeout bounds one of them.
	askTimeout = 5 * time.Second
)

// ticket is somebody who waits for a seat.
type ticket struct {
	second bool
	ready  chan struct{}
}

// sit takes a seat: the right to one connection. Those who wait are served in
// the order they came, second seats first.
func (p *pool) sit(ctx context.Context, second bool) error {
	if p.isClosed() {
		return errClosed
	}
	if err := p.appear(ctx); err != nil {
		return err
	}
	t := &ticket{second, make(chan struct{})}
	p.mu.Lock()
	at := len(p.queue)
	if second {
		at = slices.IndexFunc(p.queue, func(t *ticket) bool { return !t.second })
		if at < 0 {
			at = len(p.queue)
		}
	}
	p.queue = slices.Insert(p.queue, at, t)
	p.admit()
	p.mu.Unlock()
	select {
	case <-t.ready:
		return nil
	default:
		return p.wait(ctx, t)
	}
}

var errClosed = controlplane.Errorf(controlplane.Unavailable, "this process is about to end")

func (p *pool) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// appear makes sure that what this process takes is counted. A cluster without
// a budget needs no account.
func (p *pool) appear(ctx context.Context) error {
	p.mu.Lock()
	free := p.free
	p.mu.Unlock()
	if free {
		return nil
	}
	return p.ledger.presence.Appear(ctx)
}

func (p *pool) wait(ctx context.Context, t *ticket) error {
	late := time.NewTimer(seatPatience)
	defer late.Stop()
	again := time.NewTimer(p.turn())
	defer again.Stop()
	for {
		select {
		case <-t.ready:
			return nil
		case <-again.C:
			if err := p.ask(ctx); err != nil {
				return p.giveUp(t, err)
			}
			again.Reset(askAgain) // somebody else may have given some back
		case <-late.C:
			return p.giveUp(t, context.DeadlineExceeded)
		case <-ctx.Done():
			return p.giveUp(t, ctx.Err())
		}
	}
}

// turn is when this process may ask for more: after those who have nothing.
func (p *pool) turn() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.share > 0 {
		return askAgain
	}
	return 0
}

// giveUp takes somebody out of the queue, who may have got a seat by now.
func (p *pool) giveUp(t *ticket, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := slices.Index(p.queue, t)
	if at < 0 {
		return nil
	}
	p.queue = slices.Delete(p.queue, at, at+1)
	p.admit()
	return p.inVain(err)
}

// inVain is the answer to who waited in vain. That the catalog did not say in
// time whether there is a connection says nothing about the cluster. The pool is
// locked.
func (p *pool) inVain(err error) error {
	switch {
	case err == context.DeadlineExceeded:
	case errors.Is(err, context.DeadlineExceeded):
		return (&controlplane.Error{Code: controlplane.Unavailable, Cause: ErrNoConnection,
			Message: fmt.Sprintf("the catalog did not say in time whether a connection to cluster %s is free", p.name)}).
			WithHint("it passes; the catalog's server may have too much to do")
	default:
		return err
	}
	return (&controlplane.Error{Code: controlplane.Unavailable, Cause: ErrNoConnection,
		Message: fmt.Sprintf("no connection to cluster %s is free: Manor may have %d, %d of them are allotted to this process, and it has %d open",
			p.name, p.limit, p.allotted+p.spare, p.open)}).
		WithHint("it passes; `manor cluster set %s --connections N` allows more, and `manor worker list` shows who works", p.name)
}

// rise gives a seat back.
func (p *pool) rise(second bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if second {
		p.second--
	} else {
		p.first--
	}
	p.settleUp()
}

// settleUp does what has become possible. The pool is locked.
func (p *pool) settleUp() {
	p.admit()
	p.yield()
	p.returnSpare()
	p.tell()
}

// admit gives seats to those who wait. The pool is locked.
func (p *pool) admit() {
	for len(p.queue) > 0 {
		t := p.queue[0]
		switch {
		case t.second && p.canSitSecond():
			p.second++
		case !t.second && p.canSit():
			p.first++
		default:
			return
		}
		close(t.ready)
		p.queue = p.queue[1:]
	}
}

// enter waits until who has a seat may open a connection, and counts it. What
// was counted at one age of the pool is nothing at the next.
func (p *pool) enter(ctx context.Context) (age int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.openers++
	defer func() { p.openers-- }()
	for !p.canOpen() {
		p.makeRoom()
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
			p.mu.Lock()
		case <-ctx.Done():
			p.mu.Lock()
			return 0, p.inVain(ctx.Err())
		}
	}
	p.open++
	return p.age, nil
}

// watch keeps an eye on a connection that is open and has its place.
func (p *pool) watch(s *socket) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.holds(s); err != nil {
		return err
	}
	p.sockets[s] = struct{}{}
	return nil
}

// holds refuses a connection whose place is for others since everything was
// lost. The pool is locked.
func (p *pool) holds(s *socket) error {
	switch {
	case s.age == p.age:
		return nil
	case p.closed:
		return errClosed
	}
	return (&controlplane.Error{Code: controlplane.Unavailable, Cause: ErrNoConnection,
		Message: fmt.Sprintf("this process counts as lost, since the catalog did not hear of it: its connections to cluster %s are for others now", p.name)}).
		WithHint("it passes; `manor worker list` shows who works")
}

// leave counts a connection out that the server has let go of, or (nil) that
// was never opened.
func (p *pool) leave(s *socket) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
	if s != nil {
		delete(p.sockets, s)
		s.gone = true
		if s.ending {
			p.closing--
		}
		if s.seated {
			p.second--
		}
	}
	p.settleUp()
}
