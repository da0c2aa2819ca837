package daemon_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
)

// alters is a release whose next version needs the notes for itself.
func alters() map[string]string {
	return release(map[string]string{"3_pinned.sql": "ALTER TABLE notes ADD COLUMN pinned bool;\n"})
}

// holds reads a tenant's notes in a transaction that stays open.
func holds(t *testing.T, p *controlplanetest.Plane, slug string) (reader *pgx.Conn, letGo func()) {
	t.Helper()
	reader = p.Connect(slug)
	tx, err := reader.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT count(*) FROM notes WHERE body = 'secret'"); err != nil {
		t.Fatal(err)
	}
	return reader, sync.OnceFunc(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
}

// reads reads a tenant's notes over and over, until stop, which says how long
// the longest took.
func reads(t *testing.T, p *controlplanetest.Plane, slug string) (stop func() time.Duration) {
	t.Helper()
	conn := p.Connect(slug)
	ctx, cancel := context.WithCancel(t.Context())
	var longest time.Duration
	var reading sync.WaitGroup
	reading.Go(func() {
		for ctx.Err() == nil {
			began := time.Now()
			if _, err := conn.Exec(context.WithoutCancel(ctx), "SELECT count(*) FROM notes"); err != nil {
				t.Error(err)
				return
			}
			longest = max(longest, time.Since(began))
			pause(ctx, time.Millisecond)
		}
	})
	return func() time.Duration { cancel(); reading.Wait(); return longest }
}

// pause waits, but not longer than ctx lasts.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// lockTimeout is how long a migration waits for a lock, and others behind it;
// margin is what a busy machine may take on top.
const (
	lockTimeout = 500 * time.Millisecond
	margin      = 400 * time.Millisecond
)

// TestRequirement10NoReaderWaitsForAMigrationThatWaitsForAReader: one
// transaction reads a tenant's table for long; other readers hardly notice, the
// tenant waits and comes back, the others go on.
func TestRequirement10NoReaderWaitsForAMigrationThatWaitsForAReader(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, controlplanetest.Slugs("acme", 8)...)
	p.Push("v2", alters())
	reader, letGo := holds(t, p, "acme-001")
	defer letGo()
	var stops []func() time.Duration
	for range 3 {
		stops = append(stops, reads(t, p, "acme-001"))
	}
	began := time.Now()
	id := begin(t, p, controlplane.NewRollout{Release: "v2"})
	until(t, p, id, "the others are done", func(r *controlplane.Rollout) bool { return r.Counts[controlplane.TargetSucceeded] == 7 })
	tries := comesBack(t, p, id, began.Add(sized(6*time.Second, time.Minute)))
	target := theDeferred(t, p, id)[0]
	held := target.Failure.Blocker
	if b := held; b == nil || b.PID != int(reader.PgConn().PID()) || b.AgeMS < 1000 || !strings.Contains(b.Query, "FROM notes") || strings.Contains(b.Query, "secret") {
		t.Errorf("held up by %+v, the failure is %+v", b, target.Failure)
	}
	letGo()
	ends(t, p.Rested(id), controlplane.RolloutSucceeded, controlplane.Counts{controlplane.TargetSucceeded: 8})
	var longest time.Duration
	for _, stop := range stops {
		longest = max(longest, stop())
	}
	t.Logf("%d tries while the table was held for %s; the longest that another reader waited: %s", tries, time.Since(began), longest)
	if longest > lockTimeout+margin || longest < lockTimeout/2 { // they did meet
		t.Errorf("a reader waited for %s", longest)
	}
}

// theDeferred are the targets of a rollout that come back.
func theDeferred(t *testing.T, p *controlplanetest.Plane, id string) []controlplane.Target {
	t.Helper()
	var found []controlplane.Target
	p.Eventually("there are deferred targets", func() (bool, error) {
		page, err := p.Targets(t.Context(), id, controlplane.TargetQuery{Status: controlplane.TargetDeferred})
		found = page.Items
		return len(found) > 0, err
	})
	return found
}

// comesBack watches, until a time or somewhat longer, how the one tenant that is held up is tried
// again: not at once, and later each time.
func comesBack(t *testing.T, p *controlplanetest.Plane, id string, end time.Time) (tries int) {
	t.Helper()
	catalog := p.Catalog()
	for now := time.Now(); now.Before(end) || tries < 3 && now.Before(end.Add(30*time.Second)); now = time.Now() {
		var attempts int
		var rest float64
		err := catalog.QueryRow(t.Context(), `SELECT attempts, coalesce(extract(epoch FROM not_before - updated_at), 0)
			FROM targets WHERE rollout_id = $1 AND slug = 'acme-001'`, id).Scan(&attempts, &rest)
		if err != nil {
			t.Fatal(err)
		}
		if attempts > tries && rest > 0 {
			tries = attempts
			if full := 0.5 * float64(int(1)<<(attempts-1)); rest < min(full, 30)/2-0.1 || rest > min(full, 30)*1.5+0.1 {
				t.Errorf("after try %d it rests for %.2f s", attempts, rest)
			}
		}
		pause(t.Context(), 20*time.Millisecond)
	}
	if tries < 3 {
		t.Errorf("it was tried %d times", tries)
	}
	return tries
}

// TestRequirement10ThoseDeferredTogetherComeBackApart: that is what jitter is for.
func TestRequirement10ThoseDeferredTogetherComeBackApart(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	slugs := controlplanetest.Slugs("acme", 6)
	p.Create(controlplane.NewTenant{}, slugs...)
	p.Push("v2", alters())
	for _, slug := range slugs {
		_, letGo := holds(t, p, slug)
		defer letGo()
	}
	id := begin(t, p, controlplane.NewRollout{Release: "v2", PerDatabase: 6})
	rests := map[string]float64{}
	catalog := p.Catalog()
	p.Eventually("all have been deferred once", func() (bool, error) {
		rows, err := catalog.Query(t.Context(), `SELECT slug, extract(epoch FROM not_before - updated_at) FROM targets WHERE rollout_id = $1 AND attempts = 1 AND not_before IS NOT NULL`, id)
		if err != nil {
			return false, err
		}
		var slug string
		var rest float64
		_, err = pgx.ForEachRow(rows, []any{&slug, &rest}, func() error { rests[slug] = rest; return nil })
		return len(rests) == len(slugs), err
	})
	var apart []string
	for _, rest := range rests {
		apart = append(apart, fmt.Sprintf("%.3f", rest))
	}
	slices.Sort(apart)
	if n := len(slices.Compact(slices.Clone(apart))); n < 5 {
		t.Errorf("they come back after %v s", apart)
	}
}
