package rollout

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/target"
)

const (
	batchTimeout = 6 * time.Hour
	// leaseTime is how long a silent worker keeps its batch, in the catalog's time.
	leaseTime = 20 * time.Second
	heartbeat = leaseTime / 4
	// lastWords is how long storing the results of a batch may take.
	lastWords = time.Minute
)

// lease is a batch in the hands of this process.
type lease struct {
	batch       *ent.Batch
	rollout     *ent.Rollout
	targets     []leased
	release     *migrator.Release
	reverses    migrator.Reverses
	incarnation string
}

// leased is a target of a leased batch, with what the catalog knows of its tenant.
type leased struct {
	*ent.Target
	was       controlplane.TargetStatus // before it was leased
	tenant    *ent.Tenant
	placement *ent.Placement
}

// WorkBatch leases a batch, works through its targets and reports what
// happened to them, all at once. A batch that is not there to be leased is
// somebody else's, or done.
func (s *Service) WorkBatch(ctx context.Context, id int) error {
	l, err := s.lease(ctx, id)
	if err != nil || l.batch == nil {
		return err
	}
	work, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var beating sync.WaitGroup
	beating.Go(func() { s.keep(work, l, stop) })
	results := s.workThrough(work, l)
	stop(nil)
	beating.Wait()
	// The last words are said even when the process is told to stop.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	return s.report(last, l, results)
}

// workThrough works on the targets of a batch, a few at a time, until all are
// done, the rollout has no use for more, or the process drains.
func (s *Service) workThrough(ctx context.Context, l *lease) []result {
	results := make([]result, len(l.targets))
	next := make(chan int)
	var workers sync.WaitGroup
	halt := make(chan struct{})
	var haltOnce sync.Once
	for range l.batch.Parallelism {
		workers.Go(func() {
			for i := range next {
				results[i] = s.attempt(ctx, l, l.targets[i])
				if results[i].halts {
					haltOnce.Do(func() { close(halt) })
				}
			}
		})
	}
	s.feed(ctx, l, next, halt)
	workers.Wait()
	for i, t := range l.targets {
		if results[i].Status == "" { // never started
			results[i] = result{ID: t.ID, Status: t.was, Version: t.Version}
		}
	}
	return results
}

// feed hands out targets in order and stops when there is a reason to: in this
// batch, in this process, or in another batch of the rollout.
func (s *Service) feed(ctx context.Context, l *lease, next chan<- int, halt <-chan struct{}) {
	defer close(next)
	for i := range l.targets {
		if s.stopped(ctx, l) {
			return
		}
		select { // a reason to stop goes before a free worker
		case <-halt:
			return
		case <-s.drain:
			return
		case <-ctx.Done():
			return
		default:
		}
		select {
		case next <- i:
		case <-halt:
			return
		case <-s.drain:
			return
		case <-ctx.Done():
			return
		}
	}
}

// stopped reports whether a failure elsewhere has stopped the rollout. Only
// rollouts that stop on failures have to ask.
func (s *Service) stopped(ctx context.Context, l *lease) bool {
	if l.rollout.OnError == controlplane.OnErrorContinue || l.batch.Direction == down {
		return false
	}
	over, err := breached(ctx, s.cat.Ent(), l.rollout.ID)
	if err != nil {
		s.log.Warn("cannot ask whether the rollout goes on; starting nothing", "rollout", l.rollout.ID, "err", err)
	}
	return over || err != nil
}

// keep renews the lease until the work ends. A lease that is lost ends the
// work: somebody else has the batch, and the tenants' fences are theirs.
func (s *Service) keep(ctx context.Context, l *lease, stop context.CancelCauseFunc) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	renewed := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asked := time.Now()
		held, err := s.renew(ctx, l.batch)
		switch {
		case err == nil && held:
			renewed = asked
		case err == nil || time.Since(renewed) > leaseTime-heartbeat:
			stop(fmt.Errorf("the lease of batch %d of rollout %s is lost", l.batch.Number, l.batch.RolloutID))
			return
		default:
			s.log.Warn("lease not renewed", "rollout", l.batch.RolloutID, "batch", l.batch.Number, "err", err)
		}
	}
}

// lease takes a queued batch; its batch is nil when there is none to take. What
// may take its time is read before: a lease runs from the moment it is taken.
func (s *Service) lease(ctx context.Context, id int) (*lease, error) {
	l := &lease{}
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
		if l.reverses, err = s.knownReverses(ctx, l, b); err != nil {
			return nil, err
		}
	}
	return l, s.cat.InTx(ctx, func(tx *catalog.Tx) (err error) {
		if l.batch, err = takeBatch(ctx, tx, id, s.worker); err != nil {
			return err
		}
		if l.batch == nil {
			return s.queue.Enqueue(ctx, tx, advanceJob{Rollout: b.RolloutID})
		}
		l.targets, err = takeTargets(ctx, tx, l.batch)
		return err
	})
}

// knownReverses reads the reverses that planning the rollback made sure of.
func (s *Service) knownReverses(ctx context.Context, l *lease, b *ent.Batch) (migrator.Reverses, error) {
	targets, err := s.cat.Ent().Target.Query().Where(target.BatchID(b.ID)).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the targets of batch %d: %w", b.ID, err)
	}
	lowest := l.rollout.Version
	for _, t := range targets {
		lowest = min(lowest, t.FromVersion)
	}
	var versions []string
	for _, v := range l.release.Versions() {
		if v.Version > lowest && v.Version <= l.rollout.Version {
			versions = append(versions, v.Version)
		}
	}
	return s.releases.Reverses(ctx, l.rollout.ReleaseID, versions, b.ClusterID)
}
