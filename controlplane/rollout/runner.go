package rollout

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/ent"
)

const (
	batchTimeout = 6 * time.Hour
	// leaseTime is how long a silent worker keeps its batch, in the catalog's time.
	leaseTime = 10 * time.Second
	heartbeat = leaseTime / 4
	// stuckAfter is how long the tenants in hand may take before those that wait
	// for them go to another batch.
	stuckAfter = 5 * time.Second
)

// lease is a batch in the hands of this process.
type lease struct {
	batch       *ent.Batch
	rollout     *ent.Rollout
	targets     []leased
	release     *migrator.Release
	reverses    migrator.Reverses
	incarnation string
	accused     string // slug of the only tenant that met the cluster's present trouble

	halted   chan struct{} // closed when nothing more of it is to be started
	haltOnce sync.Once

	mu      sync.Mutex
	unsaid  int                  // failures that the catalog does not know of yet
	hand    map[string]time.Time // tenants in hand, by slug, and since when
	renewed time.Time            // when the lease was last known to be held
	lagging bool                 // a replica of the cluster is far behind
}

// leased is a target of a leased batch, with what the catalog knows of its tenant.
type leased struct {
	*ent.Target
	was       controlplane.TargetStatus // before it was leased
	fenced    bool                      // nobody else can be at it any more, and Version was read
	tenant    *ent.Tenant
	placement *ent.Placement
}

// halt lets nothing more of the batch be started.
func (l *lease) halt() { l.haltOnce.Do(func() { close(l.halted) }) }

// WorkBatch leases a batch, works through its targets and reports what happens
// to them while it does. A batch that is not there to be leased is somebody
// else's, or done.
func (s *Service) WorkBatch(ctx context.Context, id int) error {
	l, err := s.lease(ctx, id)
	if err != nil || l.batch == nil {
		return err
	}
	beating, rest := context.WithCancel(ctx)
	var heart sync.WaitGroup
	heart.Go(func() { s.keep(beating, l) })
	heart.Go(func() { s.watchReplicas(beating, l) })
	results := make(chan result, len(l.targets))
	go func() {
		defer close(results)
		s.workThrough(ctx, l, results)
	}()
	err = s.reportAll(context.WithoutCancel(ctx), l, results)
	rest() // the last report has ended the lease
	heart.Wait()
	return err
}

// workThrough works on the targets of a batch, a few at a time, until all are
// done or there is a reason to start no more. What was not started is given back
// at once.
func (s *Service) workThrough(ctx context.Context, l *lease, results chan<- result) {
	lanes := make(chan struct{}, l.batch.Parallelism)
	var inHand sync.WaitGroup
	started := 0
	for ; started < len(l.targets) && s.mayStart(ctx, l, lanes); started++ {
		t := l.targets[started]
		inHand.Go(func() {
			defer func() { <-lanes }()
			r := l.holding(t, func() result { return s.attempt(ctx, l, t) })
			if r.halts {
				l.halt()
			}
			l.hasToSay(r)
			results <- r
		})
	}
	for _, t := range l.targets[started:] {
		results <- result{ID: t.ID, Status: t.was, Version: t.Version, Failure: t.Failure}
	}
	inHand.Wait()
}

// mayStart waits for a free lane, and reports whether the next target may be
// started in it. It may not when there is a reason to stop: in this batch, in
// this process, in another batch of the rollout, or that all lanes are held up.
func (s *Service) mayStart(ctx context.Context, l *lease, lanes chan<- struct{}) bool {
	select {
	case lanes <- struct{}{}:
	case <-time.After(stuckAfter):
		return false
	case <-l.halted:
		return false
	case <-s.drain:
		return false
	case <-ctx.Done():
		return false
	}
	if !s.allSaid(ctx, l) {
		return false
	}
	select { // a reason to stop goes before a free lane
	case <-l.halted:
		return false
	case <-s.drain:
		return false
	case <-ctx.Done():
		return false
	default:
		return !s.stopped(ctx, l)
	}
}

// hasToSay notes a result that others must know of before they start anything.
func (l *lease) hasToSay(r result) {
	if r.urgent {
		l.mu.Lock()
		l.unsaid++
		l.mu.Unlock()
	}
}

// said notes that results have been stored.
func (l *lease) said(results []result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range results {
		if r.urgent {
			l.unsaid--
		}
	}
}

