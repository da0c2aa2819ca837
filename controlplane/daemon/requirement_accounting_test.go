package daemon_test

import (
	"testing"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/pgtest"
)

func TestRequirement07EveryTenantSelectedIsCountedWhateverBecomesOfIt(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, controlplanetest.Slugs("acme", 12)...)
	p.Push("v2", release(map[string]string{"3_wait.sql": waits + "ALTER TABLE notes ADD CHECK (stars >= 0);\n"}))
	p.Rollout(controlplane.NewRollout{Release: "v2", Select: `tenant.slug == "acme-002"`})
	goOn := wait(p, "acme-001")
	id := begin(t, p, controlplane.NewRollout{Release: "v2", Concurrency: 1, BatchSize: 4})
	stop := counted(t, p, id, 12)
	until(t, p, id, "a tenant is in hand", func(r *controlplane.Rollout) bool { return r.Counts[controlplane.TargetRunning] > 0 })

	p.Exec("acme-009", poison)
	for _, slug := range []string{"acme-010", "acme-011", "acme-012"} {
		if _, err := p.SuspendTenant(t.Context(), slug, false); err != nil {
			t.Fatal(err)
		}
	}
	for _, slug := range []string{"acme-011", "acme-012"} {
		if _, err := p.DeleteTenant(t.Context(), slug, false); err != nil {
			t.Fatal(err)
		}
	}
	_, err := p.PurgeTenant(t.Context(), "acme-012", "acme-012", false)
	refused(t, "purge a tenant that is counted on", err, controlplane.Conflict, id)
	goOn()
	r := p.Rested(id)
	stop()
	ends(t, r, controlplane.RolloutFailed, controlplane.Counts{
		controlplane.TargetSucceeded: 8, controlplane.TargetCurrent: 1, controlplane.TargetFailed: 1, controlplane.TargetSkipped: 2})
}

// twoClusters is a plane with tenants on cluster "one", which all tests share,
// and as many on "two", which is the test's to harm.
func twoClusters(t *testing.T, n int) (*controlplanetest.Plane, *devpg.Server) {
	t.Helper()
	p, two := controlplanetest.New(t), pgtest.NewServer(t, devpg.Config{})
	p.AddServer("two", two)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{Cluster: "one"}, controlplanetest.Slugs("one", n)...)
	p.Create(controlplane.NewTenant{Cluster: "two"}, controlplanetest.Slugs("two", n)...)
	p.Push("v2", release(map[string]string{"3_wait.sql": waits + "ALTER TABLE notes ADD COLUMN pinned bool;\n"}))
	return p, two
}

// A departure takes cluster "two" away, where a tenant is in hand that may go
// on; back brings it in again.
type departure func(t *testing.T, p *controlplanetest.Plane, two *devpg.Server, goOn func()) (back func())

var departures = map[string]departure{
	"offline": func(t *testing.T, p *controlplanetest.Plane, _ *devpg.Server, goOn func()) func() {
		set := func(state controlplane.ClusterState) {
			if _, err := p.SetCluster(t.Context(), "two", controlplane.ClusterChange{State: &state}); err != nil {
				t.Fatal(err)
			}
		}
		set(controlplane.ClusterOffline)
		goOn()
		return func() { set(controlplane.ClusterActive) }
	},
	"down": func(t *testing.T, p *controlplanetest.Plane, two *devpg.Server, goOn func()) func() {
		if err := two.Crash(); err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := two.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			goOn()
		}
	},
}

func TestRequirement07RolloutWaitsForAClusterThatGoesAwayAndDoesNotShrink(t *testing.T) {
	t.Parallel()
	for name, leaves := range departures {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, two := twoClusters(t, 4)
			goOn, goOnThere := wait(p, "one-001"), wait(p, "two-001")
			id := begin(t, p, controlplane.NewRollout{Release: "v2", BatchSize: 1, Concurrency: 2, PerCluster: 1})
			stop := counted(t, p, id, 8)
			until(t, p, id, "both clusters are at work", func(r *controlplane.Rollout) bool { return r.Counts[controlplane.TargetRunning] == 2 })
			refused(t, "remove the cluster", p.RemoveCluster(t.Context(), "two", false), controlplane.Refused, "4 tenants")
			back := leaves(t, p, two, goOnThere)
			goOn()
			until(t, p, id, "the tenants on the other cluster are done", func(r *controlplane.Rollout) bool { return openOn(r, "one") == 0 })
			r, err := p.ShowRollout(t.Context(), id)
			if open := openOn(r, "two"); err != nil || r.State != controlplane.RolloutRunning || open < 3 || r.Counts.Done()+open != 8 {
				t.Errorf("without a cluster the rollout is %+v, %v", r, err)
			}
			back()
			ends(t, p.Rested(id), controlplane.RolloutSucceeded, controlplane.Counts{controlplane.TargetSucceeded: 8})
			stop()
		})
	}
}

func openOn(r *controlplane.Rollout, cluster string) (open int) {
	for _, c := range r.Clusters {
		if c.Cluster == cluster {
			open += c.Open
		}
	}
	return open
}

func TestRequirement07RolloutOverAClusterThatIsDownIsRefused(t *testing.T) {
	t.Parallel()
	p, two := twoClusters(t, 2)
	if err := two.Crash(); err != nil {
		t.Fatal(err)
	}
	_, err := p.StartRollout(t.Context(), controlplane.NewRollout{Release: "v2"})
	refused(t, "start", err, controlplane.Unavailable, "cluster two, home of 2 of the selected tenants")
	rollouts, err := p.ListRollouts(t.Context())
	if err != nil || len(rollouts) != 0 {
		t.Errorf("there are %d rollouts, %v", len(rollouts), err)
	}
}

// TestRequirement07TargetOfAClusterThatIsNoMoreIsCountedToTheEnd: nothing keeps
// a cluster whose only tenant could not be provisioned, while a rollout waits
// for it.
func TestRequirement07TargetOfAClusterThatIsNoMoreIsCountedToTheEnd(t *testing.T) {
	t.Parallel()
	p := controlplanetest.Open(t, controlplanetest.Options{Idle: true})
	p.AddServer("one", pgtest.Server(t))
	p.AddServer("two", pgtest.NewServer(t, devpg.Config{}))
	p.Push("v1", map[string]string{"1_notes.sql": cursed + "CREATE TABLE notes (id int);\n"})
	p.Push("v2", map[string]string{"1_notes.sql": cursed + "CREATE TABLE notes (id int);\n", "2_tags.sql": "CREATE TABLE tags (id int);\n"})
	p.Working(func() { p.Create(controlplane.NewTenant{Cluster: "one"}, "acme") })
	_, err := p.CreateTenants(t.Context(), []controlplane.NewTenant{{Slug: "cursed", Cluster: "two"}}, false)
	if err != nil {
		t.Fatal(err)
	}
	id := begin(t, p, controlplane.NewRollout{Release: "v2"})
	defer counted(t, p, id, 2)()
	offline := controlplane.ClusterOffline
	if _, err := p.SetCluster(t.Context(), "two", controlplane.ClusterChange{State: &offline}); err != nil {
		t.Fatal(err)
	}
	p.Working(func() {
		if tenant := p.Settled("cursed"); tenant.State != controlplane.TenantFailed {
			t.Fatalf("the tenant is %s", tenant.State)
		}
		if err := p.RemoveCluster(t.Context(), "two", false); err != nil {
			t.Fatal(err)
		}
		ends(t, p.Rested(id), controlplane.RolloutSucceeded, controlplane.Counts{controlplane.TargetSucceeded: 1, controlplane.TargetSkipped: 1})
	})
}
