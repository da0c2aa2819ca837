package work_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/catalog/catalogtest"
	"github.com/manorhq/manor/controlplane/work"
)

var silent = slog.New(slog.DiscardHandler)

// beating runs a presence until the test ends or stop is called.
func beating(t *testing.T, p *work.Presence) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	done := false
	stop = func() {
		cancel()
		if !done {
			done = true
			if err := receive(t, ended); err != nil {
				t.Errorf("Run: %v", err)
			}
		}
	}
	t.Cleanup(stop)
	return stop
}

func TestProcessIsOnTheListWhileItRunsAndOffItAfterwards(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	stop := beating(t, work.Join(cat, work.Process{ID: "host/1-a", Version: "v1", Works: true}, silent))
	waitFor(t, cat, `SELECT count(*) FROM workers`, 1)
	list := processes(t, cat)
	if len(list) != 1 || list[0].Process != (work.Process{ID: "host/1-a", Version: "v1", Works: true}) || list[0].Lost() {
		t.Errorf("the list is %+v", list)
	}
	first := list[0]
	waitFor(t, cat, `SELECT count(*) FROM workers WHERE seen_at > started_at + interval '2 s'`, 1)
	if again := processes(t, cat)[0]; !again.StartedAt.Equal(first.StartedAt) || again.Silence > work.Hold {
		t.Errorf("after a heartbeat: %+v, before %+v", again, first)
	}
	stop()
	if list := processes(t, cat); len(list) != 0 {
		t.Errorf("afterwards: %+v", list)
	}
}

func processes(t *testing.T, cat *catalog.Catalog) []work.Seen {
	t.Helper()
	list, err := work.Processes(t.Context(), cat)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestProcessThatOnlyAnswersIsSeenFromWhenItHasTo(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	p := work.Join(cat, work.Process{ID: "cli"}, silent)
	stop := beating(t, p)
	beating(t, work.Join(cat, work.Process{ID: "worker", Works: true}, silent)) // while this one appears, that one would have
	waitFor(t, cat, `SELECT count(*) FROM workers WHERE id = 'worker'`, 1)
	if n := count(t, cat, `SELECT count(*) FROM workers WHERE id = 'cli'`); n != 0 || p.Alive() {
		t.Error("it is on the list unasked")
	}
	if err := p.Appear(t.Context()); err != nil || !p.Alive() {
		t.Fatalf("alive: %v, %v", p.Alive(), err)
	}
	if n := count(t, cat, `SELECT count(*) FROM workers WHERE id = 'cli' AND NOT works`); n != 1 {
		t.Error("it is not on the list")
	}
	stop()
	if n := count(t, cat, `SELECT count(*) FROM workers WHERE id = 'cli'`); n != 0 {
		t.Error("it is still on the list")
	}
}

func TestDeadProcessesLeaveTheListAfterAMinute(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	_, err := cat.Pool().Exec(t.Context(), `INSERT INTO workers (id, seen_at) VALUES
		('dead', clock_timestamp() - interval '61 s'), ('dying', clock_timestamp() - interval '25 s')`)
	if err != nil {
		t.Fatal(err)
	}
	if err := work.Join(cat, work.Process{ID: "any"}, silent).Appear(t.Context()); err != nil {
		t.Fatal(err)
	}
	list := processes(t, cat)
	if len(list) != 2 || list[0].ID != "any" || list[0].Lost() || list[1].ID != "dying" || !list[1].Lost() {
		t.Errorf("the list is %+v", list)
	}
}

// TestProcessThatSleptLetsGoBeforeItIsSeenAgain makes a process look as one
// does that was stopped, in the catalog's time.
func TestProcessThatSleptLetsGoBeforeItIsSeenAgain(t *testing.T) {
	t.Parallel()
	for name, statement := range map[string]string{
		"it was silent for long":        `UPDATE workers SET seen_at = seen_at - interval '16 s'`,
		"it has been taken off already": `DELETE FROM workers`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cat := catalogtest.New(t)
			p := work.Join(cat, work.Process{ID: "zombie", Works: true}, silent)
			lost := make(chan struct{}, 10)
			p.OnLoss(func() { lost <- struct{}{} })
			beating(t, p)
			waitFor(t, cat, `SELECT count(*) FROM workers`, 1)
			if len(lost) > 0 {
				t.Error("a new process has lost something")
			}
			if _, err := cat.Pool().Exec(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
			receive(t, lost)
			waitFor(t, cat, `SELECT count(*) FROM workers WHERE seen_at > clock_timestamp() - interval '2 s'`, 1)
		})
	}
}

// TestProcessWhoseCatalogHangsLetsGoInTime: after Hold, and before others may
// take what it holds.
func TestProcessWhoseCatalogHangsLetsGoInTime(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	p := work.Join(cat, work.Process{ID: "cut off", Works: true}, silent)
	lost := make(chan time.Time, 10)
	p.OnLoss(func() { lost <- time.Now() })
	beating(t, p)
	waitFor(t, cat, `SELECT count(*) FROM workers`, 1)
	seen := time.Now()
	hang, err := cat.Pool().Begin(t.Context())
	if err == nil {
		_, err = hang.Exec(t.Context(), `SET LOCAL idle_in_transaction_session_timeout = 0; LOCK TABLE workers`)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hang.Rollback(context.WithoutCancel(t.Context())) }()
	if after := receive(t, lost).Sub(seen); after > work.Hold+time.Second || p.Alive() {
		t.Errorf("it let go %s after its last heartbeat; alive: %v", after, p.Alive())
	}
	if err := hang.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, cat, `SELECT count(*) FROM workers WHERE seen_at > clock_timestamp() - interval '2 s'`, 1)
}
