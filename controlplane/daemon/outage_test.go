package daemon_test

import (
	"testing"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/pgtest"
)

// inHand starts a worker and a rollout, and returns when the worker is about
// to send the first tenant's migration. release lets it.
func (f *fleet) inHand(n controlplane.NewRollout) (id string, release func()) {
	f.t.Helper()
	gate := &controlplanetest.Gate{}
	knocked, release := gate.Shut()
	f.Config.Workers, f.Config.Dial = true, gate.Dial
	f.worker = f.Start()
	n.Release = "v2"
	r, err := f.StartRollout(f.t.Context(), n)
	if err != nil {
		f.t.Fatal(err)
	}
	<-knocked
	return r.ID, release
}

func TestStopFinishesTheTenantsInHandAndAnotherProcessTheRest(t *testing.T) {
	t.Parallel()
	f := newFleet(t, controlplanetest.Options{}, pgtest.Server(t), controlplane.NewTenant{}, 6)
	id, release := f.inHand(controlplane.NewRollout{BatchSize: 6, Concurrency: 2})
	f.worker.Drain() // as Stop begins, before anybody gets on
	stopped := make(chan error)
	go func() { stopped <- f.worker.Stop(t.Context()) }()
	release()
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	r, err := f.ShowRollout(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	done, left := r.Counts[controlplane.TargetSucceeded], r.Counts[controlplane.TargetPending]
	if r.State != controlplane.RolloutRunning || done < 1 || done > 2 || done+left != 6 {
		t.Fatalf("after the stop the rollout is %s: %s", r.State, r.Counts)
	}
	f.Config.Dial = nil
	f.Working(func() { f.Eventually("the rollout rests", f.rests(id)) }) // no lease has to run out
	f.proves(id, controlplane.RolloutSucceeded, controlplane.TargetSucceeded, "4", 1, 0)
}

func TestRolloutOutlivesACatalogThatIsGoneForAWhile(t *testing.T) {
	t.Parallel()
	catalog := pgtest.NewServer(t, devpg.Config{})
	f := newFleet(t, controlplanetest.Options{Catalog: pgtest.Database(t, catalog)}, pgtest.Server(t), controlplane.NewTenant{}, 3)
	id, release := f.inHand(controlplane.NewRollout{})
	if err := catalog.Crash(); err != nil {
		t.Fatal(err)
	}
	release()
	if _, err := f.ShowRollout(t.Context(), id); controlplane.CodeOf(err) != controlplane.Unavailable {
		t.Errorf("while the catalog is gone: %v", err)
	}
	f.Eventually("a tenant in hand is finished all the same", func() (bool, error) {
		for _, tenant := range f.tenants {
			if revision, _ := f.read(tenant); revision == "4" {
				return true, nil
			}
		}
		return false, nil
	})
	if err := catalog.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.Expire()
	f.Eventually("the rollout rests", f.rests(id))
	f.proves(id, controlplane.RolloutSucceeded, controlplane.TargetSucceeded, "4", 1, 0)
}

func TestRolloutOutlivesAClusterThatIsGoneForAWhile(t *testing.T) {
	t.Parallel()
	for _, isolation := range controlplane.Isolations {
		t.Run(string(isolation), func(t *testing.T) {
			t.Parallel()
			server := pgtest.NewServer(t, devpg.Config{})
			f := newFleet(t, controlplanetest.Options{}, server, controlplane.NewTenant{Isolation: isolation}, 3)
			id, release := f.inHand(controlplane.NewRollout{})
			if err := server.Crash(); err != nil {
				t.Fatal(err)
			}
			release()
			f.Eventually("the targets wait for the cluster", func() (bool, error) {
				r, err := f.ShowRollout(t.Context(), id)
				return err == nil && r.Counts[controlplane.TargetDeferred]+r.Counts[controlplane.TargetUnknown] > 0, err
			})
			if err := server.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			f.Eventually("the rollout rests", f.rests(id))
			f.proves(id, controlplane.RolloutSucceeded, controlplane.TargetSucceeded, "4", 1, 0)
		})
	}
}
