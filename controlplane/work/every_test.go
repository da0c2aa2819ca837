package work_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/manorhq/manor/controlplane/catalog/catalogtest"
	"github.com/manorhq/manor/controlplane/work"
)

// looping is a queue whose jobs do not matter; River runs none without any.
func looping(t *testing.T, c work.Config) *work.Queue {
	t.Helper()
	q := work.New(catalogtest.New(t), c)
	work.Handle(q, time.Minute, func(context.Context, greet) error { return nil })
	return q
}

func TestLoopTurnsAtOnceAndAgainWhateverBecomesOfATurn(t *testing.T) {
	t.Parallel()
	q := looping(t, work.Config{})
	turns := make(chan int, 100)
	n := 0
	work.Every(q, 10*time.Millisecond, "test", func(ctx context.Context) error {
		n++ // without a lock: a turn begins when the one before has ended
		turns <- n
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("a turn has no limit")
		}
		if n == 2 {
			panic("on purpose")
		}
		return errors.New("on purpose")
	})
	run(t, q)
	for want := range 4 {
		if got := receive(t, turns); got != want+1 {
			t.Fatalf("turn %d came as number %d", got, want+1)
		}
	}
}

// TestLoopsOfALivingProcessGoOnWhenTheLeaderIsKilled has a leader in the
// catalog that is dead and was elected a moment ago.
func TestLoopsOfALivingProcessGoOnWhenTheLeaderIsKilled(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	_, err := cat.Pool().Exec(t.Context(), `INSERT INTO river.river_leader (name, leader_id, elected_at, expires_at)
		VALUES ('default', 'killed', now(), now() + interval '1 hour')`)
	if err != nil {
		t.Fatal(err)
	}
	turns := make(chan string, 1000)
	for _, name := range []string{"one", "two"} {
		q := work.New(cat, work.Config{})
		work.Handle(q, time.Minute, func(context.Context, greet) error { return nil })
		work.Every(q, 10*time.Millisecond, name, func(context.Context) error { turns <- name; return nil })
		run(t, q)
	}
	for times := map[string]int{}; times["one"] < 2 || times["two"] < 2; {
		times[receive(t, turns)]++
	}
	if n := count(t, cat, `SELECT count(*) FROM river.river_leader WHERE leader_id = 'killed'`); n != 1 {
		t.Error("somebody else leads: this shows nothing")
	}
}

func TestRunLetsATurnInHandFinish(t *testing.T) {
	t.Parallel()
	q := looping(t, work.Config{})
	started, finish := make(chan struct{}), make(chan struct{})
	finished := false
	work.Every(q, time.Hour, "test", func(ctx context.Context) error {
		close(started)
		<-finish
		finished = ctx.Err() == nil
		return nil
	})
	stop := run(t, q)
	receive(t, started)
	time.AfterFunc(50*time.Millisecond, func() { close(finish) }) // while stop waits
	stop()
	if !finished {
		t.Error("the turn was cut off")
	}
}

func TestRunCutsATurnThatOutstaysTheDrain(t *testing.T) {
	t.Parallel()
	q := looping(t, work.Config{Drain: 10 * time.Millisecond})
	started, ended := make(chan struct{}), make(chan struct{})
	work.Every(q, time.Hour, "test", func(ctx context.Context) error {
		close(started)
		<-ctx.Done()
		close(ended)
		return ctx.Err()
	})
	stop := run(t, q)
	receive(t, started)
	stop()
	receive(t, ended)
}
