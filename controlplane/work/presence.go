package work

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/internal/failpoint"
)

const (
	// beatEvery is well below the 10 s after which a worker counts as silent.
	beatEvery   = 2500 * time.Millisecond
	beatTimeout = 5 * time.Second
	// Hold is how long a process may go by its last heartbeat: after that it must
	// take it that others count it as lost, and hold nothing any more that they
	// could have taken over.
	Hold = 15 * time.Second
	// LostAfter is when others may count a silent process as lost, by the
	// catalog's clock. What lies between is for letting go.
	LostAfter = 20 * time.Second
	// forgetAfter is when a silent process leaves the list.
	forgetAfter = time.Minute
)

// Process is what a process says of itself.
type Process struct {
	ID      string // unique, also among processes of other machines and times
	Version string // of the program
	Works   bool   // it works jobs, and does not only answer a command
}

// Presence is this process in the list of those on the catalog. Others go by it
// when they share out what a cluster has.
type Presence struct {
	cat     *catalog.Catalog
	log     *slog.Logger
	process Process
	onLoss  []func()

	joined   chan struct{} // closed when the process is to be seen
	joinOnce sync.Once
	beating  sync.Mutex // one heartbeat at a time
	since    *time.Time // when the process was first seen, by the catalog's clock

	mu   sync.Mutex
	last time.Time   // when the last heartbeat that arrived was sent; zero: none counts
	hold *time.Timer // fires when that one is too old to go by
}

// Join prepares the presence of this process. One that works is seen while Run
// runs, any other from the moment it first calls Appear.
func Join(cat *catalog.Catalog, process Process, log *slog.Logger) *Presence {
	return &Presence{cat: cat, log: log, process: process, joined: make(chan struct{})}
}

// ID is the process's own.
func (p *Presence) ID() string { return p.process.ID }

// OnLoss has f called when others may count this process as lost, before it
// appears again: what they may have taken over is to be let go of. f must not
// wait. To be called before Run and Appear.
func (p *Presence) OnLoss(f func()) { p.onLoss = append(p.onLoss, f) }

// Alive reports whether nobody can count this process as lost now.
func (p *Presence) Alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.isAlive()
}

func (p *Presence) isAlive() bool { return !p.last.IsZero() && time.Since(p.last) < Hold }

// Appear makes sure that the others see this process. It asks the catalog only
// when the heartbeat is not there to do so.
func (p *Presence) Appear(ctx context.Context) error {
	p.join()
	if p.Alive() {
		return nil
	}
	return p.beat(ctx)
}

func (p *Presence) join() { p.joinOnce.Do(func() { close(p.joined) }) }

// Run keeps the process seen until ctx ends, and then takes it off the list.
func (p *Presence) Run(ctx context.Context) error {
	if p.process.Works {
		p.join()
	}
	select {
	case <-p.joined:
	case <-ctx.Done():
		return nil
	}
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		if err := p.beat(ctx); err != nil && ctx.Err() == nil {
			p.log.Warn("heartbeat failed: others count this process as lost when it stays silent", "worker", p.process.ID, "lost_after", LostAfter, "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return p.leave(ctx)
		}
	}
}

// beat says that the process lives.
func (p *Presence) beat(ctx context.Context) error {
	p.beating.Lock()
	defer p.beating.Unlock()
	p.expire() // before the others see it again
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	asked := time.Now()
	silence, err := p.say(ctx)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.last.IsZero() && (silence == nil || *silence >= Hold.Seconds()) {
		p.lose() // the machine slept, and its clock with it
	}
	p.last = asked
	if p.hold == nil {
		p.hold = time.AfterFunc(Hold, p.expire)
	}
	p.hold.Reset(Hold - time.Since(asked))
	return nil
}

// say writes the heartbeat, takes those off the list who have long been silent,
// and returns for how many seconds the catalog had not heard of this process;
// nil: it was not on the list.
func (p *Presence) say(ctx context.Context) (silence *float64, err error) {
	failpoint.Reach("work.beat")
	err = p.cat.Pool().QueryRow(ctx, `WITH forgotten AS (
			DELETE FROM workers WHERE id IN (SELECT id FROM workers
				WHERE id <> $1 AND seen_at < clock_timestamp() - make_interval(secs => $5) FOR UPDATE SKIP LOCKED)
		), before AS (
			SELECT extract(epoch FROM clock_timestamp() - seen_at)::float8 AS silence FROM workers WHERE id = $1
		)
		INSERT INTO workers (id, version, works, started_at, seen_at) VALUES ($1, $2, $3, coalesce($4, clock_timestamp()), clock_timestamp())
		ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp()
		RETURNING started_at, (SELECT silence FROM before)`,
		p.process.ID, p.process.Version, p.process.Works, p.since, forgetAfter.Seconds()).Scan(&p.since, &silence)
	failpoint.Reach("work.beaten")
	if err != nil {
		return nil, p.cat.Explain(fmt.Errorf("say that this process lives: %w", err))
	}
	return silence, nil
}

// expire notices by this machine's clock that the process was silent for too long.
func (p *Presence) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.last.IsZero() && !p.isAlive() {
		p.lose()
	}
}

func (p *Presence) lose() {
	p.log.Error("this process was silent for so long that others may count it as lost: it lets go of what it held", "worker", p.process.ID)
	p.last = time.Time{}
	for _, f := range p.onLoss {
		f()
	}
}

// leave takes the process off the list.
func (p *Presence) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), beatTimeout)
	defer cancel()
	p.beating.Lock()
	defer p.beating.Unlock()
	p.rest()
	if _, err := p.cat.Pool().Exec(ctx, `DELETE FROM workers WHERE id = $1`, p.process.ID); err != nil {
		return p.cat.Explain(fmt.Errorf("take this process off the list: %w", err))
	}
	return nil
}

func (p *Presence) rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = time.Time{}
	if p.hold != nil {
		p.hold.Stop()
	}
}

// Seen is a process as the catalog has seen it.
type Seen struct {
	Process
	StartedAt, SeenAt time.Time
	Silence           time.Duration // since SeenAt, by the catalog's clock
}

// Lost reports whether what the process held may be taken over.
func (s Seen) Lost() bool { return s.Silence >= LostAfter }

// Processes returns those on the list, by id: also some that died a moment ago.
func Processes(ctx context.Context, cat *catalog.Catalog) ([]Seen, error) {
	rows, _ := cat.Pool().Query(ctx, `SELECT id, version, works, started_at, seen_at,
		extract(epoch FROM clock_timestamp() - seen_at)::float8 FROM workers ORDER BY id`)
	seen, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Seen, err error) {
		var silence float64
		err = row.Scan(&s.ID, &s.Version, &s.Works, &s.StartedAt, &s.SeenAt, &silence)
		s.Silence = time.Duration(silence * float64(time.Second))
		return s, err
	})
	if err != nil {
		return nil, cat.Explain(fmt.Errorf("read the list of processes: %w", err))
	}
	return seen, nil
}
