package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// writers are users at work while their tenants are migrated. What they see tells whether anybody is disturbed.
type writers struct {
	cancel context.CancelFunc
	all    sync.WaitGroup

	mu      sync.Mutex
	written map[string]int
	slowest time.Duration
	err     error // the first
}

// writeEvery is how often each tenant's users write.
const writeEvery = 100 * time.Millisecond

// startWriters sets users of all busy tenants to work until stop.
func (d *demo) startWriters(ctx context.Context) *writers {
	ctx, cancel := context.WithCancel(ctx)
	w := &writers{cancel: cancel, written: map[string]int{}}
	for slug, s := range d.sessions {
		w.all.Go(func() { w.run(ctx, slug, s) })
	}
	return w
}

// run writes until ctx ends. A write that has begun is finished: its outcome counts.
func (w *writers) run(ctx context.Context, slug string, s *session) {
	tick := time.NewTicker(writeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		begun := time.Now()
		_, err := s.exec(context.WithoutCancel(ctx), "INSERT INTO issues (project_id, title) SELECT id, 'Done while migrating' FROM projects WHERE key = 'APP'")
		w.note(slug, time.Since(begun), err)
	}
}

func (w *writers) note(slug string, took time.Duration, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		if w.err == nil {
			w.err = err
		}
		return
	}
	w.written[slug]++
	w.slowest = max(w.slowest, took)
}

// stop waits for the last writes.
func (w *writers) stop() {
	w.cancel()
	w.all.Wait()
}

// tellWriters says how they fared, and counts what they wrote.
func (d *demo) tellWriters(w *writers) error {
	total := 0
	for slug, n := range w.written {
		d.rows[slug] += n
		total += n
	}
	if w.err != nil {
		return fmt.Errorf("not so: nobody is disturbed: %w", w.err)
	}
	tenants := len(slices.Collect(maps.Keys(w.written)))
	return check(d.screen, fmt.Sprintf("meanwhile %d tenants wrote %d issues; none was refused, the slowest took %d ms", tenants, total, w.slowest.Milliseconds()),
		tenants, len(d.sessions))
}
