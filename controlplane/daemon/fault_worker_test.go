package daemon_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/pgtest"
)

// When it wakes, its tenants are again where it left them, after a rollback: of
// all that keeps it from going on, only the fence is left.
func TestStoppedWorkerWritesNothingWhenItGoesOnAfterItsLease(t *testing.T) {
	t.Parallel()
	forEachIsolation(t, func(t *testing.T, like controlplane.NewTenant) {
		f := newFleet(t, controlplanetest.Options{}, pgtest.Server(t), like, 3)
		n := 0
		controlplanetest.Moments(t, func(at controlplanetest.Moment) bool {
			n++
			id := f.begin(controlplane.NewRollout{BatchSize: 3})
			sleeper := f.Sleeper(at, f.rests(id))
			f.Expire()
			f.Working(func() { f.thereAndBack(id, n) })
			before := f.written(f.server, f.homes()...)
			if sleeper != nil {
				sleeper.Wake()
			}
			if diff := cmp.Diff(before, f.written(f.server, f.homes()...)); diff != "" {
				t.Errorf("stopped %s, it wrote when it woke (-before +after):\n%s", at, diff)
			}
			f.proves(id, controlplane.RolloutRolledBack, controlplane.TargetRolledBack, "2", n, n)
			return sleeper != nil
		})
		t.Logf("%d moments", n)
	})
}

// batch is the one that is being worked on.
func (f *fleet) batch(catalog *pgx.Conn) (id int) {
	f.t.Helper()
	if err := catalog.QueryRow(f.t.Context(), "SELECT id FROM batches WHERE state = 'running'").Scan(&id); err != nil {
		f.t.Fatal(err)
	}
	return id
}

// again gives the job of a batch to workers n times more.
func (f *fleet) again(catalog *pgx.Conn, batch, n int) {
	f.t.Helper()
	f.exec(catalog, `INSERT INTO river.river_job (kind, args, max_attempts, queue)
		SELECT 'rollout.batch', jsonb_build_object('batch', $1::int), 1, 'batch' FROM generate_series(1, $2)`, batch, n)
}

func TestBatchGivenToSeveralWorkersIsWorkedByOne(t *testing.T) {
	t.Parallel()
	forEachIsolation(t, func(t *testing.T, like controlplane.NewTenant) {
		f := newFleet(t, controlplanetest.Options{}, pgtest.Server(t), like, 4)
		id, release := f.inHand(controlplane.NewRollout{BatchSize: 4})
		catalog := f.Catalog()
		f.again(catalog, f.batch(catalog), 6)
		f.Config.Dial = nil
		f.Working(func() {
			f.Eventually("the others have been given it", func() (given bool, err error) {
				err = catalog.QueryRow(t.Context(), `SELECT count(*) >= 6 FROM river.river_job WHERE kind = 'rollout.batch' AND state = 'completed'`).Scan(&given)
				return given, err
			})
			if r, err := f.ShowRollout(t.Context(), id); err != nil || r.Counts[controlplane.TargetRunning] != 4 {
				t.Errorf("before the first worker has begun: %+v, %v", r, err)
			}
			release()
			f.finishes(id)
		})
		f.proves(id, controlplane.RolloutSucceeded, controlplane.TargetSucceeded, "4", 1, 0)
	})
}

// Here both workers hold a lease of the same targets, one of them an old one.
func TestBatchTakenOverFromAWorkerThatIsStillAtItIsWorkedOnce(t *testing.T) {
	t.Parallel()
	forEachIsolation(t, func(t *testing.T, like controlplane.NewTenant) {
		f := newFleet(t, controlplanetest.Options{}, pgtest.Server(t), like, 4)
		id, release := f.inHand(controlplane.NewRollout{BatchSize: 4})
		catalog := f.Catalog()
		f.exec(catalog, "UPDATE batches SET lease_until = clock_timestamp() - interval '1 s'")
		f.Config.Dial = nil
		f.Working(func() {
			f.Eventually("the other worker has the targets", func() (taken bool, err error) {
				err = catalog.QueryRow(t.Context(), "SELECT count(*) > 1 FROM batches").Scan(&taken)
				return taken, err
			})
			release()
			f.finishes(id)
		})
		f.proves(id, controlplane.RolloutSucceeded, controlplane.TargetSucceeded, "4", 1, 0)
	})
}

