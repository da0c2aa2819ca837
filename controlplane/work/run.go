package work

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"github.com/manorhq/manor/internal/failpoint"
)

const (
	maxAttempts = 25
	// pollInterval catches the jobs whose announcement got lost.
	pollInterval = 250 * time.Millisecond
	fetchPause   = 20 * time.Millisecond // between two fetches at least
	firstRetry   = time.Second
	lastRetry    = time.Minute
	// rescueAfter is when a job that was not heard of counts as lost with its
	// worker, unless its own timeout is longer.
	rescueAfter = time.Minute
	// stopGrace is how long a job may take to notice that it was cancelled.
	stopGrace = 10 * time.Second
	// keepDone is how long finished jobs can be looked at.
	keepDone = time.Hour
)

// Handle says what to do with jobs of type J. f may be called again for a job
// it was called for, also after success. ctx ends after timeout. An error makes
// River try again, after 1 s, 2 s, 4 s … 1 min, 25 times in all; a panic counts
// as an error. To be called before Run.
func Handle[J Job](q *Queue, timeout time.Duration, f func(ctx context.Context, job J) error) {
	if timeout <= 0 {
		panic("work: a handler without a timeout would never be rescued")
	}
	river.AddWorker(q.workers, &handler[J]{timeout: timeout, f: f})
}

type handler[J Job] struct {
	river.WorkerDefaults[J]
	timeout time.Duration
	f       func(context.Context, J) error
}

func (h *handler[J]) Work(ctx context.Context, job *river.Job[J]) error {
	failpoint.Reach("work." + job.Args.Kind() + ".begin")
	err := h.f(ctx, job.Args)
	failpoint.Reach("work." + job.Args.Kind() + ".end")
	return err
}

func (h *handler[J]) Timeout(*river.Job[J]) time.Duration { return h.timeout }

// Run works jobs, and calls what [Every] named, until ctx ends. Then it takes no
// more, lets those in hand finish for Config.Drain, cancels the rest, and
// returns nil.
func (q *Queue) Run(ctx context.Context) error {
	client, err := river.NewClient(riverpgxv5.New(q.cat.Pool()), q.riverConfig())
	if err != nil {
		return fmt.Errorf("preparing to work jobs: %w", err)
	}
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return q.cat.Explain(fmt.Errorf("starting to work jobs: %w", err))
	}
	calls, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	turning := q.turn(ctx, calls)
	<-ctx.Done()
	late := time.AfterFunc(q.config.Drain, cut)
	defer late.Stop()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), q.config.Drain+stopGrace)
	defer cancel()
	if err := client.Stop(stop); err != nil {
		return fmt.Errorf("waiting for jobs that were cancelled: %w", err)
	}
	select {
	case <-turning:
		return nil
	case <-stop.Done():
		return errors.New("a loop does not end")
	}
}

// turn starts the loops; the channel is closed when the last has ended.
func (q *Queue) turn(ctx, calls context.Context) <-chan struct{} {
	var loops sync.WaitGroup
	for _, l := range q.loops {
		loops.Go(func() { l.run(ctx, calls, q.config.Logger) })
	}
	ended := make(chan struct{})
	go func() { loops.Wait(); close(ended) }()
	return ended
}

func (q *Queue) riverConfig() *river.Config {
	queues := map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: q.config.Concurrency}}
	for lane, n := range q.config.Lanes {
		queues[lane] = river.QueueConfig{MaxWorkers: n}
	}
	return &river.Config{
		Schema:                      schema,
		Queues:                      queues,
		Workers:                     q.workers,
		Logger:                      quiet(q.config.Logger),
		ErrorHandler:                failureLog{q.config.Logger},
		RetryPolicy:                 retries{},
		MaxAttempts:                 maxAttempts,
		FetchCooldown:               fetchPause,
		FetchPollInterval:           pollInterval,
		RescueStuckJobsAfter:        rescueAfter,
		SoftStopTimeout:             q.config.Drain,
		CompletedJobRetentionPeriod: keepDone,
	}
}

// retries doubles the wait, with jitter so that jobs that failed together do
// not come back together.
type retries struct{}

func (retries) NextRetry(job *rivertype.JobRow) time.Time {
	wait := lastRetry
	if n := len(job.Errors); n < 6 {
		wait = min(firstRetry<<n, lastRetry)
	}
	return time.Now().Add(wait/2 + rand.N(wait/2+1))
}

// failureLog writes one line per failed attempt.
type failureLog struct{ log *slog.Logger }

func (l failureLog) HandleError(ctx context.Context, job *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	l.log.WarnContext(ctx, "job failed", "kind", job.Kind, "job", job.ID, "attempt", job.Attempt, "err", err)
	return nil
}

func (l failureLog) HandlePanic(ctx context.Context, job *rivertype.JobRow, value any, trace string) *river.ErrorHandlerResult {
	l.log.ErrorContext(ctx, "job panicked", "kind", job.Kind, "job", job.ID, "attempt", job.Attempt, "panic", value, "trace", trace)
	return nil
}
