package daemon_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/faultproxy"
	"github.com/manorhq/manor/internal/pgtest"
)

// newPair is a fleet on two clusters, n tenants on each: "one" is the server
// given, for the test to harm, and "two" is the shared one.
func newPair(t *testing.T, harmed controlplanetest.Server, like controlplane.NewTenant, n int) *fleet {
	return newPairOn(t, harmed, pgtest.Server(t), like, n)
}

func newPairOn(t *testing.T, one, two controlplanetest.Server, like controlplane.NewTenant, n int) *fleet {
	like.Cluster = "one"
	f := newFleet(t, controlplanetest.Options{}, one, like, n)
	f.second = two
	f.AddServer("two", two)
	like.Cluster = "two"
	f.Working(func() { f.tenants = append(f.tenants, f.Create(like, controlplanetest.Slugs("beta", n)...)...) })
	return f
}

// A trouble is of a cluster, and no tenant can do anything about it.
type trouble struct {
	harm  func(f *fleet, server *devpg.Server, proxy *faultproxy.Proxy) (mend func())
	state string // SQLSTATE of the alarm
	tries int    // before it is mended
}

var troubles = map[string]trouble{
	"cannot be reached":      {harm: unreachable, tries: 15}, // more often than a target may come back
	"does not answer":        {harm: silent, tries: 1},
	"takes no writes":        {harm: readOnly, state: "25006", tries: 2},
	"has a full disk":        {harm: diskFull, state: "53100", tries: 2},
	"does not let us log in": {harm: closed, state: "28000", tries: 2},
}

func unreachable(_ *fleet, _ *devpg.Server, proxy *faultproxy.Proxy) (mend func()) {
	proxy.Refuse()
	proxy.Cut()
	return proxy.Heal
}

func silent(_ *fleet, _ *devpg.Server, proxy *faultproxy.Proxy) (mend func()) {
	proxy.BlackHole(faultproxy.BothWays)
	return func() { proxy.Heal(); proxy.Cut() }
}

func readOnly(f *fleet, server *devpg.Server, _ *faultproxy.Proxy) (mend func()) {
	set := func(statement string) {
		superuser := controlplanetest.Superuser(f.t, server, "postgres")
		defer superuser.Close(f.t.Context())
		f.exec(superuser, statement)
		f.exec(superuser, "SELECT pg_reload_conf()")
	}
	set("ALTER SYSTEM SET default_transaction_read_only = on")
	return func() { set("ALTER SYSTEM RESET default_transaction_read_only") }
}

// diskFull puts what the tenants' next line would be written to onto a device
// that has no space left, ever: PostgreSQL hears it from the kernel.
func diskFull(f *fleet, server *devpg.Server, _ *faultproxy.Proxy) (mend func()) {
	var files []string
	for _, tenant := range f.tenants {
		if tenant.Cluster != "one" {
			continue
		}
		superuser := controlplanetest.Superuser(f.t, server, tenant.Placement.Database)
		var data, file string
		err := superuser.QueryRow(f.t.Context(), "SELECT current_setting('data_directory'), pg_relation_filepath($1::text::regclass)",
			pgx.Identifier{tenant.Placement.Schema, "ledger"}.Sanitize()).Scan(&data, &file)
		_ = superuser.Close(f.t.Context())
		file = filepath.Join(data, file)
		if err := errors.Join(err, os.Rename(file, file+".kept"), os.Symlink("/dev/full", file)); err != nil {
			f.t.Fatal(err)
		}
		files = append(files, file)
	}
	return func() {
		for _, file := range files {
			if err := os.Rename(file+".kept", file); err != nil {
				f.t.Fatal(err)
			}
		}
		f.endSessions(server) // they have the device open
	}
}