// panicky is a connection on which a migration of one tenant panics. Nothing
// comes after that: pgx would send what it has not sent yet when it says goodbye.
type panicky struct {
	net.Conn
	schema string // of its home
	broken bool
}

func (c *panicky) Write(b []byte) (int, error) {
	if c.broken {
		return 0, net.ErrClosed
	}
	if c.broken = bytes.Contains(b, []byte("COMMIT")) && bytes.Contains(b, []byte(c.schema)); c.broken {
		panic("as told")
	}
	return c.Conn.Write(b)
}

func TestPanicOnATenantFailsItAndNothingElse(t *testing.T) {
	t.Parallel()
	f := newFleet(t, controlplanetest.Options{Logger: slog.New(slog.DiscardHandler)}, pgtest.Server(t), controlplane.NewTenant{}, 4)
	f.Config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return &panicky{Conn: conn, schema: f.tenants[1].Placement.Schema}, err
	}
	id := f.begin(controlplane.NewRollout{BatchSize: 4})
	f.Working(func() { f.finishes(id) })
	f.failed(id, map[string]string{f.tenants[1].Slug: "Manor failed on this tenant"})
	f.Config.Dial = nil
	f.retried(id)
}

// This one really waits for the lease to run out.
func TestStoppedWorkerIsReplacedWithinThirtySeconds(t *testing.T) {
	t.Parallel()
	f := newFleet(t, controlplanetest.Options{}, pgtest.Server(t), controlplane.NewTenant{}, 3)
	id := f.begin(controlplane.NewRollout{BatchSize: 3})
	sleeper := f.Sleeper(controlplanetest.Moment{Write: 4}, f.rests(id))
	began := time.Now()
	f.Working(func() { f.finishes(id) })
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("the rollout stood still for %s", took)
	}
	f.proves(id, controlplane.RolloutSucceeded, controlplane.TargetSucceeded, "4", 1, 0)
	sleeper.Wake()
	f.proves(id, controlplane.RolloutSucceeded, controlplane.TargetSucceeded, "4", 1, 0)
}

// This one waits for the lock on the tenant to be lost.
func TestWorkerStoppedWhileItMakesAHomeIsReplacedWithinThirtySeconds(t *testing.T) {
	t.Parallel()
	forEachIsolation(t, func(t *testing.T, like controlplane.NewTenant) {
		f := newFleet(t, controlplanetest.Options{}, pgtest.NewServer(t, devpg.Config{}), like, 1)
		like.Slug = "begun"
		if _, err := f.CreateTenants(t.Context(), []controlplane.NewTenant{like}, false); err != nil {
			t.Fatal(err)
		}
		sleeper := f.Sleeper(controlplanetest.Moment{Write: 9}, func() (bool, error) {
			tenant, err := f.ShowTenant(t.Context(), "begun")
			return err == nil && tenant.Settled, err
		})
		if sleeper == nil {
			t.Fatal("the home was made in fewer writes")
		}
		began := time.Now()
		f.Working(func() { f.Settled("begun") })
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("nothing was done about the tenant for %s", took)
		}
		before := f.written(f.server, f.homes()...)
		sleeper.Wake()
		if diff := cmp.Diff(before, f.written(f.server, f.homes()...)); diff != "" {
			t.Errorf("it wrote when it woke (-before +after):\n%s", diff)
		}
		for _, difference := range f.Leftovers(f.server) {
			t.Error(difference)
		}
	})
}
