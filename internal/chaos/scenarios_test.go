package chaos_test

import (
	"regexp"
	"sync/atomic"
	"testing"

	"github.com/manorhq/manor/controlplane"
)

// scenarios are all that is enumerated, in both isolations each.
var scenarios = map[string]func(t *testing.T, like controlplane.NewTenant){
	"life": func(t *testing.T, like controlplane.NewTenant) {
		e := nursery(t)
		first, _ := releases()
		e.Push("v1", first)
		e.enumerate(e.provisioning(like), e.suspension(), e.resumption(), e.deletion(), e.purging())
	},
	"failing": func(t *testing.T, like controlplane.NewTenant) {
		e := nursery(t)
		e.Push("v1", broken())
		e.enumerate(e.failing(like))
	},
	"rollout": func(t *testing.T, like controlplane.NewTenant) {
		b := newBlock(t, like)
		b.enumerate(b.up(), b.down())
	},
	"waves": func(t *testing.T, like controlplane.NewTenant) {
		b := newBlock(t, like)
		b.enumerate(b.inWaves(), b.down())
	},
	"promotion": func(t *testing.T, like controlplane.NewTenant) { // all get there, and new tenants start there
		b := newBlock(t, like)
		b.cure()
		up, down := b.up(), b.down()
		up.check = func(when string) {
			b.are(when, controlplane.RolloutSucceeded, controlplane.TargetSucceeded, "5")
			b.startAt(when, "v2", "5")
		}
		down.check = func(when string) {
			b.are(when, controlplane.RolloutRolledBack, controlplane.TargetRolledBack, "2")
			b.startAt(when, "v1", "2")
		}
		b.enumerate(up, down)
	},
	"turning": func(t *testing.T, like controlplane.NewTenant) { // the sick one has all taken back
		b := newBlock(t, like)
		b.enumerate(b.turning())
	},
	"snapshots": func(t *testing.T, like controlplane.NewTenant) {
		if like.Isolation != controlplane.IsolationDatabase {
			return // there is nothing to copy
		}
		b := newBlock(t, like)
		b.cure()
		b.enumerate(b.copied(), b.restored())
	},
	"slow": func(t *testing.T, like controlplane.NewTenant) { // slow enough for heartbeats
		b := newBlock(t, like)
		b.takes(b.slugs[0], 2.7)
		up, down := b.up(), b.down()
		up.by = regexp.MustCompile("renew|beat").MatchString
		down.by = func(string) bool { return false }
		b.enumerate(up, down)
	},
}

// TestRequirement05KilledAtEveryPointEverythingEndsWithNoManualStep kills a
// worker at each point that it comes by, and at each write to a cluster.
func TestRequirement05KilledAtEveryPointEverythingEndsWithNoManualStep(t *testing.T) {
	t.Parallel()
	var ran atomic.Int64
	t.Cleanup(func() { // after all of them
		if ran.Load() == int64(len(scenarios)*len(controlplane.Isolations)) && !t.Failed() {
			allReached(t)
		}
	})
	for name, scenario := range scenarios {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			both(t, func(t *testing.T, like controlplane.NewTenant) { scenario(t, like); ran.Add(1) })
		})
	}
}

// leastPoints is how many points the full run has to try.
const leastPoints = 200

// allReached fails for points of the source that no drill came by: a check that
// nothing can fail is none.
func allReached(t *testing.T) {
	for name, path := range marked(t) {
		if !seen.reached(name) {
			t.Errorf("no drill comes by the point %s of %s", name, path)
		}
	}
	if n := sum.points.Load(); every(t) == 1 && *onlyPoint == "" && n < leastPoints {
		t.Errorf("only %d points were tried", n)
	}
}