// endSessions ends all sessions on a server but the superuser's it returns.
func (f *fleet) endSessions(server *devpg.Server) (superuser *pgx.Conn) {
	f.t.Helper()
	superuser = controlplanetest.Superuser(f.t, server, "postgres")
	f.exec(superuser, "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
	return superuser
}

// closed keeps the owners of the cluster's databases out.
func closed(f *fleet, server *devpg.Server, _ *faultproxy.Proxy) (mend func()) {
	superuser := controlplanetest.Superuser(f.t, server, "postgres")
	rows, _ := superuser.Query(f.t.Context(), "SELECT DISTINCT datdba::regrole::text FROM pg_database WHERE datdba <> 10")
	owners, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(owners) == 0 {
		f.t.Fatalf("owners %v: %v", owners, err)
	}
	alter := func(option string) {
		for _, owner := range owners {
			f.exec(superuser, "ALTER ROLE "+owner+" "+option)
		}
	}
	alter("NOLOGIN")
	return func() { alter("LOGIN") }
}

func TestClusterInTroubleIsPausedWithAnAlarmWhileOthersFinish(t *testing.T) {
	t.Parallel()
	for name, trouble := range troubles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := pgtest.NewServer(t, devpg.Config{})
			proxied := controlplanetest.Proxy(t, server)
			f := newPair(t, proxied, controlplane.NewTenant{}, 3)
			id := f.begin(controlplane.NewRollout{})
			mend := trouble.harm(f, server, proxied.Proxy)
			f.Working(func() {
				f.alarmed(id, trouble)
				mend()
				f.Eventually("the alarm ends", f.hastened(id, func(a *controlplane.Alarm) bool { return a == nil }))
				f.finishes(id)
			})
			f.proves(id, controlplane.RolloutSucceeded, controlplane.TargetSucceeded, "4", 1, 0)
			if c, err := f.ShowCluster(t.Context(), "one"); err != nil || c.Flow.Alarm != nil {
				t.Errorf("the alarm is still there: %+v, %v", c, err)
			}
		})
	}
}

// alarmed waits until a cluster in trouble has been tried often enough and the
// other one is done; it compares with what must be so then.
func (f *fleet) alarmed(id string, trouble trouble) {
	f.t.Helper()
	f.Eventually("the trouble is met often enough", f.hastened(id, func(a *controlplane.Alarm) bool { return a != nil && a.Tries >= trouble.tries }))
	half := len(f.tenants) / 2
	f.Eventually("the other cluster is done", func() (bool, error) {
		r, err := f.ShowRollout(f.t.Context(), id)
		return err == nil && r.Counts[controlplane.TargetSucceeded] == half, err
	})
	r, err := f.ShowRollout(f.t.Context(), id)
	if err != nil {
		f.t.Fatal(err)
	}
	if r.State != controlplane.RolloutRunning || r.Counts.Done() != half {
		f.t.Errorf("the rollout is %s: %s", r.State, r.Counts)
	}
	if alarm := f.alarm(id); alarm == nil || alarm.SQLState != trouble.state || alarm.Message == "" {
		f.t.Errorf("the alarm is %+v, want SQLSTATE %q", alarm, trouble.state)
	}
}

// occupy takes all connections of a server, those kept for superusers included.
func (f *fleet) occupy(server *devpg.Server) (release func()) {
	f.t.Helper()
	taken := []*pgx.Conn{f.endSessions(server)}
	for {
		conn, err := pgx.Connect(f.t.Context(), server.URL("postgres"))
		if refused, ok := errors.AsType[*pgconn.PgError](err); ok && refused.Code == "53300" {
			break
		}
		if err != nil {
			f.t.Fatal(err)
		}
		taken = append(taken, conn)
	}
	return func() {
		for _, conn := range taken {
			_ = conn.Close(f.t.Context())
		}
	}
}

func TestTargetsWaitWhileAClusterHasNoConnectionLeft(t *testing.T) {
	t.Parallel()
	forEachIsolation(t, func(t *testing.T, like controlplane.NewTenant) {
		server := pgtest.NewServer(t, devpg.Config{Settings: map[string]string{"max_connections": "20"}})
		f := newPair(t, server, like, 3)
		id := f.begin(controlplane.NewRollout{})
		release := f.occupy(server)
		f.Working(func() {
			for range 15 { // more often than a target may come back
				f.Eventually("the other cluster is done, and this one waits", func() (bool, error) {
					r, err := f.ShowRollout(t.Context(), id)
					return err == nil && r.Counts[controlplane.TargetSucceeded] == 3 && r.Counts[controlplane.TargetDeferred] == 3, err
				})
				f.hasten(id)
			}
			release()
			f.finishes(id)
		})
		f.proves(id, controlplane.RolloutSucceeded, controlplane.TargetSucceeded, "4", 1, 0)
	})
}

