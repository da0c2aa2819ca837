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
)

const (
	batchTimeout = 6 * time.Hour
	// leaseTime is how long a silent worker keeps its batch, in the catalog's time.
	leaseTime = 20 * time.Second
	heartbeat = leaseTime / 4
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
	tenant    *ent.Tenant
	placement *ent.Placement
}

// WorkBatch leases a batch, works through its targets and reports what
// happened to them, all at once. A batch that is not there to be leased is
// somebody else's, or done.
func (s *Service) WorkBatch(ctx context.Context, id int) error {
	l, err := s.lease(ctx, id)
	if l == nil || err != nil {
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
	return s.report(context.WithoutCancel(ctx), l, results)
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
				if results[i].Status == controlplane.TargetFailed && l.rollout.OnError != controlplane.OnErrorContinue {
					haltOnce.Do(func() { close(halt) })
				}
			}
		})
	}
	s.feed(ctx, next, len(l.targets), halt)
	workers.Wait()
	for i, t := range l.targets {
		if results[i].Status == "" { // never started
			results[i] = result{ID: t.ID, Status: controlplane.TargetPending, Version: t.Version}
		}
	}
	return results
}

// feed hands out targets in order and stops when there is a reason to.
func (s *Service) feed(ctx context.Context, next chan<- int, n int, halt <-chan struct{}) {
	defer close(next)
	for i := range n {
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

// keep renews the lease until the work ends. A lease that is lost ends the
// work: somebody else has the batch, and the tenants' fences are theirs.
func (s *Service) keep(ctx context.Context, l *lease, stop context.CancelCauseFunc) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	lastSeen := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		held, err := s.renew(ctx, l.batch)
		switch {
		case err == nil && held:
			lastSeen = time.Now()
		case err == nil || time.Since(lastSeen) > leaseTime:
			stop(fmt.Errorf("the lease of batch %d of rollout %s is lost", l.batch.Number, l.batch.RolloutID))
			return
		default:
			s.log.Warn("lease not renewed", "rollout", l.batch.RolloutID, "batch", l.batch.Number, "err", err)
		}
	}
}

// lease takes a queued batch, or returns nil.
func (s *Service) lease(ctx context.Context, id int) (*lease, error) {
	l := &lease{}
	err := s.cat.InTx(ctx, func(tx *catalog.Tx) (err error) {
		if l.batch, err = takeBatch(ctx, tx, id, s.worker); l.batch == nil || err != nil {
			return err
		}
		if l.rollout, err = find(ctx, tx.Client(), l.batch.RolloutID); err != nil {
			return err
		}
		l.targets, err = takeTargets(ctx, tx, l.batch)
		return err
	})
	if l.batch == nil || err != nil {
		return nil, err
	}
	if l.incarnation, err = s.cat.Incarnation(ctx); err != nil {
		return nil, err
	}
	if l.release, err = s.releases.Load(ctx, l.rollout.ReleaseID); err != nil {
		return nil, err
	}
	if l.batch.Direction == down {
		l.reverses, err = s.knownReverses(ctx, l)
	}
	return l, err
}

// knownReverses reads the reverses that planning the rollback made sure of.
func (s *Service) knownReverses(ctx context.Context, l *lease) (migrator.Reverses, error) {
	var versions []string
	lowest, highest := l.rollout.Version, ""
	for _, t := range l.targets {
		lowest, highest = min(lowest, t.FromVersion), max(highest, t.Version)
	}
	for _, v := range l.release.Versions() {
		if v.Version > lowest && v.Version <= highest {
			versions = append(versions, v.Version)
		}
	}
	return s.releases.Reverses(ctx, l.rollout.ReleaseID, versions, l.batch.ClusterID)
}
