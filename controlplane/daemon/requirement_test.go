package daemon_test

import (
	"context"
	"os"
	"sync"
	"testing"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
)

// The tests named after requirements prove, through the doors, what people
// miss in the tools they have.

// release is what a test of a requirement rolls out: First, and files more.
func release(more map[string]string) map[string]string {
	files := controlplanetest.First()
	for name, content := range more {
		files[name] = content
	}
	return files
}

// waits is a migration that a tenant stays in for as long as it has a note
// that says so.
const waits = `DO $$ BEGIN
	WHILE EXISTS (SELECT FROM notes WHERE body = 'wait') LOOP
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;
`

// cursed is what keeps a tenant of that name from being provisioned.
const cursed = `DO $$ BEGIN
	IF EXISTS (SELECT FROM manor.marker WHERE slug LIKE 'cursed%' AND schema = current_schema()) THEN
		RAISE EXCEPTION 'this tenant cannot be' USING ERRCODE = 'P0001';
	END IF;
END $$;
`

// wait lets a tenant stay in the migration, until it is told to go on.
func wait(p *controlplanetest.Plane, slug string) (goOn func()) {
	p.Exec(slug, "INSERT INTO notes VALUES (-1, 'wait')")
	return sync.OnceFunc(func() { p.Exec(slug, "DELETE FROM notes WHERE id = -1") })
}

// begin starts a rollout.
func begin(t *testing.T, p *controlplanetest.Plane, n controlplane.NewRollout) (id string) {
	t.Helper()
	r, err := p.StartRollout(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return r.ID
}

// until waits until a rollout is as it should be.
func until(t *testing.T, p *controlplanetest.Plane, id, what string, is func(*controlplane.Rollout) bool) {
	t.Helper()
	p.Eventually("rollout "+id+": "+what, func() (bool, error) {
		r, err := p.ShowRollout(t.Context(), id)
		return err == nil && is(r), err
	})
}

// counted watches a rollout until the test calls stop: whenever it is asked,
// its targets add up to the tenants that were selected.
func counted(t *testing.T, p *controlplanetest.Plane, id string, selected int) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		for ctx.Err() == nil {
			r, err := p.ShowRollout(ctx, id)
			if err == nil && (r.Counts.Sum() != selected || r.Targets != selected) {
				t.Errorf("%d targets of %d add up to %d: %s", r.Targets, selected, r.Counts.Sum(), r.Counts)
				return
			}
		}
	})
	return func() { cancel(); watching.Wait() }
}

// fullEnv asks for the tests of requirements at their full size, which takes
// minutes, rather than at one that shows the same in seconds.
const fullEnv = "MANOR_TEST_REQUIREMENTS"

// sized is normal, or full where that is asked for.
func sized[T any](normal, full T) T {
	if os.Getenv(fullEnv) == "full" {
		return full
	}
	return normal
}
