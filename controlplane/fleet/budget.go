package fleet

import (
	"context"
	"errors"
	"time"
)

const (
	// surplusFor is how long less is needed than is allotted before the rest is given back.
	surplusFor = 2 * time.Second
	// wantingFor is how long the others are to see that this process got none.
	wantingFor = 15 * time.Second
)

// ask asks the catalog for as many connections as those who wait need. It asks
// once for all who call it at the same time.
func (p *pool) ask(ctx context.Context) error {
	asked := p.asking.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		p.record.Lock()
		defer p.record.Unlock()
		return nil, p.raise(ctx)
	})
	select {
	case answer := <-asked:
		return answer.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// raise asks the catalog for more. The record is locked.
func (p *pool) raise(ctx context.Context) error {
	r, age := p.wanted()
	if r.want == 0 && !r.second {
		return nil
	}
	g, err := p.ledger.raise(ctx, r)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.age != age: // lost meanwhile; what was granted is put right with the next word to the catalog
		return nil
	case errors.Is(err, errLost):
		p.lose()
		return nil
	case err != nil:
		p.noted, p.doubtful = true, true // it may have been granted, and the answer lost
		return err
	}
	p.recorded, p.noted, p.doubtful = r.have+g.more+g.spare, true, false
	p.limit, p.free = g.limit, g.limit == 0
	p.allotted += g.more
	p.spare += g.spare
	if g.more+g.spare == 0 {
		p.refusedAt = time.Now()
	}
	p.settleUp()
	return nil
}

// wanted is what to ask for, so that everybody in the queue gets a seat.
func (p *pool) wanted() (r request, age int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return r, p.age
	}
	r = request{cluster: p.cluster, recorded: p.recorded, have: p.allotted + p.spare}
	for _, t := range p.queue {
		switch {
		case t.second && p.spare == 0:
			r.second = true
		default: // also a second one beyond the spare, as of a session that has two beside it
			r.want++
		}
	}
	if r.want > 0 {
		r.want = max(r.want, step(p.limit))
	}
	if p.share > 0 {
		r.want = min(r.want, max(0, p.share-p.allotted))
	}
	return r, p.age
}

// yield gives everything back that is not in use while another process has
// nothing. The pool is locked.
func (p *pool) yield() {
	if p.share == 0 || len(p.queue) > 0 {
		return
	}
	for len(p.idle) > 0 {
		p.endOldest()
	}
	if needed := p.needed(); needed < p.allotted {
		p.allotted = needed
		p.settleSoon()
	}
}

// returnSpare gives the connection back that the cluster keeps back for second
// seats, once nobody has one. The pool is locked.
func (p *pool) returnSpare() {
	switch {
	case p.spare == 0 || p.second > 0:
	case p.open > p.allotted:
		if p.closing == 0 && len(p.idle) > 0 {
			p.endOldest()
		}
	default:
		p.spare = 0
		p.settleSoon()
	}
}

// settleSoon settles without keeping anybody waiting; what fails is for the
// next tidying.
func (p *pool) settleSoon() {
	p.ending.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
		defer cancel()
		_ = p.settle(ctx)
	})
}

// settle has the catalog note what this process needs no more.
func (p *pool) settle(ctx context.Context) error {
	p.record.Lock()
	defer p.record.Unlock()
	p.mu.Lock()
	to, recorded, noted, age := p.allotted+p.spare, p.recorded, p.noted, p.age
	wanting, doubtful := time.Since(p.refusedAt) < wantingFor || len(p.queue) > 0, p.doubtful
	p.mu.Unlock()
	var err error
	switch {
	case to == 0 && noted && !wanting:
		err, noted = p.ledger.leave(ctx, p.cluster), false
	case to < recorded || doubtful:
		err = p.ledger.lower(ctx, p.cluster, to)
	default:
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.age != age:
		return nil
	case errors.Is(err, errLost):
		p.lose()
		return nil
	case err != nil:
		return err
	}
	p.recorded, p.noted, p.doubtful = to, noted, false
	return nil
}

// tidy closes what was unused for a while and gives back what is not needed,
// and at once what is more than this process's share while another has nothing.
func (p *pool) tidy(ctx context.Context) error {
	err := p.look(ctx)
	p.mu.Lock()
	p.endUnused() // whether the catalog answers or not
	p.shrink()
	p.mu.Unlock()
	return errors.Join(err, p.settle(ctx))
}

// look reads whether this process has to make do with its share.
func (p *pool) look(ctx context.Context) error {
	p.mu.Lock()
	concerned := p.noted && !p.free
	p.mu.Unlock()
	if !concerned {
		return nil
	}
	b, err := p.ledger.read(ctx, p.cluster)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit, p.share = b.limit, 0
	if b.wanting || b.taken > b.limit {
		p.share = fairShare(b.limit, b.processes)
	}
	p.settleUp()
	return nil
}

// endUnused closes the connections that nobody used for a while, and those
// beyond the share. The pool is locked.
func (p *pool) endUnused() {
	for len(p.idle) > 0 && (time.Since(p.idle[0].rest) > idleTime || p.share > 0 && p.open-p.closing > p.share) {
		p.endOldest()
	}
}

// shrink lets go of what is not needed. The pool is locked.
func (p *pool) shrink() {
	needed := min(p.allotted, max(p.needed(), p.share))
	if p.share == 0 {
		needed = min(p.allotted, p.needed()+len(p.queue))
	}
	if needed == p.allotted {
		p.surplusSince = time.Time{}
		return
	}
	if p.surplusSince.IsZero() {
		p.surplusSince = time.Now()
	}
	if p.share > 0 || time.Since(p.surplusSince) >= surplusFor {
		p.allotted = needed
	}
}

// lose lets go of everything. What is on record is not known any more. The pool
// is locked.
func (p *pool) lose() {
	p.age++
	p.allotted, p.spare, p.recorded, p.doubtful = 0, 0, 0, true
	for s := range p.sockets {
		_ = s.Conn.Close()
	}
	for _, s := range p.idle {
		p.end(s)
	}
	p.idle = nil
}
