package rollout

import (
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/manorhq/manor/controlplane"
)

var (
	oneSeed   = flag.Uint64("seed", 0, "the one history that TestSimulation plays; with -v it is told")
	manySeeds = flag.Uint64("seeds", 0, "how many histories TestSimulation plays; 0: some thousands")
)

// TestSimulation plays random histories of rollouts, workers, clusters and
// operators against the decisions of this room, and checks the promises after
// every step. What a seed draws is the same every time:
//
//	go test ./controlplane/rollout -run TestSimulation -seed 4711 -v
func TestSimulation(t *testing.T) {
	t.Parallel()
	if *oneSeed != 0 {
		wrong, told := retell(*oneSeed, "")
		t.Log("\n" + strings.Join(told, "\n"))
		if wrong != "" {
			t.Fatalf("seed %d: %s", *oneSeed, wrong)
		}
		return
	}
	n := *manySeeds
	if n == 0 {
		if n = 2000; testing.Short() {
			n = 300
		}
	}
	h := hunt(n, "")
	if h.wrong != "" {
		_, told := retell(h.bad, "")
		t.Fatalf("%s\nreplay it: go test ./controlplane/rollout -run TestSimulation -v -seed %d\nthe last steps:\n%s",
			h.wrong, h.bad, strings.Join(told[max(0, len(told)-60):], "\n"))
	}
	h.tell(t)
}

// hunted is what came of playing many histories.
type hunted struct {
	bad   uint64 // the lowest seed known to break a promise; 0: none does
	wrong string // the promise
	plays uint64
	seen  map[string]int // how often each kind of thing was told
}

// hunt plays the seeds up to n, until one breaks a promise.
func hunt(n uint64, broken string) hunted {
	found := hunted{seen: map[string]int{}}
	var next atomic.Uint64
	var mu sync.Mutex
	var players sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		players.Go(func() {
			for seed := next.Add(1); seed <= n; seed = next.Add(1) {
				w := newWorld(seed, broken, nil)
				wrong := play(w)
				mu.Lock()
				found.note(seed, wrong, w.seen)
				mu.Unlock()
				if wrong != "" {
					next.Store(n)
				}
			}
		})
	}
	players.Wait()
	return found
}

func (h *hunted) note(seed uint64, wrong string, seen map[string]int) {
	if wrong != "" && (h.bad == 0 || seed < h.bad) {
		h.bad, h.wrong = seed, wrong
	}
	h.plays++
	for what, n := range seen {
		h.seen[what] += n
	}
}

// tell says how much was played, and fails where histories have become too tame
// to show anything.
func (h *hunted) tell(t *testing.T) {
	t.Logf("%d histories: %d changes of tenants, %d batches taken over, %d late reports dropped, %d tenants fenced, %d rollbacks, %d waves passed, %d wrong answers of gates",
		h.plays, h.seen[toldChange], h.seen[toldTakenBack], h.seen[toldDropped], h.seen[toldFenced], h.seen[toldTurned], h.seen[toldPassed], h.seen[toldWrong])
	for _, what := range []string{toldChange, toldTakenBack, toldDropped, toldFenced, toldTurned, toldEntered, toldLost, toldGivenBack,
		toldKilled, toldFrozen, toldJump, toldCut, toldMeddled, toldPassed, toldWrong, toldApproved, toldWanted, toldSkipped, toldReopened, toldBarred} {
		if h.seen[what] == 0 {
			t.Errorf("in %d histories, nobody tells of %q", h.plays, what)
		}
	}
}

func retell(seed uint64, broken string) (wrong string, told []string) {
	return play(newWorld(seed, broken, &told)), told
}

// play lets a world live through faults, lets it come to rest, has everything
// rolled back while there are faults again, and returns the promise that was
// broken.
func play(w *world) string {
	if w.flip() { // all in one, wave by wave
		w.start(1<<groups - 1)
	}
	w.start(w.someGroups())
	w.start(w.someGroups())
	w.start(1<<groups - 1)
	w.endure(100 + w.rng.IntN(300))
	w.settle()
	if w.flip() {
		w.persevere()
	}
	for i := len(w.runs) - 1; i >= 0 && w.wrong == "" && w.flip(); i-- {
		if r := w.runs[i]; w.flip() {
			w.rollback(r, w.somePart(r))
			w.settle()
		}
		w.rollback(w.runs[i], scope{})
		w.endure(w.rng.IntN(100))
		w.settle()
	}
	return w.wrong
}

