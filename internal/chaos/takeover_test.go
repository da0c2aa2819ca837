package chaos_test

import (
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
)

// What a killed worker costs at most, from its death on.
const (
	claimable = 15 * time.Second // until another may have its tenants
	takenOver = 30 * time.Second // until another works on them
)

// TestRequirement13KilledLeaderOfRiverIsReplacedByItself expires nothing by
// hand, unlike the drills: leases run out, River finds another leader, and the
// locks go with the sessions of the dead.
func TestRequirement13KilledLeaderOfRiverIsReplacedByItself(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, like controlplane.NewTenant) {
		b := newBlock(t, like)
		for _, slug := range b.slugs { // every tenant takes its time, so that one is in hand
			b.takes(slug, 2)
		}
		d, leader := b.up(), b.worker("", "")
		d.start()
		var held int
		b.Eventually("the worker leads River and holds a batch", func() (bool, error) {
			err := b.ask("SELECT b.id FROM batches b, river.river_leader WHERE b.state = 'running'").Scan(&held)
			return err == nil, notNone(err)
		})
		b.worker("", "") // the other, which lives
		killed := time.Now()
		leader.kill()
		sum.deaths.Add(1)
		b.Eventually("another may have the dead worker's tenants", func() (free bool, err error) {
			err = b.ask("SELECT state <> 'running' OR lease_until < clock_timestamp() FROM batches WHERE id = $1", held).Scan(&free)
			return free, err
		})
		free := time.Since(killed)
		b.Eventually("another works on them", func() (taken bool, err error) {
			err = b.ask(`SELECT NOT EXISTS (SELECT FROM targets WHERE rollout_id = $2 AND status IN ('pending', 'running', 'deferred', 'unknown')
				AND (batch_id IS NULL OR batch_id = $1))`, held, b.rollout).Scan(&taken)
			return taken, err
		})
		taken := time.Since(killed)
		b.Eventually("the rollout ends", d.ended)
		t.Logf("claimable after %s, taken over after %s", free, taken)
		if free > claimable || taken > takenOver {
			t.Errorf("claimable after %s, taken over after %s; at most %s and %s", free, taken, claimable, takenOver)
		}
		d.check("after the leader's death")
	})
}

// notNone drops the error that says that there was no row.
func notNone(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	return err
}
