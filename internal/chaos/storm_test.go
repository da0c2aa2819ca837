package chaos_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
)

const (
	crew = 3 // worker processes
	// lease is how long a silent worker keeps what it has.
	lease = 10 * time.Second
	// subsiding is how long everything may take to come to rest afterwards:
	// leases run out, and deferred targets wait for their turn.
	subsiding = 3 * time.Minute
)

// storm is random chaos: workers that die and sleep at any time, while others
// ask for things.
type storm struct {
	*estate
	seed uint64

	mu      sync.Mutex
	workers [crew]*worker
}

// minutes is how long the storm lasts.
func minutes(t testing.TB) time.Duration {
	t.Helper()
	m, err := strconv.ParseFloat(cmp.Or(os.Getenv("CHAOS_MINUTES"), "0.25"), 64)
	if err != nil || m <= 0 {
		t.Fatalf("CHAOS_MINUTES=%s: not a positive number", os.Getenv("CHAOS_MINUTES"))
	}
	return time.Duration(m * float64(time.Minute))
}

func TestRandomKillsAndStopsOfThreeWorkersOnTwoClustersLoseNothing(t *testing.T) {
	t.Parallel()
	s := &storm{estate: newEstate(t, "north", "south"), seed: cmp.Or(*seedFlag, rand.Uint64())}
	t.Logf("the seed is %d: run it again with -run Random -seed %d", s.seed, s.seed)
	s.populate()
	ctx, calm := context.WithTimeout(t.Context(), minutes(t))
	defer calm()
	actors, ctx := errgroup.WithContext(ctx)
	for i, act := range []func(context.Context, *rand.Rand) error{s.killing, s.stopping, s.rollingOut, s.movingIn, s.using} {
		actors.Go(func() error {
			if err := act(ctx, rand.New(rand.NewPCG(s.seed, uint64(i)))); ctx.Err() == nil {
				return err
			}
			return nil
		})
	}
	if err := actors.Wait(); err != nil {
		t.Fatal(err)
	}
	s.subside()
	s.accountFor()
}

// populate makes the first tenants, of both isolations, and the workers.
func (s *storm) populate() {
	s.t.Helper()
	first, second := releases()
	s.Push("v1", first)
	for i := range s.workers {
		s.workers[i] = s.worker("", "")
	}
	slugs := controlplanetest.Slugs("first", 10)
	for i, isolation := range []controlplane.Isolation{controlplane.IsolationSchema, controlplane.IsolationDatabase} {
		s.create(controlplane.NewTenant{Isolation: isolation}, slugs[i*5:i*5+5]...)
	}
	s.Eventually("the first tenants are made", s.settled(slugs...))
	s.Push("v2", second)
}

// pause waits a random time up to most, or until the storm ends.
func pause(ctx context.Context, rng *rand.Rand, most time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(upTo(rng, most)):
	}
}

func upTo(rng *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(most)))
}

