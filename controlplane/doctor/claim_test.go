package doctor_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/client"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/controlplane/daemon"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/pgtest"
)

// copied stops the control plane, copies its catalog, and returns how a process
// on the copy is set up. The original goes on when a test starts it again.
func (f *fixture) copied() daemon.Config {
	f.t.Helper()
	if err := f.Daemon.Stop(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	config := f.Config
	config.Catalog = controlplane.NewSecret(pgtest.Database(f.t))
	conn, err := pgx.Connect(f.t.Context(), pgtest.Server(f.t).URL("postgres"))
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close(f.t.Context())
	for _, sql := range []string{"DROP DATABASE " + nameOf(f.t, config), "CREATE DATABASE " + nameOf(f.t, config) + " TEMPLATE " + nameOf(f.t, f.Config)} {
		if _, err := conn.Exec(f.t.Context(), sql); err != nil {
			f.t.Fatal(err)
		}
	}
	return config
}

func nameOf(t *testing.T, c daemon.Config) string {
	t.Helper()
	u, err := url.Parse(c.Catalog.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(u.Path, "/")
}

// restart starts the original again.
func (f *fixture) restart() { f.Client = client.New("http://manor", f.Start().Transport()) }

// on is a fixture whose control plane is another one, on the same cluster.
func (f *fixture) on(config daemon.Config) *fixture {
	f.t.Helper()
	other := &fixture{Plane: &controlplanetest.Plane{}, t: f.t, server: f.server}
	*other.Plane = *f.Plane
	other.Config = config
	other.restart()
	return other
}

func (f *fixture) claim(config daemon.Config, n controlplane.NewClaim) *controlplane.Claim {
	f.t.Helper()
	claim, err := daemon.ClaimCatalog(f.t.Context(), config, n)
	if err != nil {
		f.t.Fatal(err)
	}
	return claim
}

// third is a release with one version more than the second.
func third() map[string]string {
	files := controlplanetest.Second()
	files["5_more.sql"] = "CREATE TABLE more ();\n"
	return files
}

func isRefused(t *testing.T, what string, err error, says string) {
	t.Helper()
	e, ok := errors.AsType[*controlplane.Error](err)
	if !ok || e.Code != controlplane.Refused || !strings.Contains(e.Message, says) {
		t.Errorf("%s: %v; want it refused with %q", what, err, says)
	}
}

func TestCopyOfTheCatalogWorksOnlyOnceItWasClaimedAndThenTheOriginalDoesNot(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.Create(controlplane.NewTenant{}, "acme", "globex")
	f.Create(controlplane.NewTenant{Isolation: controlplane.IsolationDatabase}, "soylent")
	config := f.copied()

	// The original goes on: the copy falls behind its tenants, in versions and in epochs.
	f.restart()
	f.inCatalog(`SELECT setval('epoch', 1000)`)
	f.Push("v2", controlplanetest.Second())
	if r := f.Rollout(controlplane.NewRollout{Release: "v2"}); r.State != controlplane.RolloutSucceeded {
		t.Fatalf("the original's rollout is %s", r.State)
	}
	f.Create(controlplane.NewTenant{}, "late")

	reading := config
	reading.Workers = false
	d, err := daemon.New(t.Context(), reading)
	if err != nil {
		t.Fatal(err)
	}
	onlyReads := client.New("http://manor", d.Transport())
	if status, err := onlyReads.Status(t.Context()); err != nil || status.Tenants != 3 {
		t.Errorf("the copy's status is %+v, %v", status, err)
	}
	_, err = onlyReads.CreateTenants(t.Context(), []controlplane.NewTenant{{Slug: "hooli"}}, false)
	isRefused(t, "create in the copy", err, "is a copy")
	_, err = onlyReads.SuspendTenant(t.Context(), "acme", false)
	isRefused(t, "suspend in the copy", err, "is a copy")
	if err := d.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if d, err = daemon.New(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	isRefused(t, "work on the copy", d.Start(t.Context()), "is a copy")
	if err := d.Stop(t.Context()); err != nil {
		t.Error(err)
	}

	_, err = daemon.ClaimCatalog(t.Context(), config, controlplane.NewClaim{Confirm: "something"})
	isRefused(t, "claim without confirmation", err, "takes the tenants")
	if dry := f.claim(config, controlplane.NewClaim{DryRun: true}); dry.Claimed != 3 || dry.Strangers != 1 || dry.Done {
		t.Errorf("a dry run: %+v", dry)
	}
	if v := f.verify(true); v.Agree != 4 {
		t.Errorf("after a dry run the original's tenants: %+v", v)
	}
	claim := f.claim(config, controlplane.NewClaim{Confirm: nameOf(t, config)})
	if claim.Claimed != 3 || claim.Tenants != 3 || !claim.Done || len(claim.Left)+len(claim.Unreached) > 0 {
		t.Fatalf("the claim: %+v", claim)
	}

	// The original is locked out by the tenants' markers.
	f.Push("v3", third())
	r, err := f.StartRollout(t.Context(), controlplane.NewRollout{Release: "v3"})
	if err != nil {
		t.Fatal(err)
	}
	f.Eventually("the original is locked out", func() (bool, error) {
		met := f.strings(f.Catalog(), `SELECT DISTINCT failure ->> 'sqlstate' FROM targets WHERE rollout_id = $1 AND failure IS NOT NULL`, r.ID)
		return slices.Equal(met, []string{pg.StateForeign}), nil
	})

	// The copy works, on what it finds.
	other := f.on(config)
	v := other.verify(false)
	if diff := cmp.Diff([]string{`acme "2" "4" "4" true`, `globex "2" "4" "4" true`, `soylent "2" "4" "4" true`}, differences(v)); diff != "" {
		t.Errorf("what the copy had to learn (-want +got):\n%s", diff)
	}
	other.Push("v3", third())
	if got := f.strings(f.Catalog(), `SELECT slug FROM targets WHERE rollout_id = $1 AND version = '5'`, r.ID); len(got) > 0 {
		t.Errorf("the original has migrated %v", got)
	}
	if r := other.Rollout(controlplane.NewRollout{Release: "v3"}); r.State != controlplane.RolloutSucceeded {
		t.Errorf("the copy's rollout is %s: %s", r.State, r.Counts)
	}
	if got := told(other.examine(false)); !slices.Equal(got, []string{"home_without_tenant late " + f.placement("late").Schema}) {
		t.Errorf("the copy's doctor finds %v", got)
	}
}

// logins lists a tenant's logins that may log in, with their verifiers.
func (f *fixture) logins(p controlplane.Placement) []string {
	f.t.Helper()
	superuser := controlplanetest.Superuser(f.t, f.server, "postgres")
	defer superuser.Close(context.WithoutCancel(f.t.Context()))
	return f.strings(superuser, `SELECT rolname || ' ' || rolpassword FROM pg_authid WHERE rolcanlogin AND rolname = ANY($1) ORDER BY 1`, p.Logins[:])
}

// met waits until work on a tenant was tried, and returns what was said to it;
// nothing, if it was done.
func (f *fixture) met(slug string) (failure controlplane.Failure) {
	f.t.Helper()
	conn := f.Catalog()
	defer conn.Close(context.WithoutCancel(f.t.Context()))
	f.Eventually("something is said of "+slug, func() (tried bool, err error) {
		err = conn.QueryRow(f.t.Context(), `SELECT settled OR failure IS NOT NULL, coalesce(failure, '{}') FROM tenants WHERE slug = $1`, slug).
			Scan(&tried, &failure)
		return tried, err
	})
	return failure
}

func TestClaimKeepsTheCatalogThatWasCopiedFromDoingAnythingToTheTenants(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, f *fixture, like controlplane.NewTenant) {
		f.Create(like, "acme", "globex", "hooli")
		f.Exec("acme", `INSERT INTO notes VALUES (1, 'kept', 1)`)
		f.inCatalog(`UPDATE tenants SET settled = false, state = 'provisioning', updated_at = now() - interval '1 hour' WHERE slug = 'hooli'`) // for the original it is on its way still
		home := map[string]controlplane.Placement{}
		for _, slug := range []string{"acme", "globex", "hooli"} {
			home[slug] = f.placement(slug)
		}
		config := f.copied()
		if claim := f.claim(config, controlplane.NewClaim{Confirm: nameOf(t, config)}); claim.Claimed != 3 {
			t.Fatalf("the claim: %+v", claim)
		}
		before := map[string][]string{}
		for slug, p := range home {
			before[slug] = f.logins(p)
		}

		f.restart()
		_, suspended := f.SuspendTenant(t.Context(), "globex", false)
		_, deleted := f.DeleteTenant(t.Context(), "acme", false)
		if err := errors.Join(suspended, deleted); err != nil {
			t.Fatal(err)
		}
		said := func(what, slug string) {
			t.Helper()
			if got := f.met(slug); !strings.Contains(got.Message, "tenant "+slug+" belongs to another catalog") || !strings.Contains(got.Hint, "catalog claim") {
				t.Errorf("%s: %+v", what, got)
			}
			if diff := cmp.Diff(before[slug], f.logins(home[slug])); diff != "" {
				t.Errorf("%s changed the logins of %s (-want +got):\n%s", what, slug, diff)
			}
		}
		said("suspend", "globex")
		said("delete", "acme")
		said("provisioning", "hooli")
		if _, err := f.PurgeTenant(t.Context(), "acme", "acme", false); err != nil {
			t.Fatal(err)
		}
		said("purge", "acme")
		inside := controlplanetest.Superuser(t, f.server, home["acme"].Database)
		if got := f.strings(inside, `SELECT body FROM `+pg.Quote(home["acme"].Schema)+`.notes`); !slices.Equal(got, []string{"kept"}) {
			t.Errorf("after the original's purge the home holds %v", got)
		}
		_ = inside.Close(t.Context())

		// Those that the original has not in hand any more are the copy's to work on.
		if err := f.Daemon.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		other := f.on(config)
		if _, err := other.DeleteTenant(t.Context(), "acme", false); err != nil {
			t.Fatal(err)
		}
		if got := other.Settled("acme"); got.Failure != nil || len(f.logins(home["acme"])) > 0 {
			t.Errorf("deleted by the copy: %+v, %v", got, f.logins(home["acme"]))
		}
		if _, err := other.PurgeTenant(t.Context(), "acme", "acme", false); err != nil {
			t.Fatal(err)
		}
		if got := other.met("acme"); got.Message != "" {
			t.Errorf("purged by the copy: %+v", got)
		}
	})
}

// TestRemoveDropsNoHomeThatTheCatalogDoesNotKnow: the catalog was restored from
// a backup that is older than its tenants.
func TestRemoveDropsNoHomeThatTheCatalogDoesNotKnow(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, f *fixture, like controlplane.NewTenant) {
		f.Create(like, "acme", "globex")
		acme := f.placement("acme")
		for _, table := range []string{"placements", "credentials", "tenants"} {
			f.inCatalog("DELETE FROM " + table)
		}
		f.inCatalog("UPDATE databases SET homes = 0")
		refused := func(what, names string) {
			t.Helper()
			before := f.everything()
			for _, dryRun := range []bool{true, false} {
				err := f.RemoveCluster(t.Context(), "one", dryRun)
				isRefused(t, what, err, "holds homes that this catalog does not know")
				if e, ok := errors.AsType[*controlplane.Error](err); ok && (!strings.Contains(e.Message, names) || !strings.Contains(e.Hint, "manor doctor")) {
					t.Errorf("%s: %s (%s)", what, e.Message, e.Hint)
				}
			}
			if diff := cmp.Diff(before, f.everything()); diff != "" {
				t.Errorf("%s changed (-want +got):\n%s", what, diff)
			}
		}
		names := acme.Schema + " (acme)"
		if like.Isolation == controlplane.IsolationDatabase {
			names = "" // whichever database comes first
		}
		refused("with homes", names)
		for _, database := range f.strings(f.Catalog(), `SELECT name FROM databases`) {
			f.onCluster(database, `DELETE FROM manor.marker`)
		}
		refused("with homes that have no marker", "t_")
		for _, database := range f.strings(f.Catalog(), `SELECT name FROM databases`) {
			f.onCluster(database, `DO $$ DECLARE s text; BEGIN FOR s IN SELECT nspname FROM pg_namespace WHERE nspname ~ '^t_' LOOP EXECUTE format('DROP SCHEMA %I CASCADE', s); END LOOP; END $$`)
		}
		if err := f.RemoveCluster(t.Context(), "one", false); err != nil {
			t.Errorf("without homes: %v", err)
		}
		superuser := controlplanetest.Superuser(t, f.server, "postgres")
		if left := f.strings(superuser, `SELECT datname::text FROM pg_database WHERE datname ~ '^(t_|manor_shared_)'`); len(left) > 0 {
			t.Errorf("without homes, %v are left", left)
		}
	})
}

