package tenant

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/catalog/catalogtest"
)

func TestSweepsOfManyProcessesTakeATenantOnce(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	_, err := cat.Pool().Exec(t.Context(), `INSERT INTO tenants (id, slug, isolation, settled, updated_at) VALUES
		('forgotten', 'acme', 'schema', false, now() - interval '21 s'),
		('at work', 'globex', 'schema', false, now() - interval '10 s'),
		('settled', 'initech', 'schema', true, now() - interval '1 h')`)
	if err != nil {
		t.Fatal(err)
	}
	take := func(during func() error) (ids []string) {
		t.Helper()
		err := cat.InTx(t.Context(), func(tx *catalog.Tx) (err error) {
			if ids, err = takeAbandoned(t.Context(), tx, nil); err != nil {
				return err
			}
			return during()
		})
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	nothing := func() error { return nil }
	ids := take(func() error {
		if others := take(nothing); len(others) > 0 {
			t.Errorf("at the same time another process took %v", others)
		}
		return nil
	})
	if len(ids) != 1 || ids[0] != "forgotten" {
		t.Errorf("taken: %v", ids)
	}
	if again := take(nothing); len(again) > 0 {
		t.Errorf("right afterwards another process took %v", again)
	}
}

// TestSweepTakesTheTenantsOfADeadWorkerAtOnce has one tenant in hand whose
// worker has its lock, and one whose worker has not.
func TestSweepTakesTheTenantsOfADeadWorkerAtOnce(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	_, err := cat.Pool().Exec(t.Context(), `INSERT INTO tenants (id, slug, isolation, settled, worker, taken_at) VALUES
		('left', 'acme', 'schema', false, 'dead', now()), ('in hand', 'globex', 'schema', false, 'alive', now())`)
	if err != nil {
		t.Fatal(err)
	}
	s := &Service{cat: cat}
	_, err = cat.Alone(t.Context(), LockName("in hand"), func(ctx context.Context) error {
		left, err := s.leftBehind(ctx)
		if err != nil || !slices.Equal(left, []string{"left"}) {
			t.Errorf("left behind are %v, %v", left, err)
		}
		return cat.InTx(ctx, func(tx *catalog.Tx) error {
			taken, err := takeAbandoned(ctx, tx, left)
			if !slices.Equal(taken, left) {
				t.Errorf("taken: %v", taken)
			}
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for left := []string(nil); !slices.Equal(left, []string{"in hand"}); { // its lock is lost in a moment
		if left, err = s.leftBehind(ctx); err != nil {
			t.Fatalf("left behind are %v, %v", left, err)
		}
	}
}
