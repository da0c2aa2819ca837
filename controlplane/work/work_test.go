package work_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/catalog/catalogtest"
	"github.com/manorhq/manor/controlplane/event"
	"github.com/manorhq/manor/controlplane/work"
	"github.com/manorhq/manor/internal/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

type greet struct {
	Name string `json:"name"`
}

func (greet) Kind() string { return "greet" }

// run works q until the test ends, or until the function it returns is called.
func run(t *testing.T, q *work.Queue) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run does not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

func enqueue(t *testing.T, cat *catalog.Catalog, q *work.Queue, jobs ...work.Job) {
	t.Helper()
	if err := cat.InTx(t.Context(), func(tx *catalog.Tx) error { return q.Enqueue(t.Context(), tx, jobs...) }); err != nil {
		t.Fatal(err)
	}
}

func receive[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatal("nothing happened")
	}
	return v
}

func count(t *testing.T, cat *catalog.Catalog, query string) (n int) {
	t.Helper()
	if err := cat.Pool().QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRowsEventsAndJobsCommitOrVanishTogether(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	q := work.New(cat, work.Config{})
	change := func(slug string, last error) error {
		return cat.InTx(t.Context(), func(tx *catalog.Tx) error {
			return errors.Join(
				tx.Tenant.Create().SetID("id-"+slug).SetSlug(slug).SetIsolation(controlplane.IsolationSchema).Exec(t.Context()),
				event.Emit(t.Context(), tx, controlplane.EventTenantChanged, slug, nil),
				q.Enqueue(t.Context(), tx, greet{slug}, greet{slug}),
				last)
		})
	}
	expect := func(when string, n int) {
		t.Helper()
		for table, want := range map[string]int{"tenants": n, "events": n, "river.river_job": 2 * n} {
			if got := count(t, cat, `SELECT count(*) FROM `+table); got != want {
				t.Errorf("%s: %d rows in %s, want %d", when, got, table, want)
			}
		}
	}
	if err := change("acme", nil); err != nil {
		t.Fatal(err)
	}
	expect("after a commit", 1)
	if err := change("globex", errors.New("no")); err == nil {
		t.Error("an error got lost")
	}
	expect("after an error", 1)
	err := cat.InTx(t.Context(), func(tx *catalog.Tx) error { // what is last fails in the database
		err := q.Enqueue(t.Context(), tx, greet{"initech"})
		return errors.Join(err, tx.Tenant.Create().SetID("x").SetSlug("acme").SetIsolation(controlplane.IsolationSchema).Exec(t.Context()))
	})
	if !catalog.IsUnique(err, "slug") {
		t.Errorf("a taken slug: %v", err)
	}
	expect("after a conflict", 1)
}

func TestJobsAreWorkedOnceHoweverManyQueuesRun(t *testing.T) {
	t.Parallel()
	url := catalogtest.URL(t)
	const jobs = 100
	done := make(chan string, 10*jobs)
	for i := range 2 {
		q := work.New(catalogtest.Open(t, url), work.Config{Concurrency: 4})
		work.Handle(q, time.Minute, func(_ context.Context, job greet) error {
			done <- fmt.Sprint(job.Name, " by ", i)
			return nil
		})
		run(t, q)
	}
	cat := catalogtest.Open(t, url)
	var all []work.Job
	for i := range jobs {
		all = append(all, greet{fmt.Sprintf("%03d", i)})
	}
	enqueue(t, cat, work.New(cat, work.Config{}), all...)
	times := map[string]int{}
	for range jobs {
		times[receive(t, done)[:3]]++
	}
	for name, n := range times {
		if n != 1 {
			t.Errorf("job %s was worked %d times", name, n)
		}
	}
	if len(times) != jobs || len(done) != 0 {
		t.Errorf("%d jobs of %d were worked, %d more runs", len(times), jobs, len(done))
	}
}

func TestFailedJobIsTriedAgain(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	q := work.New(cat, work.Config{})
	attempts := make(chan struct{}, 10)
	work.Handle(q, time.Minute, func(_ context.Context, job greet) error {
		attempts <- struct{}{}
		switch len(attempts) {
		case 1:
			return errors.New("not yet")
		case 2:
			panic("not yet either")
		}
		return nil
	})
	run(t, q)
	enqueue(t, cat, q, greet{"acme"})
	waitFor(t, cat, `SELECT count(*) FROM river.river_job WHERE state = 'completed' AND attempt = 3`, 1)
}

// waitFor polls the catalog: River announces what it has done to nobody.
func waitFor(t *testing.T, cat *catalog.Catalog, query string, want int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for count(t, cat, query) != want {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s is %d and not %d", query, count(t, cat, query), want)
		}
	}
}

