package work

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"github.com/manorhq/manor/controlplane/catalog"
)

// Job is what is to be done: a small value that JSON carries. Kind names its
// type for ever, since jobs outlive binaries.
type Job interface{ Kind() string }

// A Job that has a lane waits for jobs of that lane only, so that long jobs do
// not hold up short ones.
type laned interface{ Lane() string }

// A Job that is unique is not added where the same one waits or is worked on.
type unique interface{ Unique() bool }

var notEnded = []rivertype.JobState{rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable,
	rivertype.JobStateRunning, rivertype.JobStateScheduled}

// laneOf is where a job waits.
func laneOf(job Job) string {
	if l, ok := job.(laned); ok {
		return l.Lane()
	}
	return river.QueueDefault
}

// Config says how much a process works.
type Config struct {
	Concurrency int            // jobs without a lane at a time; default: 8
	Lanes       map[string]int // jobs at a time of each lane that jobs name
	Drain       time.Duration  // how long Run lets jobs finish before it cancels them; default: 30 s
	Logger      *slog.Logger   // default: none
}

// Queue enqueues jobs and, in Run, works them.
type Queue struct {
	cat      *catalog.Catalog
	config   Config
	inserter *river.Client[pgx.Tx] // works nothing
	workers  *river.Workers
	loops    []loop
}

// New makes a queue on a migrated catalog. It starts nothing.
func New(cat *catalog.Catalog, c Config) *Queue {
	c.Concurrency = cmp.Or(c.Concurrency, 8)
	c.Drain = cmp.Or(c.Drain, 30*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	q := &Queue{cat: cat, config: c, workers: river.NewWorkers()}
	inserter, err := river.NewClient(riverpgxv5.New(cat.Pool()), &river.Config{
		Schema: schema,
		Logger: quiet(c.Logger),
		// River notifies of one insert in so long, at the time of the insert. A
		// transaction that commits late would leave the next one's jobs unannounced.
		FetchCooldown: river.FetchCooldownMin,
	})
	if err != nil {
		panic(fmt.Sprintf("work: River refuses a fixed configuration: %v", err))
	}
	q.inserter = inserter
	return q
}

// Enqueue adds jobs in tx: they exist when it commits, and only then.
func (q *Queue) Enqueue(ctx context.Context, tx *catalog.Tx, jobs ...Job) error {
	return q.insert(ctx, tx, time.Time{}, jobs)
}

// EnqueueAt adds jobs in tx that nobody works before at.
func (q *Queue) EnqueueAt(ctx context.Context, tx *catalog.Tx, at time.Time, jobs ...Job) error {
	return q.insert(ctx, tx, at, jobs)
}

func (q *Queue) insert(ctx context.Context, tx *catalog.Tx, at time.Time, jobs []Job) error {
	if len(jobs) == 0 {
		return nil
	}
	params := make([]river.InsertManyParams, len(jobs))
	for i, job := range jobs {
		options := &river.InsertOpts{Queue: laneOf(job), ScheduledAt: at}
		if u, ok := job.(unique); ok && u.Unique() {
			options.UniqueOpts = river.UniqueOpts{ByArgs: true, ByState: notEnded}
		}
		params[i] = river.InsertManyParams{Args: job, InsertOpts: options}
	}
	err := tx.Conn(func(conn *pgx.Conn) error {
		_, err := q.inserter.InsertManyTx(ctx, borrowed{conn}, params)
		return err
	})
	if err != nil {
		return fmt.Errorf("enqueueing %d jobs: %w", len(jobs), err)
	}
	return nil
}

type pgxConn = pgx.Conn

// borrowed is a pgx.Tx whose transaction belongs to package catalog: River may
// run statements in it, and neither end nor nest it.
type borrowed struct{ *pgxConn }

func (borrowed) Begin(context.Context) (pgx.Tx, error) { return nil, errors.ErrUnsupported }
func (borrowed) Commit(context.Context) error          { return errors.ErrUnsupported }
func (borrowed) Rollback(context.Context) error        { return errors.ErrUnsupported }
func (borrowed) LargeObjects() pgx.LargeObjects        { return pgx.LargeObjects{} }
func (b borrowed) Conn() *pgx.Conn                     { return b.pgxConn }
