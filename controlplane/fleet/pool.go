package fleet

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/singleflight"

	"github.com/manorhq/manor/controlplane"
)

const (
	// idleTime is how long an unused connection stays. Short: a backend of a
	// tenant's database is of use to nobody else.
	idleTime = 5 * time.Second
	// provenFor is how long after its use a connection is taken to work.
	provenFor = time.Second
	// provenWithin is how long one that was unused for longer may take to answer.
	provenWithin = 2 * time.Second
	// usesPerBackend replaces a backend before its relation cache has grown by
	// 370 KiB for each of more tenants than this.
	usesPerBackend = 100
	// closeWithin is how long those who have a connection may take to end when
	// the room is closed; then it is cut off.
	closeWithin = 10 * time.Second
)

// pool keeps the connections of this process to one cluster, with any login and
// to any database, within those that it may have. Where there are no more, the
// one that was unused for longest makes room.
type pool struct {
	cluster string // id
	ledger  ledger
	asking  singleflight.Group
	record  sync.Mutex     // one at a time changes what is on record in the catalog
	ending  sync.WaitGroup // connections being closed

	mu sync.Mutex
	tally
	name     string // of the cluster
	limit    int    // of the cluster's connections, for all processes
	recorded int    // on record for this process, at least what is allotted
	noted    bool   // there is a record, if only of 0
	doubtful bool   // what is on record is not known
	age      int    // how often everything was lost
	idle     []*session
	queue    []*ticket // second seats before first ones
	openers  int       // who has a seat and waits to open a connection
	closing  int       // connections of which the server has not let go yet
	changed  chan struct{}
	sockets  map[*socket]struct{}
	closed   bool

	surplusSince time.Time // when less began to be needed than is allotted; zero: all is
	refusedAt    time.Time // when somebody last waited for the others
}

// session is a connection that may be used again.
type session struct {
	conn *pgx.Conn
	line *line
	way  wayKey
	uses int
	rest time.Time // when it was given back
}

// wayKey tells apart connections that cannot stand in for each other.
type wayKey struct {
	database, user, address string
	password                controlplane.Secret
	tls                     controlplane.TLS
}

func newPool(cluster string, l ledger) *pool {
	return &pool{cluster: cluster, ledger: l, changed: make(chan struct{}), sockets: map[*socket]struct{}{}}
}

// know takes what the catalog says of the cluster.
func (p *pool) know(name string, limit int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.name, p.limit, p.free = name, limit, limit == 0
}

// called is the cluster's name.
func (p *pool) called() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.name
}

// borrow lends a connection to whoever sits.
func (p *pool) borrow(ctx context.Context, w *Way, second bool) (*session, error) {
	if err := p.sit(ctx, second); err != nil {
		return nil, err
	}
	s, err := p.session(ctx, w)
	if err != nil {
		p.rise(second)
		return nil, err
	}
	return s, nil
}

func (p *pool) session(ctx context.Context, w *Way) (*session, error) {
	for {
		s := p.takeIdle(w.key)
		if s == nil {
			return p.connect(ctx, w)
		}
		if time.Since(s.rest) < provenFor || s.answers(ctx) {
			return s, nil
		}
		p.mu.Lock()
		p.end(s)
		p.mu.Unlock()
	}
}

// answers asks whether a connection works: it may be half-open.
func (s *session) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, provenWithin)
	defer cancel()
	return s.conn.Ping(ctx) == nil
}

// takeIdle takes the one that was used last: the others can grow old.
func (p *pool) takeIdle(key wayKey) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, s := range slices.Backward(p.idle) {
		if s.way == key {
			p.idle = slices.Delete(p.idle, i, i+1)
			return s
		}
	}
	return nil
}

// giveBack takes a connection back, unless it is worn out or in no order.
func (p *pool) giveBack(s *session, second bool) {
	s.uses++
	s.rest = time.Now()
	inOrder := !s.conn.IsClosed() && !s.conn.PgConn().IsBusy() && s.conn.PgConn().TxStatus() == 'I'
	p.mu.Lock()
	if inOrder && s.uses < usesPerBackend && s.line.socket.age == p.age && !p.closed {
		p.idle = append(p.idle, s)
	} else {
		p.end(s)
	}
	p.mu.Unlock()
	p.rise(second)
}

// end closes a connection; its place is free when the server has let go of it.
// The pool is locked.
func (p *pool) end(s *session) {
	if on := s.line.socket; !on.gone && !on.ending {
		on.ending = true
		p.closing++
	}
	p.ending.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), lingerFor)
		defer cancel()
		_ = s.conn.Close(ctx)
	})
}

// endOldest closes the connection that was unused for longest. The pool is locked.
func (p *pool) endOldest() {
	p.end(p.idle[0])
	p.idle = slices.Delete(p.idle, 0, 1)
}

// makeRoom closes as many unused connections as there are openers waiting.
// The pool is locked.
func (p *pool) makeRoom() {
	for p.closing < p.openers && len(p.idle) > 0 {
		p.endOldest()
	}
}

// tell wakes those who wait for something to change. The pool is locked.
func (p *pool) tell() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// forget closes the unused connections to a database.
func (p *pool) forget(database string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = slices.DeleteFunc(p.idle, func(s *session) bool {
		if s.way.database == database {
			p.end(s)
		}
		return s.way.database == database
	})
}

// cut ends everything at once, in the middle of whatever it does: others may
// be counting on it.
func (p *pool) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose()
}

// close ends the unused connections, and the others when their users do.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for _, s := range p.idle {
		p.end(s)
	}
	p.idle = nil
	p.mu.Unlock()
	if !p.emptyWithin(closeWithin) {
		p.cut()
		p.emptyWithin(closeWithin)
	}
	p.ending.Wait()
	p.record.Lock() // when nobody speaks to the catalog any more
	defer p.record.Unlock()
}

func (p *pool) emptyWithin(patience time.Duration) bool {
	late := time.NewTimer(patience)
	defer late.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.open > 0 {
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
			p.mu.Lock()
		case <-late.C:
			p.mu.Lock()
			return p.open == 0
		}
	}
	return true
}

// connect opens a connection for whoever sits.
func (p *pool) connect(ctx context.Context, w *Way) (*session, error) {
	config, err := w.config()
	if err != nil {
		return nil, err
	}
	l := &line{pool: p, dial: config.DialFunc}
	if err := l.reserve(ctx); err != nil {
		return nil, err
	}
	defer l.release()
	config.DialFunc = l.Dial
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	l.conn = conn.PgConn()
	p.mu.Lock()
	err = p.holds(l.socket) // to log in takes its time, too
	p.mu.Unlock()
	if err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	return &session{conn: conn, line: l, way: w.key}, nil
}
