package daemon_test

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"testing"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/pgtest"
)

// benchTenants says how many tenants BenchmarkRollout has; default: 100.
const benchTenants = "MANOR_BENCH_TENANTS"

// BenchmarkRollout takes schema tenants of the sample application up by its
// last two versions, with one worker and with two, and back in between.
func BenchmarkRollout(b *testing.B) {
	n := 100
	if text := os.Getenv(benchTenants); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	p := controlplanetest.Open(b, controlplanetest.Options{Idle: true})
	p.AddServer("one", pgtest.Server(b))
	files := sample(b)
	last, before := files[len(files)-1], files[len(files)-3]
	p.Push("v1", upTo(b, before))
	p.Working(func() { p.Create(controlplane.NewTenant{}, controlplanetest.Slugs("acme", n)...) })
	p.Push("v2", upTo(b, last))
	for _, how := range []struct {
		workers int
		check   controlplane.Check
	}{{1, controlplane.CheckSchema}, {1, controlplane.CheckNone}, {2, controlplane.CheckSchema}, {2, controlplane.CheckNone}} {
		b.Run(fmt.Sprintf("workers=%d/check=%s", how.workers, how.check), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				working(p, how.workers, func() {
					b.StartTimer()
					r := p.Rollout(controlplane.NewRollout{Release: "v2", Check: how.check})
					b.StopTimer()
					if r.State != controlplane.RolloutSucceeded || r.Counts[controlplane.TargetSucceeded] != n {
						b.Fatalf("the rollout is %s: %s", r.State, r.Counts)
					}
					if _, err := p.RollbackRollout(b.Context(), r.ID, controlplane.RollbackRequest{}); err != nil {
						b.Fatal(err)
					}
					p.Rested(r.ID)
				})
				b.StartTimer()
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "tenants/s")
		})
	}
}

// working runs f while so many workers run.
func working(p *controlplanetest.Plane, workers int, f func()) {
	if workers == 0 {
		f()
		return
	}
	p.Working(func() { working(p, workers-1, f) })
}

// sample are the versions of the sample application's migrations, in order.
func sample(b *testing.B) []string {
	b.Helper()
	names, err := fs.Glob(os.DirFS("../../migrations/tenant"), "*.sql")
	if err != nil || len(names) < 3 {
		b.Fatalf("%d migrations, %v", len(names), err)
	}
	return names
}

// upTo are the files of the sample application up to one of them.
func upTo(b *testing.B, last string) map[string]string {
	b.Helper()
	files := map[string]string{}
	for _, pattern := range []string{"*.sql", "down/*.sql"} {
		names, err := fs.Glob(os.DirFS("../../migrations/tenant"), pattern)
		if err != nil {
			b.Fatal(err)
		}
		for _, name := range names {
			if strings.Compare(path.Base(name), last) > 0 {
				continue
			}
			content, err := os.ReadFile(path.Join("../../migrations/tenant", name))
			if err != nil {
				b.Fatal(err)
			}
			files[name] = string(content)
		}
	}
	return files
}