func TestRollbackIsFinishedWhenAClusterThatIsDownComesBack(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t, devpg.Config{})
	proxied := controlplanetest.Proxy(t, server)
	f := newPair(t, proxied, controlplane.NewTenant{}, 3)
	id := f.begin(controlplane.NewRollout{})
	f.Working(func() {
		f.finishes(id)
		mend := unreachable(f, server, proxied.Proxy)
		if _, err := f.RollbackRollout(t.Context(), id, controlplane.RollbackRequest{}); err != nil {
			t.Fatal(err)
		}
		f.Eventually("the other cluster is done, and this one has an alarm", func() (bool, error) {
			r, err := f.ShowRollout(t.Context(), id)
			return err == nil && r.Counts[controlplane.TargetRolledBack] == 3 && f.alarm(id) != nil, err
		})
		if r, err := f.ShowRollout(t.Context(), id); err != nil || r.State != controlplane.RolloutRollingBack || r.Counts.Done() != 3 {
			t.Errorf("the rollout is %s: %s, %v", r.State, r.Counts, err)
		}
		mend()
		f.Eventually("the alarm ends", f.hastened(id, func(a *controlplane.Alarm) bool { return a == nil }))
		f.finishes(id)
	})
	f.proves(id, controlplane.RolloutRolledBack, controlplane.TargetRolledBack, "2", 1, 1)
}

// TestTenantWhoseOwnTroubleLooksLikeItsClustersHoldsNobodyUp: its login is
// refused, and nobody else's.
func TestTenantWhoseOwnTroubleLooksLikeItsClustersHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t, devpg.Config{})
	f := newFleet(t, controlplanetest.Options{}, server, controlplane.NewTenant{Isolation: controlplane.IsolationDatabase}, 5)
	superuser := f.endSessions(server)
	f.exec(superuser, "DO $$ BEGIN EXECUTE (SELECT format('ALTER ROLE %s NOLOGIN', datdba::regrole) FROM pg_database WHERE datname = '"+f.tenants[0].Placement.Database+"'); END $$")
	id := f.begin(controlplane.NewRollout{})
	f.Working(func() {
		f.Eventually("the others are done", func() (bool, error) {
			r, err := f.ShowRollout(t.Context(), id)
			return err == nil && r.Counts[controlplane.TargetSucceeded] == 4, err
		})
		if alarm := f.alarm(id); alarm != nil && alarm.Tenant != f.tenants[0].Slug {
			t.Errorf("the alarm is %+v", alarm)
		}
		f.Eventually("it is given up", f.hastened(id, func(*controlplane.Alarm) bool {
			done, err := f.rests(id)()
			return done && err == nil
		}))
	})
	f.failed(id, map[string]string{f.tenants[0].Slug: "not permitted to log in"})
	if alarm := f.alarm(id); alarm != nil {
		t.Errorf("the alarm is still there: %+v", alarm)
	}
}

// TestTenantThatMayHaveNoConnectionSlowsNobodyDown: the limit is its owner's,
// and waiting makes it no better.
func TestTenantThatMayHaveNoConnectionSlowsNobodyDown(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t, devpg.Config{})
	f := newFleet(t, controlplanetest.Options{}, server, controlplane.NewTenant{Isolation: controlplane.IsolationDatabase}, 4)
	superuser := f.endSessions(server)
	limit := func(n string) {
		f.exec(superuser, "DO $$ BEGIN EXECUTE (SELECT format('ALTER ROLE %s CONNECTION LIMIT "+n+"', datdba::regrole) FROM pg_database WHERE datname = '"+f.tenants[0].Placement.Database+"'); END $$")
	}
	limit("0")
	id := f.begin(controlplane.NewRollout{})
	catalog := f.Catalog()
	f.Working(func() {
		f.Eventually("the others are done, and it rests for long", func() (resting bool, err error) {
			err = catalog.QueryRow(t.Context(), `SELECT count(*) = 3 AND EXISTS (SELECT FROM targets WHERE slug = $1 AND status = 'deferred' AND not_before - updated_at > interval '3 s')
				FROM targets WHERE status = 'succeeded'`, f.tenants[0].Slug).Scan(&resting)
			return resting, err
		})
		if c, err := f.ShowCluster(t.Context(), "one"); err != nil || c.Flow.Pace < c.Flow.Ceiling/2 {
			t.Errorf("the pace is %d of %d, %v", c.Flow.Pace, c.Flow.Ceiling, err)
		}
		limit("-1")
		f.hasten(id)
		f.finishes(id)
	})
	f.proves(id, controlplane.RolloutSucceeded, controlplane.TargetSucceeded, "4", 1, 0)
}