// allSaid waits until the catalog knows of every failure in this batch, or
// reports that nothing more is to be started.
func (s *Service) allSaid(ctx context.Context, l *lease) bool {
	for {
		l.mu.Lock()
		unsaid := l.unsaid
		l.mu.Unlock()
		if unsaid == 0 {
			return true
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-l.halted:
			return false
		case <-s.drain:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// holding notes a tenant as in hand while f works on it.
func (l *lease) holding(t leased, f func() result) result {
	l.mu.Lock()
	l.hand[t.Slug] = time.Now()
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.hand, t.Slug)
		l.mu.Unlock()
	}()
	return f()
}

// inHand lists the tenants in hand, the longest first.
func (l *lease) inHand() []controlplane.InHand {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]controlplane.InHand, 0, len(l.hand))
	for slug, since := range l.hand {
		list = append(list, controlplane.InHand{Tenant: slug, Since: since.UTC()})
	}
	slices.SortFunc(list, func(a, b controlplane.InHand) int { return a.Since.Compare(b.Since) })
	return list
}

// stopped reports whether the lease has run out, as for a process that was
// stopped and woke up, or there is a reason to start nothing more of the rollout.
func (s *Service) stopped(ctx context.Context, l *lease) bool {
	if l.age() > leaseTime-heartbeat {
		return true
	}
	over := true
	now, err := s.now(ctx)
	if err == nil {
		over, err = isOver(ctx, s.cat.Ent(), l.batch, now)
	}
	if err != nil {
		s.log.Warn("cannot ask whether the rollout goes on; starting nothing", "rollout", l.rollout.ID, "err", err)
	}
	return over || err != nil
}

// now is the catalog's clock, by which windows open and shut.
func (s *Service) now(ctx context.Context) (now time.Time, err error) {
	err = s.cat.Pool().QueryRow(ctx, "SELECT clock_timestamp()").Scan(&now)
	return now, err
}

// age is for how long the lease has not been renewed.
func (l *lease) age() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.renewed)
}

// keep renews the lease until the work ends. One that is lost lets nothing more
// be started: somebody else has the batch, and the tenants' fences are theirs.
func (s *Service) keep(ctx context.Context, l *lease) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asked := time.Now()
		held, err := s.renew(ctx, l)
		switch {
		case err == nil && held:
			l.mu.Lock()
			l.renewed = asked
			l.mu.Unlock()
		case err == nil && ctx.Err() == nil:
			s.log.Warn("the lease of a batch is lost", "rollout", l.batch.RolloutID, "batch", l.batch.Number)
			l.halt()
			return
		case ctx.Err() == nil:
			s.log.Warn("lease not renewed", "rollout", l.batch.RolloutID, "batch", l.batch.Number, "err", err)
		}
	}
}

// lease takes a queued batch; its batch is nil when there is none to take. What
// may take its time is read before: a lease runs from the moment it is taken.
func (s *Service) lease(ctx context.Context, id int) (*lease, error) {
	l := &lease{halted: make(chan struct{}), hand: map[string]time.Time{}}
	b, err := s.cat.Ent().Batch.Get(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read batch %d: %w", id, err)
	}
	if l.rollout, err = find(ctx, s.cat.Ent(), b.RolloutID); err != nil {
		return nil, err
	}
	if l.incarnation, err = s.cat.Incarnation(ctx); err != nil {
		return nil, err
	}
	if l.release, err = s.releases.Load(ctx, l.rollout.ReleaseID); err != nil {
		return nil, err
	}
	if b.Direction == down {
		if l.reverses, err = s.knownReverses(ctx, l); err != nil {
			return nil, err
		}
	}
	l.renewed = time.Now()
	return l, s.cat.InTx(ctx, func(tx *catalog.Tx) (err error) {
		if l.batch, err = takeBatch(ctx, tx, id, s.worker); err != nil {
			return err
		}
		if l.batch == nil {
			return s.queue.Enqueue(ctx, tx, advanceJob{Rollout: b.RolloutID})
		}
		if l.accused, err = accused(ctx, tx, l.batch.ClusterID); err != nil {
			return err
		}
		l.targets, err = takeTargets(ctx, tx, l.batch)
		return err
	})
}

// knownReverses reads the reverses that planning the rollback made sure of. A
// tenant that turns out to need another one says so itself.
func (s *Service) knownReverses(ctx context.Context, l *lease) (migrator.Reverses, error) {
	var versions []string
	for _, v := range l.release.Versions() {
		if v.Version <= l.rollout.Version {
			versions = append(versions, v.Version)
		}
	}
	reverses, _, err := s.releases.KnownReverses(ctx, l.rollout.ReleaseID, versions)
	return reverses, err
}
