package chaos_test

import (
	"cmp"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/manorhq/manor/controlplane"
)

// drill is something that a worker does, to an end that it must come to however
// often it dies on the way.
type drill struct {
	name  string
	start func()               // asks for it, through the doors
	ended func() (bool, error) // by the catalog
	check func(when string)    // proves that it ended right
	by    func(point string) bool
}

// every thins out the points, so that the tests stay short. 1 is the full run.
func every(t testing.TB) int {
	t.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv("MANOR_TEST_CRASH_EVERY"), "53"))
	if err != nil || n < 1 {
		t.Fatalf("MANOR_TEST_CRASH_EVERY=%s: not a positive number", os.Getenv("MANOR_TEST_CRASH_EVERY"))
	}
	return n
}

// census runs a drill with one worker, which nothing happens to, and returns
// the moments that it comes by, in order: "point#count".
func (e *estate) census(d drill) []string {
	e.t.Helper()
	log := filepath.Join(e.t.TempDir(), "points")
	d.start()
	w := e.worker("", log)
	e.Eventually(d.name+" ends", d.ended)
	w.kill()
	e.lapse()
	d.check(d.name + " without a death")
	e.atRest("after " + d.name + " without a death")
	moments := told(log)
	seen.note(moments)
	return moments
}

// run runs a drill in which one worker after the other dies, each at its moment
// of "point#count,point#count"; the last lives. None is "".
func (e *estate) run(d drill, moments string) {
	e.t.Helper()
	when := d.name + ", killed at " + cmp.Or(moments, "no point")
	d.start()
	for moment := range strings.SplitSeq(moments, ",") {
		if moment != "" && e.dies(d, moment) {
			sum.points.Add(1)
		}
		e.lapse()
	}
	w := e.worker("", "")
	e.Eventually(when+", ends", d.ended)
	w.kill() // at once: what it has not done by now, it has to have no need to do
	e.lapse()
	d.check(when)
	e.atRest(when)
	if e.t.Failed() {
		e.t.Fatalf("%s: run it again with -run '^%s$' -point '%s'", when, e.t.Name(), moments)
	}
}

// dies starts the worker that is to die and reports whether it did. What it
// does on its own time, such as a heartbeat, it may come by less often than
// the first time; a second worker has less to do than the first.
func (e *estate) dies(d drill, moment string) (died bool) {
	e.t.Helper()
	victim := e.worker(moment+"=kill", "")
	e.Eventually(d.name+": the worker dies at "+moment+", or ends", func() (ended bool, err error) {
		if died, err = victim.dead(); died || err != nil {
			return true, err
		}
		return d.ended()
	})
	if !died {
		victim.kill()
		sum.missed.Add(1)
		return false
	}
	sum.deaths.Add(1)
	return true
}

// enumerate runs drills, each of which leads to the start of the next, for
// every moment that each of them comes by.
func (e *estate) enumerate(drills ...drill) {
	e.t.Helper()
	began := time.Now()
	moments := make([][]string, len(drills))
	rounds := 0
	for i, d := range drills {
		all := e.census(d)
		moments[i] = append(e.chosen(d, all, i), e.pairs(d, all)...)
		rounds = max(rounds, len(moments[i]))
	}
	for n := range rounds {
		for i, d := range drills {
			moment := ""
			if n < len(moments[i]) {
				moment = moments[i][n]
			}
			e.run(d, moment)
		}
	}
	e.t.Logf("%d rounds of %d drills in %s", rounds, len(drills), time.Since(began).Round(time.Second))
}

// chosen are the moments at which a drill's worker is going to die.
func (e *estate) chosen(d drill, all []string, offset int) []string {
	if *onlyPoint != "" {
		return asked(all)
	}
	if d.by != nil {
		all = slices.DeleteFunc(all, func(m string) bool { return !d.by(m) })
	}
	step := every(e.t)
	var some []string
	for i := offset % step; i < len(all); i += step {
		some = append(some, all[i])
	}
	return some
}

// pairs are, where they are asked for, two moments each, at which one worker dies
// after the other. A prime brings up near ones and far ones.
func (e *estate) pairs(d drill, all []string) []string {
	if os.Getenv("CHAOS_PAIRS") == "" || *onlyPoint != "" || d.by != nil {
		return nil
	}
	pairs := make([]string, len(all))
	for i := range all {
		pairs[i] = all[i] + "," + all[(i*13+7)%len(all)]
	}
	return pairs
}

// asked are the moments that the flag names: those of the drill that match it
// or, where none does, the very words, such as a pair.
func asked(all []string) []string {
	only := regexp.MustCompile("^(" + *onlyPoint + ")$")
	some := slices.DeleteFunc(all, func(m string) bool { return !only.MatchString(m) })
	if len(some) == 0 {
		return []string{*onlyPoint}
	}
	return some
}

// both runs a test in both isolations, next to each other.
func both(t *testing.T, f func(t *testing.T, like controlplane.NewTenant)) {
	t.Helper()
	for _, isolation := range controlplane.Isolations {
		t.Run(string(isolation), func(t *testing.T) {
			t.Parallel()
			f(t, controlplane.NewTenant{Isolation: isolation})
		})
	}
}
