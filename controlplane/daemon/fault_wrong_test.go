package daemon_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/pgtest"
)

// astray works on a rollout while the address of cluster "one" leads somewhere
// else, and returns when it has been tried there. Nothing may have been written
// on the wrong servers.
func (f *fleet) astray(id string, lead func(), wrong ...controlplanetest.Server) {
	f.t.Helper()
	before := make([][]string, len(wrong))
	for i, s := range wrong {
		before[i] = f.written(s, f.databases(s)...)
	}
	lead()
	f.Working(func() {
		f.Eventually("all has been tried", func() (bool, error) {
			r, err := f.ShowRollout(f.t.Context(), id)
			return err == nil && (r.State.Resting() || f.alarm(id) != nil), err
		})
	})
	r, err := f.ShowRollout(f.t.Context(), id)
	if err != nil || r.Counts[controlplane.TargetSucceeded] > 0 || r.Counts.Sum() != len(f.tenants) {
		f.t.Errorf("on a wrong cluster the rollout is %+v, %v", r, err)
	}
	for i, s := range wrong {
		if diff := cmp.Diff(before[i], f.written(s, f.databases(s)...)); diff != "" {
			f.t.Errorf("a wrong cluster was written to (-before +after):\n%s", diff)
		}
	}
}

// mended finishes a rollout whose clusters are back behind their addresses;
// what failed for that is tried again.
func (f *fleet) mended(id string) {
	f.t.Helper()
	f.Working(func() {
		f.Eventually("the alarm ends", f.hastened(id, func(a *controlplane.Alarm) bool { return a == nil }))
		f.finishes(id)
		if r, err := f.ShowRollout(f.t.Context(), id); err != nil || r.State != controlplane.RolloutFailed {
			return
		}
		if _, err := f.RetryRollout(f.t.Context(), id); err != nil {
			f.t.Fatal(err)
		}
		f.finishes(id)
	})
	f.proves(id, controlplane.RolloutSucceeded, controlplane.TargetSucceeded, "4", 1, 0)
}

func TestTwoClustersSwappedBehindTheirAddressesAreRefused(t *testing.T) {
	t.Parallel()
	one, two := controlplanetest.Proxy(t, pgtest.NewServer(t, devpg.Config{})), controlplanetest.Proxy(t, pgtest.NewServer(t, devpg.Config{}))
	f := newPairOn(t, one, two, controlplane.NewTenant{}, 2)
	id := f.begin(controlplane.NewRollout{})
	lead := func(first, second controlplanetest.Proxied) {
		one.Proxy.Lead(controlplanetest.HostPort(first.Server))
		two.Proxy.Lead(controlplanetest.HostPort(second.Server))
		one.Proxy.Cut()
		two.Proxy.Cut()
	}
	f.astray(id, func() { lead(two, one) }, one, two)
	lead(one, two)
	f.mended(id)
}

// copyOf starts a server on a copy of another one's data, which has the same
// roles, passwords, databases and schemas.
func copyOf(t *testing.T, server *devpg.Server, dir string) *devpg.Server {
	t.Helper()
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	other := passable(t)
	out, err := exec.Command("cp", "-a", dir+"/.", other).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	memory := `{"password": "` + server.Password() + `"}` // the same one, and no port
	if err := os.WriteFile(filepath.Join(other, "devpg.json"), []byte(memory), 0o600); err != nil {
		t.Fatal(err)
	}
	return pgtest.NewServer(t, devpg.Config{Dir: other})
}

// passable is a temporary folder that the server's user, another one where the
// tests run as root, can get to.
func passable(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "manor-fault-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "pg")
}

func TestCopyOfAClusterWithOtherMarkersIsRefused(t *testing.T) {
	t.Parallel()
	for name, others := range map[string][]string{
		"of another catalog": {"incarnation = 'staging'", "incarnation = 'staging'", "incarnation = 'staging'"},
		"of other homes":     {"generation = generation + 1", "generation = generation - 1", "tenant_id = 'other'"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := passable(t)
			server := pgtest.NewServer(t, devpg.Config{Dir: dir})
			proxied := controlplanetest.Proxy(t, server)
			f := newFleet(t, controlplanetest.Options{}, proxied, controlplane.NewTenant{}, len(others))
			id := f.begin(controlplane.NewRollout{})
			wrong := copyOf(t, server, dir)
			superuser := controlplanetest.Superuser(t, wrong, f.tenants[0].Placement.Database)
			for i, other := range others {
				f.exec(superuser, "UPDATE manor.marker SET "+other+" WHERE tenant_id = $1", f.tenants[i].ID)
			}
			lead := func(to controlplanetest.Server) {
				proxied.Proxy.Lead(controlplanetest.HostPort(to))
				proxied.Proxy.Cut()
			}
			f.astray(id, func() { lead(wrong) }, wrong)
			lead(server)
			f.mended(id)
		})
	}
}
