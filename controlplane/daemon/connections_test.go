package daemon_test

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/pgtest"
)

// sessions counts those of Manor on a server, as often as it can, from a
// superuser's connection. most is the highest count until stop is called.
type sessions struct {
	most, samples int
	over          string // who they were when there were too many
	err           error
}

func count(t *testing.T, s controlplanetest.Server, limit int) (stop func() sessions) {
	t.Helper()
	conn := controlplanetest.Superuser(t, s, "postgres")
	ctx, cancel := context.WithCancel(t.Context())
	var seen sessions
	var counting sync.WaitGroup
	counting.Go(func() {
		for ctx.Err() == nil {
			var n int
			var who string
			err := conn.QueryRow(ctx, `SELECT count(*), coalesce(string_agg(concat_ws(' ', pid, usename, datname, state, query), E'\n'), '')
				FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename IS DISTINCT FROM 'postgres'`).Scan(&n, &who)
			if err != nil {
				if ctx.Err() == nil {
					seen.err = err
				}
				return
			}
			seen.samples++
			seen.most = max(seen.most, n)
			if n > limit && seen.over == "" {
				seen.over = who
			}
		}
	})
	return func() sessions { cancel(); counting.Wait(); return seen }
}

// small starts a control plane on a server of its own, of whose connections
// Manor may have so many.
func small(t *testing.T, o controlplanetest.Options, connections int) (*controlplanetest.Plane, *devpg.Server) {
	t.Helper()
	server := pgtest.NewServer(t, devpg.Config{})
	p := controlplanetest.Open(t, o)
	p.AddServer("one", server)
	if _, err := p.SetCluster(t.Context(), "one", controlplane.ClusterChange{Connections: &connections}); err != nil {
		t.Fatal(err)
	}
	return p, server
}

func TestRequirement16ConnectionsStayWithinTheBudgetOfAllProcesses(t *testing.T) {
	t.Parallel()
	for _, budget := range []int{2, 5} {
		t.Run(fmt.Sprint(budget), func(t *testing.T) {
			t.Parallel()
			p, server := small(t, controlplanetest.Options{}, budget)
			p.Start()
			stop := count(t, server, budget)
			first, second := ledgers()
			p.Push("v1", first)
			p.Create(controlplane.NewTenant{Isolation: controlplane.IsolationDatabase}, controlplanetest.Slugs("own", 6)...)
			p.Create(controlplane.NewTenant{}, controlplanetest.Slugs("shared", 6)...)
			p.Push("v2", second)
			r := p.Rollout(controlplane.NewRollout{Release: "v2", BatchSize: 3, Concurrency: 8})
			if r.State != controlplane.RolloutSucceeded || r.Counts[controlplane.TargetSucceeded] != 12 {
				t.Errorf("the rollout is %s: %s", r.State, r.Counts)
			}
			purge(t, p, append(controlplanetest.Slugs("own", 6), controlplanetest.Slugs("shared", 6)...))
			seen := stop()
			if seen.err != nil || seen.most > budget || seen.most < budget-1 {
				t.Errorf("Manor had up to %d sessions of %d (%v):\n%s", seen.most, budget, seen.err, seen.over)
			}
			t.Logf("up to %d of %d sessions in %d samples", seen.most, budget, seen.samples)
		})
	}
}

// TestRequirement16AStoppedProcessHasNoConnectionsWhenOthersGetThem stops a
// process in the middle of migrations, for longer than others take to count it
// as lost, and lets it go on.
func TestRequirement16AStoppedProcessHasNoConnectionsWhenOthersGetThem(t *testing.T) {
	t.Parallel()
	const budget = 4
	p, server := small(t, controlplanetest.Options{Idle: true}, budget)
	p.Push("slow", map[string]string{"1_slow.sql": "SELECT pg_sleep(2);\n"})
	stop := count(t, server, budget)
	zombie := p.Worker()
	create(t, p, "held", budget-1)
	superuser := controlplanetest.Superuser(t, server, "postgres")
	p.Eventually("all connections are at work", func() (busy bool, err error) {
		err = superuser.QueryRow(t.Context(), "SELECT count(*) = $1 FROM pg_stat_activity WHERE query ~ 'pg_sleep' AND state = 'active' AND pid <> pg_backend_pid()", budget-1).Scan(&busy)
		return busy, err
	})
	if err := zombie.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	create(t, p, "other", budget-1)
	p.Working(func() {
		for _, slug := range controlplanetest.Slugs("other", budget-1) {
			p.Settled(slug)
		}
		if err := zombie.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		for _, slug := range controlplanetest.Slugs("held", budget-1) {
			p.Settled(slug)
		}
	})
	if seen := stop(); seen.err != nil || seen.most > budget {
		t.Errorf("Manor had up to %d sessions of %d (%v):\n%s", seen.most, budget, seen.err, seen.over)
	}
}

// purge drops tenants, all at the same time.
func purge(t *testing.T, p *controlplanetest.Plane, slugs []string) {
	t.Helper()
	for _, slug := range slugs {
		if _, err := p.DeleteTenant(t.Context(), slug, false); err != nil {
			t.Fatal(err)
		}
	}
	for _, slug := range slugs {
		p.Settled(slug)
		if _, err := p.PurgeTenant(t.Context(), slug, slug, false); err != nil {
			t.Fatal(err)
		}
	}
	catalog := p.Catalog()
	p.Eventually("the tenants are gone", func() (gone bool, err error) {
		err = catalog.QueryRow(t.Context(), "SELECT NOT EXISTS (SELECT FROM tenants WHERE NOT settled OR state <> 'deleted')").Scan(&gone)
		return gone, err
	})
}

// create asks for tenants with databases of their own and does not wait for them.
func create(t *testing.T, p *controlplanetest.Plane, name string, n int) {
	t.Helper()
	var wanted []controlplane.NewTenant
	for _, slug := range controlplanetest.Slugs(name, n) {
		wanted = append(wanted, controlplane.NewTenant{Slug: slug, Isolation: controlplane.IsolationDatabase})
	}
	if _, err := p.CreateTenants(t.Context(), wanted, false); err != nil {
		t.Fatal(err)
	}
}