// mortal makes connections that end a claim at the nth write to a cluster, as
// the end of its process would.
func mortal(n int64, die context.CancelFunc) func(ctx context.Context, network, address string) (net.Conn, error) {
	dead, end := context.WithCancel(context.Background())
	var writes atomic.Int64
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(dead, func() { _ = conn.Close() })
		return &mortalConn{conn, func() bool { return writes.Add(1) >= n }, func() { end(); die() }}, nil
	}
}

type mortalConn struct {
	net.Conn
	last func() bool
	die  func()
}

func (c *mortalConn) Write(b []byte) (int, error) {
	if c.last() {
		c.die()
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

func TestClaimThatIsInterruptedAnywhereGoesOn(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.Create(controlplane.NewTenant{}, "acme")
	f.Create(controlplane.NewTenant{Isolation: controlplane.IsolationDatabase}, "soylent", "tyrell")
	config := f.copied()
	for n := int64(1); ; n++ {
		ctx, die := context.WithCancel(t.Context())
		doomed := config
		doomed.Dial = mortal(n, die)
		claim, err := daemon.ClaimCatalog(ctx, doomed, controlplane.NewClaim{Confirm: nameOf(t, config)})
		die()
		if err == nil && claim.Done {
			t.Logf("interrupted at %d writes", n-1)
			break
		}
		status, err := daemon.CatalogStatus(t.Context(), config)
		if err != nil || !status.Copy {
			t.Fatalf("interrupted at write %d, the catalog is %+v, %v", n, status, err)
		}
	}
	catalog, err := pgx.Connect(t.Context(), config.Catalog.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	defer catalog.Close(t.Context())
	incarnation := f.strings(catalog, `SELECT value FROM settings WHERE key = 'incarnation'`)
	for _, database := range f.strings(catalog, `SELECT name FROM databases`) {
		inside := controlplanetest.Superuser(t, f.server, database)
		if got := f.strings(inside, `SELECT DISTINCT incarnation FROM manor.marker`); !slices.Equal(got, incarnation) {
			t.Errorf("the markers of %s name %v, not %v", database, got, incarnation)
		}
	}
	other := f.on(config)
	if v := other.verify(true); v.Agree != 3 {
		t.Errorf("afterwards: %+v", v)
	}
	if got := other.examine(false); len(got) > 0 {
		t.Errorf("afterwards: %v", told(got))
	}
}

func TestClaimThatCannotReachAClusterLeavesTheCopyOneUnlessToldOtherwise(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.Create(controlplane.NewTenant{Cluster: "one"}, "acme")
	two := pgtest.NewServer(t, devpg.Config{})
	f.AddServer("two", two)
	f.Create(controlplane.NewTenant{Cluster: "two"}, "globex")
	config := f.copied()
	confirmed := controlplane.NewClaim{Confirm: nameOf(t, config)}
	if err := two.Crash(); err != nil {
		t.Fatal(err)
	}
	claim := f.claim(config, confirmed)
	if claim.Done || claim.Claimed != 1 || len(claim.Unreached) != 1 || claim.Unreached[0].Cluster != "two" {
		t.Errorf("without cluster two: %+v", claim)
	}
	if status, err := daemon.CatalogStatus(t.Context(), config); err != nil || !status.Copy {
		t.Errorf("the catalog is %+v, %v", status, err)
	}
	confirmed.Partly = true
	first := f.claim(config, confirmed)
	if !first.Done || first.Claimed != 1 || first.Incarnation != claim.Incarnation {
		t.Errorf("partly: %+v", first)
	}
	if err := two.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if rest := f.claim(config, confirmed); !rest.Done || rest.Claimed != 2 || rest.Incarnation != claim.Incarnation {
		t.Errorf("the rest: %+v", rest)
	}
	if v := f.on(config).verify(true); v.Agree != 2 {
		t.Errorf("afterwards: %+v", v)
	}
}

func TestClaimIsRefusedWhileWorkersAreAtWork(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.inCatalog(`INSERT INTO workers (id) VALUES ('host/1') ON CONFLICT DO NOTHING`)
	_, err := daemon.ClaimCatalog(t.Context(), f.Config, controlplane.NewClaim{Confirm: nameOf(t, f.Config)})
	isRefused(t, "claim under a worker", err, "at work")
}
