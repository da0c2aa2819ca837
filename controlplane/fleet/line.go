package fleet

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// lingerFor is how long a server may take to let go of a connection that was
// closed before its place counts as free all the same.
const lingerFor = 10 * time.Second

// placePatience is how long a connection may wait for one that makes room for it.
const placePatience = 15 * time.Second

// line opens the network connections of one session: its own, and those that
// others open with its configuration.
type line struct {
	pool   *pool
	dial   pgconn.DialFunc
	conn   *pgconn.PgConn // nil until there is a session
	socket *socket        // the session's own

	reserved bool // there is a place for what is dialled next
	age      int  // of the pool, when it was reserved
}

// reserve waits for a place for the session's connection: that is no part of
// the time that logging in may take.
func (l *line) reserve(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, placePatience)
	defer cancel()
	l.age, err = l.pool.enter(ctx)
	l.reserved = err == nil
	return err
}

// release gives back a place that nothing was dialled for.
func (l *line) release() {
	if l.reserved {
		l.reserved = false
		l.pool.leave(nil)
	}
}

// enter takes the place that was reserved, or waits for one.
func (l *line) enter(ctx context.Context) (age int, err error) {
	if l.reserved {
		l.reserved = false
		return l.age, nil
	}
	return l.pool.enter(ctx)
}

// Dial is a pgconn.DialFunc. A connection is opened when there is a place for
// it, and a request to cancel at once: that is no session.
func (l *line) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if l.cancels() {
		return l.dial(ctx, network, address)
	}
	if l.conn == nil { // also the next host, when one was not to be had; the place of that is free when it has let go
		s, err := l.open(ctx, network, address, false)
		if err != nil {
			return nil, err
		}
		l.socket = s
		return s, nil
	}
	if err := l.pool.sit(ctx, true); err != nil {
		return nil, err
	}
	s, err := l.open(ctx, network, address, true)
	if err != nil {
		l.pool.rise(true)
		return nil, err
	}
	return s, nil
}

// cancels reports whether who dials can only want to cancel what the session
// does: pgx closes a session before it asks for that.
func (l *line) cancels() bool {
	if l.conn == nil || !l.conn.IsClosed() {
		return false
	}
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	return !l.socket.gone
}

// open opens a connection in a place of the pool's.
func (l *line) open(ctx context.Context, network, address string, seated bool) (*socket, error) {
	age, err := l.enter(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := l.dial(ctx, network, address)
	if err != nil {
		l.pool.leave(nil)
		return nil, err
	}
	s := &socket{Conn: conn, pool: l.pool, age: age, seated: seated}
	if err := l.pool.watch(s); err != nil {
		_ = conn.Close()
		l.pool.leave(nil)
		return nil, err
	}
	return s, nil
}

// socket is a network connection that keeps its place until the server has let
// go of the session: only then is it not counted there any more.
type socket struct {
	net.Conn
	pool   *pool
	age    int  // of the pool, when it was counted
	seated bool // it has a second seat of its own
	once   sync.Once

	ending, gone bool // with the pool's lock

	hearing sync.Mutex // for what follows
	since   time.Time  // when a wait for the server began; zero: nobody waits
	deaf    bool       // nothing will arrive any more
}

// Close lets the server know and returns; the rest goes on by itself.
func (s *socket) Close() error {
	s.once.Do(func() { s.pool.ending.Go(s.linger) })
	return nil
}

func (s *socket) linger() {
	patience := time.Second
	if half, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
		patience = lingerFor
	}
	_ = s.Conn.SetDeadline(time.Now().Add(patience))
	_, _ = io.Copy(io.Discard, s.Conn) // until the server has ended
	_ = s.Conn.Close()
	s.pool.leave(s)
}
