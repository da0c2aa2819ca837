package fleet

import (
	"context"
	"time"
)

// tidyEvery is how often connections are looked through.
const tidyEvery = time.Second

// Run closes connections that nobody uses, and gives back what this process
// does not need of the clusters' connections, until ctx ends; then all of it.
// Close comes before that end.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.tidy(ctx)
		case <-ctx.Done():
			if len(s.allPools()) == 0 {
				return nil
			}
			late, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
			defer cancel()
			return s.ledger.leave(late, "")
		}
	}
}

func (s *Service) tidy(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s.resolved.drop(func(_ string, at time.Time) bool { return time.Since(at) < resolvedFor })
	for _, p := range s.allPools() {
		_ = p.tidy(ctx) // the catalog is away: the heartbeat says so
	}
}
