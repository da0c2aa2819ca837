package fleet

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// pool returns the connections of this process to a cluster.
func (s *Service) pool(clusterID string) *pool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.pools[clusterID]
	if !ok {
		p = newPool(clusterID, s.ledger)
		s.pools[clusterID] = p
	}
	return p
}

func (s *Service) allPools() []*pool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.pools))
}

// cutAll ends every connection to the clusters at once.
func (s *Service) cutAll() {
	for _, p := range s.allPools() {
		p.cut()
	}
}

// Close closes every connection to the clusters. It waits a while for who has
// one in hand.
func (s *Service) Close() {
	hurry := time.AfterFunc(dropLastWithin, s.end) // whoever looks next drops the rest
	s.dropping.Wait()
	hurry.Stop()
	var closing sync.WaitGroup
	for _, p := range s.allPools() {
		closing.Go(p.close)
	}
	closing.Wait()
}

// resolvedFor is how long a way counts as the one that the catalog names.
const resolvedFor = 2 * time.Second

// ways remembers for a moment what was resolved.
type ways struct {
	mu   sync.Mutex
	byID map[string]resolvedWay
}

type resolvedWay struct {
	way *Way
	at  time.Time
}

func (w *ways) get(id string) *Way {
	w.mu.Lock()
	defer w.mu.Unlock()
	if known := w.byID[id]; time.Since(known.at) < resolvedFor {
		return known.way
	}
	return nil
}

func (w *ways) put(id string, way *Way) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.byID[id] = resolvedWay{way, time.Now()}
}

// drop forgets what keep does not hold on to.
func (w *ways) drop(keep func(id string, at time.Time) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.byID, func(id string, known resolvedWay) bool { return !keep(id, known.at) })
}