// TestJobOfALostWorkerIsWorkedByAnother makes a job look as one does whose
// process was killed two minutes ago.
func TestJobOfALostWorkerIsWorkedByAnother(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	q := work.New(cat, work.Config{})
	enqueue(t, cat, q, greet{"acme"})
	_, err := cat.Pool().Exec(t.Context(), `
		UPDATE river.river_job SET state = 'running', attempt = 1, attempted_by = '{gone}', attempted_at = now() - interval '2 minutes'`)
	if err != nil {
		t.Fatal(err)
	}
	names := make(chan string, 1)
	work.Handle(q, 90*time.Second, func(_ context.Context, job greet) error { names <- job.Name; return nil })
	run(t, q)
	receive(t, names)
}

func TestJobWaitsForItsTime(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	q := work.New(cat, work.Config{})
	names := make(chan string, 2)
	work.Handle(q, time.Minute, func(_ context.Context, job greet) error { names <- job.Name; return nil })
	run(t, q)
	err := cat.InTx(t.Context(), func(tx *catalog.Tx) error {
		return errors.Join(
			q.EnqueueAt(t.Context(), tx, time.Now().Add(time.Hour), greet{"later"}),
			q.Enqueue(t.Context(), tx, greet{"now"}))
	})
	if err != nil {
		t.Fatal(err)
	}
	if name := receive(t, names); name != "now" {
		t.Errorf("%s came first", name)
	}
	if n := count(t, cat, `SELECT count(*) FROM river.river_job WHERE state = 'scheduled'`); n != 1 {
		t.Errorf("%d jobs wait for their time", n)
	}
}

type onlyOne struct {
	Who string `json:"who"`
}

func (onlyOne) Kind() string { return "only_one" }
func (onlyOne) Unique() bool { return true }

func TestUniqueJobWaitsOnceHoweverOftenItIsEnqueued(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	q := work.New(cat, work.Config{})
	ran := make(chan string, 10)
	work.Handle(q, time.Minute, func(ctx context.Context, job onlyOne) error {
		ran <- job.Who
		return cat.InTx(ctx, func(tx *catalog.Tx) error { return q.Enqueue(ctx, tx, job) }) // it is worked on
	})
	for range 3 {
		enqueue(t, cat, q, onlyOne{"a"}, onlyOne{"b"})
	}
	if n := count(t, cat, "SELECT count(*) FROM river.river_job"); n != 2 {
		t.Errorf("%d jobs wait", n)
	}
	run(t, q)
	if first, second := receive(t, ran), receive(t, ran); first == second {
		t.Errorf("worked on: %s, %s", first, second)
	}
	for len(ran) == 0 { // in a moment they have ended
		enqueue(t, cat, q, onlyOne{"a"})
	}
}

func TestRunLetsJobsInHandFinish(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	q := work.New(cat, work.Config{})
	started, finish := make(chan struct{}), make(chan struct{})
	work.Handle(q, time.Minute, func(ctx context.Context, _ greet) error {
		close(started)
		<-finish
		return ctx.Err()
	})
	stop := run(t, q)
	enqueue(t, cat, q, greet{"acme"})
	receive(t, started)
	time.AfterFunc(50*time.Millisecond, func() { close(finish) }) // while stop waits
	stop()
	if n := count(t, cat, `SELECT count(*) FROM river.river_job WHERE state = 'completed'`); n != 1 {
		t.Errorf("%d jobs completed", n)
	}
}

func TestRunCancelsJobsThatOutstayTheDrainAndLeavesThemToOthers(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	q := work.New(cat, work.Config{Drain: 10 * time.Millisecond})
	started := make(chan struct{})
	work.Handle(q, time.Minute, func(ctx context.Context, _ greet) error {
		close(started)
		<-ctx.Done()
		return ctx.Err()
	})
	stop := run(t, q)
	enqueue(t, cat, q, greet{"acme"})
	receive(t, started)
	stop()
	other := work.New(cat, work.Config{})
	names := make(chan string, 1)
	work.Handle(other, time.Minute, func(_ context.Context, job greet) error { names <- job.Name; return nil })
	run(t, other)
	receive(t, names)
}

func TestQueueThatIsNotMigratedIsRefused(t *testing.T) {
	t.Parallel()
	cat, err := catalog.Open(t.Context(), controlplane.NewSecret(pgtest.Database(t)), catalog.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cat.Close)
	if err := work.Check(t.Context(), cat); controlplane.CodeOf(err) != controlplane.Refused {
		t.Errorf("before: %v", err)
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := work.Migrate(t.Context(), cat); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := work.Check(t.Context(), cat); err != nil {
		t.Errorf("after: %v", err)
	}
}