// killing kills a worker every now and then, sometimes all of them, and starts
// others in their place.
func (s *storm) killing(ctx context.Context, rng *rand.Rand) error {
	for ctx.Err() == nil {
		pause(ctx, rng, 3*time.Second)
		victims := []int{rng.IntN(crew)}
		if rng.IntN(10) == 0 {
			victims = []int{0, 1, 2}
		}
		for _, i := range victims {
			s.slot(i, func(w *worker) { w.kill() })
			sum.deaths.Add(1)
		}
		pause(ctx, rng, time.Second)
		for _, i := range victims {
			if err := s.replace(i); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *storm) slot(i int, f func(*worker)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s.workers[i])
}

func (s *storm) replace(i int) error {
	w, err := startWorker(s.Plane, s.t, "", "")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.workers[i] = w
	return err
}

// stopping stops a worker every now and then and wakes it later, the first time
// and some others when its leases have long gone to somebody else. It may be
// killed in its sleep.
func (s *storm) stopping(ctx context.Context, rng *rand.Rand) error {
	for n := 0; ctx.Err() == nil; n++ {
		var asleep *worker
		s.slot(rng.IntN(crew), func(w *worker) { asleep = w; w.signal(syscall.SIGSTOP) })
		sum.stops.Add(1)
		length := upTo(rng, 2*time.Second)
		if n%10 == 0 {
			length += lease
		}
		select {
		case <-ctx.Done():
		case <-time.After(length):
		}
		asleep.signal(syscall.SIGCONT)
		pause(ctx, rng, 4*time.Second)
	}
	return nil
}

// subside wakes and replaces the workers and waits until everything rests.
func (s *storm) subside() {
	s.t.Helper()
	for i, w := range s.workers {
		w.signal(syscall.SIGCONT)
		if died, err := w.dead(); err != nil {
			s.t.Fatal(err)
		} else if died {
			s.workers[i] = s.worker("", "")
		}
	}
	began := time.Now()
	s.settle()
	if s.purgeInterrupted() {
		s.settle()
	}
	for _, w := range s.workers {
		w.kill()
	}
	s.lapse()
	s.t.Logf("everything rests %s after the last blow", time.Since(began).Round(time.Second))
}

// settle waits until there is nothing to do.
func (s *storm) settle() {
	s.t.Helper()
	began := time.Now()
	var open []string
	for len(open) > 0 || began.Add(time.Second).After(time.Now()) {
		if time.Since(began) > subsiding {
			s.t.Fatalf("seed %d: after %s there is still to do: %v", s.seed, subsiding, open)
		}
		for _, id := range s.ask("SELECT id FROM rollouts WHERE state = 'paused'").lines() {
			if _, err := s.ResumeRollout(s.t.Context(), id); tolerable(err) != nil {
				s.t.Fatal(err)
			}
		}
		open = s.ask(`SELECT 'rollout ' || id || ' is ' || state FROM rollouts WHERE state IN ('planned', 'running', 'rolling_back', 'paused')
			UNION ALL SELECT 'tenant ' || slug || ' is not settled: ' || coalesce(failure::text, '') FROM tenants WHERE NOT settled`).lines()
		pause(s.t.Context(), rand.New(rand.NewPCG(0, 0)), 200*time.Millisecond)
	}
}

// purgeInterrupted purges the tenants whose deletion came in the middle of a
// file that runs statement by statement: no rollout works on them any more, and
// what is half done stays so until they go or come back.
func (s *storm) purgeInterrupted() (some bool) {
	s.t.Helper()
	for _, slug := range s.ask("SELECT slug FROM tenants WHERE state = 'deleting' ORDER BY 1").lines() {
		tenant, err := s.ShowTenant(s.t.Context(), slug)
		if err != nil {
			s.t.Fatal(err)
		}
		if partial := s.stands(tenant).partial; len(partial) > 0 {
			s.t.Logf("%s was deleted in the middle of %v", slug, partial)
			if _, err := s.PurgeTenant(s.t.Context(), slug, slug, false); err != nil {
				s.t.Fatal(err)
			}
			some = true
		}
	}
	return some
}

// misreported are tenants that the catalog has elsewhere than the last target
// that says so.
const misreported = `
	SELECT format('tenant %s is at %s, and in rollout %s %s at %s', n.slug, n.version, t.rollout_id, t.status, t.version)
	FROM tenants n JOIN LATERAL (SELECT * FROM targets t WHERE t.tenant_id = n.id AND t.status NOT IN ('pending', 'skipped')
		ORDER BY t.updated_at DESC LIMIT 1) t ON true WHERE n.state <> 'deleted' AND t.version <> n.version`

// openDoors are the logins of tenants that a cluster lets in.
const openDoors = "SELECT rolname::text FROM pg_roles WHERE rolcanlogin AND rolname ~ '^t_' ORDER BY 1"

// accountFor proves everything of every tenant that is there.
func (s *storm) accountFor() {
	s.t.Helper()
	when := fmt.Sprintf("seed %d", s.seed)
	s.atRest(when)
	for _, slug := range s.ask("SELECT slug FROM tenants WHERE state IN ('active', 'suspended', 'deleting') ORDER BY 1").lines() {
		tenant, err := s.ShowTenant(s.t.Context(), slug)
		if err != nil {
			s.t.Fatal(err)
		}
		s.isAt(when, slug, tenant.Version)
	}
	for _, line := range s.ask(misreported).lines() {
		s.t.Errorf("%s: %s", when, line)
		for _, id := range s.ask("SELECT id FROM tenants WHERE $1 LIKE '%tenant ' || slug || ' %'", line).lines() {
			s.t.Log(strings.Join(s.ask(history, id).lines(), "\n"))
		}
	}
	for name := range s.clusters {
		want := s.ask(`SELECT c.login FROM credentials c JOIN tenants n ON n.id = c.tenant_id JOIN placements p ON p.tenant_id = n.id
			JOIN clusters k ON k.id = p.cluster_id WHERE n.state = 'active' AND k.name = $1 ORDER BY 1`, name).lines()
		if got := s.askOn(name, "postgres", openDoors).lines(); !slices.Equal(want, got) {
			s.t.Errorf("%s: on cluster %s the logins %v are open, not %v", when, name, got, want)
		}
	}
	for _, line := range s.ask("SELECT state || ' ' || count(*) FROM rollouts GROUP BY state").lines() {
		s.t.Logf("rollouts %s", line)
	}
	for _, line := range s.ask("SELECT state || ' ' || count(*) FROM tenants GROUP BY state").lines() {
		s.t.Logf("tenants %s", line)
	}
}
