package fleet

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// sizesWithin is how long asking for sizes may take, of all databases together.
const sizesWithin = 30 * time.Second

// Sizes are the bytes of homes with their indexes, by schema, about: as VACUUM
// or ANALYZE last saw them, which waits for nobody's lock. homes are schemas by
// the id of their database; what does not answer in time is left out.
func (s *Service) Sizes(ctx context.Context, homes map[string][]string) (map[string]int64, error) {
	ids := make([]string, 0, len(homes))
	for id := range homes {
		ids = append(ids, id)
	}
	ways, err := s.Owners(ctx, ids)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, sizesWithin)
	defer cancel()
	var mu sync.Mutex
	sizes := map[string]int64{}
	var work errgroup.Group
	work.SetLimit(4)
	for id, way := range ways {
		work.Go(func() error {
			found, _ := way.sizes(ctx, homes[id])
			mu.Lock()
			defer mu.Unlock()
			for schema, size := range found {
				sizes[schema] = size
			}
			return nil
		})
	}
	return sizes, work.Wait()
}

func (w *Way) sizes(ctx context.Context, schemas []string) (map[string]int64, error) {
	sizes := map[string]int64{}
	err := w.Do(ctx, func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, `SELECT n.nspname::text, sum(greatest(c.relpages, 0)::bigint) * current_setting('block_size')::bigint
			FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid WHERE n.nspname = ANY ($1) GROUP BY 1`, schemas)
		if err != nil {
			return err
		}
		var schema string
		var size int64
		_, err = pgx.ForEachRow(rows, []any{&schema, &size}, func() error {
			sizes[schema] = size
			return nil
		})
		return err
	})
	return sizes, err
}
