package fleet

import (
	"context"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	watchAfter = 10 * time.Second // most work is over by then
	watchEvery = 5 * time.Second
	// unheard is how long a server may not be asked before a session counts as lost.
	unheard = time.Minute
)

// errHalfOpen is what a wait for an answer ends with that will never come.
var errHalfOpen net.Error = halfOpen{}

type halfOpen struct{}

func (halfOpen) Error() string {
	return "the server has ended or answered long ago, and nothing arrived: the connection is half-open"
}

func (halfOpen) Timeout() bool   { return true } // pgx passes such errors of a network on, and no others everywhere
func (halfOpen) Temporary() bool { return false }

// watched ends what is waited for on a session, until stop is called, when the
// server does nothing for that session any more, as when a firewall has
// forgotten it: nobody else would ever end that wait.
func (w *Way) watched(ctx context.Context, s *session) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // who goes on after its end may wait, too
	on, pid := s.line.socket, s.conn.PgConn().PID()
	timer := time.AfterFunc(watchAfter, func() { w.watch(ctx, on, pid) })
	return func() { timer.Stop(); cancel() }
}

func (w *Way) watch(ctx context.Context, on *socket, pid uint32) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for heard := time.Now(); ; {
		since, working, err := on.waits(), true, error(nil)
		if !since.IsZero() && time.Since(since) >= watchEvery {
			working, err = w.isWorking(ctx, pid)
		}
		if err == nil {
			heard = time.Now()
		}
		if !working && err == nil || time.Since(heard) > unheard {
			on.giveUp(since)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// isWorking asks over another connection whether a backend works on something,
// or has only just ended to.
func (w *Way) isWorking(ctx context.Context, pid uint32) (working bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, watchEvery)
	defer cancel()
	err = w.Beside(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1
			AND NOT (state LIKE 'idle%' AND state_change < clock_timestamp() - interval '5 s'))`, pid).Scan(&working)
	})
	return working, err
}

// Read fails from when the wait for the server was given up.
func (s *socket) Read(b []byte) (n int, err error) {
	s.hearing.Lock()
	deaf := s.deaf
	s.since = time.Now()
	s.hearing.Unlock()
	if !deaf {
		n, err = s.Conn.Read(b)
	}
	s.hearing.Lock()
	defer s.hearing.Unlock()
	s.since = time.Time{}
	if s.deaf && n == 0 {
		err = errHalfOpen
	}
	return n, err
}

// Write fails likewise, when it is what somebody waited in.
func (s *socket) Write(b []byte) (n int, err error) {
	n, err = s.Conn.Write(b)
	s.hearing.Lock()
	defer s.hearing.Unlock()
	if err != nil && s.deaf {
		err = errHalfOpen
	}
	return n, err
}

// waits is since when somebody has waited for the server; zero: nobody does.
func (s *socket) waits() (since time.Time) {
	s.hearing.Lock()
	defer s.hearing.Unlock()
	return s.since
}

// giveUp ends a wait, if it is still the one that has lasted since then. The
// socket itself stays until the server has let go of it.
func (s *socket) giveUp(since time.Time) {
	s.hearing.Lock()
	defer s.hearing.Unlock()
	if !since.IsZero() && s.since == since {
		s.deaf = true
		_ = s.SetDeadline(time.Now())
	}
}
