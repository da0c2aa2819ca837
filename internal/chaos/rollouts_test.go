package chaos_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
)

// block is an estate with tenants to roll out over, one of which cannot take
// the second release.
type block struct {
	*estate
	slugs   []string
	sick    string
	rollout string // the last one
}

func newBlock(t *testing.T, like controlplane.NewTenant) *block {
	b := &block{estate: newEstate(t, "one"), slugs: controlplanetest.Slugs("acme", 3)}
	first, second := releases()
	b.Push("v1", first)
	b.create(like, b.slugs...)
	w := b.worker("", "")
	b.Eventually("the tenants are made", b.settled(b.slugs...))
	w.kill()
	b.lapse()
	b.Push("v2", second)
	b.sick = b.slugs[1]
	b.in(b.sick, poison)
	return b
}

// cure has no tenant be sick.
func (b *block) cure() {
	b.t.Helper()
	b.in(b.sick, "UPDATE notes SET stars = 5")
	b.sick = ""
}

// in runs a statement in a tenant's home, as a superuser.
func (b *block) in(slug, statement string, args ...any) {
	b.t.Helper()
	tenant, err := b.ShowTenant(b.t.Context(), slug)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx := b.t.Context()
	err = connected(ctx, b.clusters[tenant.Cluster].URL(tenant.Placement.Database), func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, "SET search_path = "+tenant.Placement.Schema); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, statement, args...)
		return err
	})
	if err != nil {
		b.t.Fatalf("%s: %v", statement, err)
	}
}

// rests asks whether the last rollout rests; its targets add up whenever it is asked.
func (b *block) rests() (bool, error) {
	r, err := b.ShowRollout(b.t.Context(), b.rollout)
	if err == nil && r.Counts.Sum() != len(b.slugs) {
		b.t.Errorf("the targets of rollout %s add up to %d: %s", r.ID, r.Counts.Sum(), r.Counts)
	}
	return err == nil && r.State.Resting(), err
}

// up takes all tenants to version 5, but for the sick one, which stays where it is.
func (b *block) up() drill { return b.upBy(nil) }

// inWaves is up with a gate behind the first tenant.
func (b *block) inWaves() drill {
	d := b.upBy(&controlplane.Strategy{
		Waves: []controlplane.Wave{{Name: "first", Match: `tenant.slug == "` + b.slugs[0] + `"`}, {Name: "rest"}},
		Gates: []controlplane.Gate{{SQL: "SELECT true"}, {SQL: "SELECT true", On: controlplane.GateOnTenant}},
	})
	d.name = "rollout in waves"
	return d
}

func (b *block) upBy(strategy *controlplane.Strategy) drill {
	return drill{
		name: "rollout",
		start: func() {
			r, err := b.StartRollout(b.t.Context(), controlplane.NewRollout{Release: "v2", BatchSize: 2, Strategy: strategy})
			if err != nil {
				b.t.Fatal(err)
			}
			b.rollout = r.ID
			sum.rollouts.Add(1)
		},
		ended: b.rests,
		check: func(when string) { b.are(when, controlplane.RolloutFailed, controlplane.TargetSucceeded, "5") },
	}
}

// down takes back those that the rollout took up.
func (b *block) down() drill {
	return drill{
		name: "rollback",
		start: func() {
			if _, err := b.RollbackRollout(b.t.Context(), b.rollout, controlplane.RollbackRequest{}); err != nil {
				b.t.Fatal(err)
			}
			sum.rollouts.Add(1)
		},
		ended: b.rests,
		check: func(when string) { b.are(when, controlplane.RolloutRolledBack, controlplane.TargetRolledBack, "2") },
	}
}

// copied is up that copies the tenants' databases before.
func (b *block) copied() drill {
	d := b.upBy(&controlplane.Strategy{Snapshot: &controlplane.Snapshot{}})
	d.name = "rollout with snapshots"
	d.check = func(when string) {
		b.are(when, controlplane.RolloutSucceeded, controlplane.TargetSucceeded, "5")
		if r, err := b.ShowRollout(b.t.Context(), b.rollout); err != nil || r.Snapshots.Count != len(b.slugs) {
			b.t.Errorf("%s: snapshots %+v, %v", when, r.Snapshots, err)
		}
		for _, slug := range b.slugs { // what only the copies can take back
			b.in(slug, "TRUNCATE notes CASCADE")
		}
	}
	return d
}

// restored puts the copies back, and waits until nothing is left of them.
func (b *block) restored() drill {
	return drill{
		name: "restore",
		start: func() {
			if _, err := b.RollbackRollout(b.t.Context(), b.rollout, controlplane.RollbackRequest{Restore: true}); err != nil {
				b.t.Fatal(err)
			}
			sum.rollouts.Add(1)
		},
		ended: func() (bool, error) {
			rests, err := b.rests()
			return rests && len(b.ask("SELECT id FROM snapshots WHERE state <> 'gone'").lines()) == 0, err
		},
		check: func(when string) {
			b.are(when, controlplane.RolloutRolledBack, controlplane.TargetRolledBack, "2")
			for _, slug := range b.slugs {
				b.in(slug, "SELECT 1 / (SELECT count(*) FROM notes)") // the rows are back
			}
		},
	}
}

// turning is a rollout that the sick tenant has taken back by itself.
func (b *block) turning() drill {
	return drill{
		name: "rollout that turns round",
		start: func() {
			r, err := b.StartRollout(b.t.Context(), controlplane.NewRollout{Release: "v2", Version: "4", BatchSize: 1, Concurrency: 1,
				OnError: controlplane.OnErrorRollback})
			if err != nil {
				b.t.Fatal(err)
			}
			b.rollout = r.ID
			sum.rollouts.Add(1)
		},
		ended: b.rests,
		check: func(when string) {
			for _, slug := range b.slugs {
				b.isAt(when, slug, "2")
			}
			r, err := b.ShowRollout(b.t.Context(), b.rollout)
			if err != nil || r.State != controlplane.RolloutRolledBack || r.Counts.Done() != len(b.slugs) {
				b.t.Errorf("%s: rollout %s is %s: %s, %v", when, b.rollout, r.State, r.Counts, err)
			}
		},
	}
}

// startAt proves where new tenants start.
func (b *block) startAt(when, release, version string) {
	b.t.Helper()
	r, err := b.ShowRelease(b.t.Context(), release)
	if err != nil || r.Default != version {
		b.t.Errorf("%s: new tenants start at version %q of %s, not %s: %v", when, r.Default, release, version, err)
	}
}

// are proves where everybody is, and that the rollout says so.
func (b *block) are(when string, state controlplane.RolloutState, status controlplane.TargetStatus, version string) {
	b.t.Helper()
	want := map[string]controlplane.TargetStatus{}
	for _, slug := range b.slugs {
		want[slug] = status
		at := version
		if slug == b.sick {
			want[slug], at = controlplane.TargetFailed, "2"
		}
		b.isAt(when, slug, at)
	}
	b.counted(when, b.rollout, state, want)
}

// takes makes the next rollout take its time on a tenant.
func (b *block) takes(slug string, seconds float64) {
	b.t.Helper()
	b.in(slug, "INSERT INTO pace VALUES ($1)", seconds)
}
