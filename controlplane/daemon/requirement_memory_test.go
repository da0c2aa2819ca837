package daemon_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/pgtest"
)

const mebibyte = 1 << 20

// versions are n versions that hardly do anything.
func versions(n int) map[string]string {
	files := map[string]string{}
	for v := 1; v <= n; v++ {
		files[fmt.Sprintf("%03d_version.sql", v)] = fmt.Sprintf("SELECT %d;\n", v)
	}
	return files
}

// TestRequirement14MemoryOfAWorkerIsBoundedAndFlat over many tenants and 200
// versions: a worker of its own, in shared databases of up to a thousand.
func TestRequirement14MemoryOfAWorkerIsBoundedAndFlat(t *testing.T) {
	t.Parallel()
	n, databases := sized(160, 10_000), sized(2, 10)
	p := controlplanetest.Open(t, controlplanetest.Options{Idle: true})
	server := pgtest.NewServer(t, devpg.Config{})
	p.AddServer("one", server)
	one := 1
	if _, err := p.SetCluster(t.Context(), "one", controlplane.ClusterChange{Density: &one}); err != nil {
		t.Fatal(err)
	}
	p.Working(func() {
		for _, model := range p.Create(controlplane.NewTenant{}, controlplanetest.Slugs("acme", databases)...) {
			p.Like(server, model, n/databases-1)
		}
	})
	p.Push("v200", versions(200))
	worker := p.Worker()
	began := time.Now()
	id := begin(t, p, controlplane.NewRollout{Release: "v200"})
	var sizes []int64
	for {
		r, err := p.ShowRollout(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if r.State.Resting() {
			if r.State != controlplane.RolloutSucceeded || r.Counts[controlplane.TargetSucceeded] != n {
				t.Fatalf("the rollout is %s: %s", r.State, r.Counts)
			}
			break
		}
		if r.Counts.Done() > 0 {
			sizes = append(sizes, resident(t, worker))
		}
		pause(t.Context(), 100*time.Millisecond)
	}
	t.Logf("%d tenants × 200 versions took %s", n, time.Since(began).Round(time.Second))
	flat(t, sizes)
}

// resident is the memory that a process has, in bytes.
func resident(t *testing.T, process *os.Process) int64 {
	t.Helper()
	out, err := exec.Command("ps", "-o", "rss=", "-p", strconv.Itoa(process.Pid)).Output()
	if err != nil {
		t.Fatalf("ps: %v", err)
	}
	kilobytes, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil {
		t.Fatalf("ps says %q", out)
	}
	return kilobytes * 1024
}

// flat checks the memory of a worker over a rollout: no more than 150 MiB, and
// in the last quarter no more than in the second, but for what comes and goes.
func flat(t *testing.T, sizes []int64) {
	t.Helper()
	if len(sizes) < 8 {
		t.Fatalf("it was seen only %d times", len(sizes))
	}
	quarter := len(sizes) / 4
	early, late := median(sizes[quarter:2*quarter]), median(sizes[3*quarter:])
	t.Logf("resident: %d MiB at most, %d MiB in the second quarter, %d MiB in the last", slices.Max(sizes)/mebibyte, early/mebibyte, late/mebibyte)
	if most := slices.Max(sizes); most > 150*mebibyte {
		t.Errorf("the worker had %d MiB", most/mebibyte)
	}
	if late > early+early/5 {
		t.Errorf("the worker grew from %d to %d MiB", early/mebibyte, late/mebibyte)
	}
}

func median(sizes []int64) int64 {
	sorted := slices.Sorted(slices.Values(sizes))
	return sorted[len(sorted)/2]
}

// goroutines counts those that were started under a label, without River's:
// their number depends on who leads.
func goroutines(t *testing.T, label string) (n int) {
	t.Helper()
	var text strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&text, 1); err != nil {
		t.Fatal(err)
	}
	_, groups, _ := strings.Cut(text.String(), "\n") // the first line is their total
	for group := range strings.SplitSeq(groups, "\n\n") {
		if !strings.Contains(group, `"plane":"`+label+`"`) || strings.Contains(group, "riverqueue") {
			continue
		}
		count, _, _ := strings.Cut(strings.TrimSpace(group), " ")
		same, err := strconv.Atoi(count)
		if err != nil {
			t.Fatalf("a group of goroutines begins with %q", count)
		}
		n += same
	}
	return n
}

// TestRequirement14NothingIsKeptOfADatabaseThatIsDoneWith, neither a session on
// the cluster nor a goroutine: there may be ten thousand.
func TestRequirement14NothingIsKeptOfADatabaseThatIsDoneWith(t *testing.T) {
	t.Parallel()
	pprof.Do(t.Context(), pprof.Labels("plane", t.Name()), func(context.Context) {
		p := controlplanetest.New(t)
		p.Push("v1", controlplanetest.First())
		like := controlplane.NewTenant{Isolation: controlplane.IsolationDatabase}
		p.Create(like, "first")
		before := goroutines(t, t.Name())
		var databases []string
		for _, tenant := range p.Create(like, controlplanetest.Slugs("own", 6)...) {
			databases = append(databases, tenant.Placement.Database)
		}
		p.Push("v2", controlplanetest.Second())
		ends(t, p.Rollout(controlplane.NewRollout{Release: "v2"}), controlplane.RolloutSucceeded, controlplane.Counts{controlplane.TargetSucceeded: 7})
		superuser := controlplanetest.Superuser(t, pgtest.Server(t), "postgres")
		p.Eventually("nothing is kept", func() (bool, error) {
			var sessions int
			err := superuser.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = ANY ($1)", databases).Scan(&sessions)
			return sessions == 0 && goroutines(t, t.Name()) < before+len(databases)/2, err
		})
	})
}