// persevere resumes whatever is paused until nothing is: each time it comes
// further, since all is well.
func (w *world) persevere() {
	for _, r := range w.runs {
		clear(r.sick)
	}
	for n := 0; w.wrong == ""; n++ {
		i := slices.IndexFunc(w.runs, func(r *run) bool { return r.State == controlplane.RolloutPaused })
		if i < 0 {
			return
		}
		if n > len(w.targets)+len(w.runs) {
			w.breaks("%s is paused for ever: %s", w.runs[i].ID, w.runs[i].Reason)
		}
		w.resume(w.runs[i])
		w.settle()
	}
}

// endure lets a world live so many steps.
func (w *world) endure(steps int) {
	for range steps {
		if w.wrong != "" {
			return
		}
		w.happen()
		w.check()
	}
}

// patience is how long a world may take to come to rest when nothing goes wrong
// any more: every target may be deferred as often as it may, on a cluster that
// rests as long as one may, and waves soak and windows open.
const patience = 30 * time.Minute

// settle ends all faults and waits for rest.
func (w *world) settle() {
	may, from := w.faults, w.elapsed
	w.calm()
	defer func() { w.faults = may }()
	for w.wrong == "" && !w.rests() {
		moved := w.round()
		w.check()
		switch {
		case w.elapsed-from > patience:
			w.breaks("no rest: %s", w.unrest())
		case w.elapsed-max(from, w.death) > 30*time.Second && w.abandoned() != "":
			w.breaks("nobody has taken over %s", w.abandoned())
		case moved:
			w.elapsed += 50 * time.Millisecond
		default:
			w.elapsed += time.Second
		}
	}
	for _, s := range w.seats {
		if len(s.home.past) > 0 && s.home.holder != nil {
			w.breaks("%s is locked", s.Slug)
		}
	}
}

// calm ends everything that goes wrong.
func (w *world) calm() {
	w.tell("from here on nothing goes wrong")
	w.faults = faults{}
	for _, at := range w.sites {
		*at = site{id: at.id}
		if w.courses[at.id].State == controlplane.ClusterOffline {
			w.switchOff(at.id)
		}
	}
	for _, s := range w.seats {
		if s.home.read = false; s.State == controlplane.TenantProvisioning {
			w.settles(s)
		}
	}
	for _, p := range w.processes {
		p.dead, p.frozen, p.drains = false, false, false
	}
}

// round lets everybody do what there is to do. It reports whether anybody did.
func (w *world) round() (moved bool) {
	for n := len(w.messages); n > 0 && len(w.messages) > 0; n-- {
		w.serve(w.messages[0])
		moved = true
	}
	for range len(w.jobs) {
		before := len(w.jobs)
		w.deliver()
		moved = moved || len(w.jobs) != before
	}
	for len(w.deciding) > 0 {
		w.conclude()
		moved = true
	}
	for len(w.asking) > 0 {
		w.hear(w.asking[0])
		moved = true
	}
	for _, r := range w.runs {
		moved = w.approve(r) || moved
	}
	for len(w.turning) > 0 {
		w.begin(w.turning[0])
		moved = true
	}
	for _, p := range w.processes {
		if p.dead { // of a tenant that takes its workers with it
			w.kill(false, p)
		}
		for _, h := range p.holds {
			moved = w.feed(h) || moved
			for _, a := range append([]*attempt(nil), h.lanes...) {
				moved = !p.dead && w.step(a) || moved
			}
			if p.dead {
				break
			}
		}
		w.keepTime(p)
	}
	return moved
}

// rests reports whether there is nothing left to do.
func (w *world) rests() bool { return w.unrest() == "" }

// unrest says what is left to do.
func (w *world) unrest() string {
	for _, r := range w.runs {
		if !r.State.Resting() {
			return fmt.Sprintf("%s is %s: %s", r.ID, r.State, w.counts(r))
		}
	}
	for _, p := range w.processes {
		if len(p.holds) > 0 {
			return fmt.Sprintf("%s holds %d batches", p.name, len(p.holds))
		}
	}
	if n := len(w.messages) + len(w.deciding) + len(w.turning) + len(w.asking); n > 0 {
		return fmt.Sprintf("%d things are under way", n)
	}
	return ""
}

// abandoned is a batch that counts as worked on, and is not.
func (w *world) abandoned() string {
	for _, b := range w.batches {
		if b.State != batchRunning {
			continue
		}
		held := false
		for _, p := range w.processes {
			for _, h := range p.holds {
				held = held || h.batch.ID == b.ID && h.batch.Epoch == b.Epoch
			}
		}
		if !held {
			return fmt.Sprintf("batch %d of %s", b.ID, b.RolloutID)
		}
	}
	return ""
}
