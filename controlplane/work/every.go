package work

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"time"
)

// turnTimeout bounds one turn of a loop.
const turnTimeout = time.Minute

// loop is what a process does again and again while it works.
type loop struct {
	name  string
	pause time.Duration
	f     func(context.Context) error
}

// Every has f called in this process when [Queue.Run] begins and again each d,
// give or take a tenth, one call at a time, until Run ends. Every process that
// runs does so, and none waits for another's death to be noticed: f finds by
// locking rows what the others have done already. A call ends after a minute;
// an error or a panic is logged and waits for the next turn. To be called
// before Run.
func Every(q *Queue, d time.Duration, name string, f func(ctx context.Context) error) {
	q.loops = append(q.loops, loop{name, d, f})
}

// run takes turns until ctx ends. A turn that is under way then goes on while
// calls lasts.
func (l loop) run(ctx, calls context.Context, log *slog.Logger) {
	for {
		if err := l.turn(calls); err != nil && calls.Err() == nil {
			log.Warn("loop failed; it goes on", "loop", l.name, "err", err)
		}
		next := time.NewTimer(l.pause - l.pause/10 + rand.N(l.pause/5+1))
		select {
		case <-ctx.Done():
			next.Stop()
			return
		case <-next.C:
		}
	}
}

func (l loop) turn(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return l.f(ctx)
}
