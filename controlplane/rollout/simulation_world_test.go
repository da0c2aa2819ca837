package rollout

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/ent"
)

// world is what surrounds [Next], simulated in one goroutine under one seed: a
// catalog, clusters with tenants, processes that work on batches, operators, and
// what may go wrong. What a transaction of the room does is one step here, so
// that the steps of processes mix as transactions do.
type world struct {
	rng    *rand.Rand
	broken string         // the defect that is put into the room on purpose; "": none
	told   *[]string      // its history; nil: nobody listens
	seen   map[string]int // how often each kind of thing was told
	wrong  string         // the promise that was broken first
	faults faults

	elapsed time.Duration // true time since noon
	death   time.Duration // when a process died last
	skew    time.Duration // of the catalog's clock

	sites     []*site
	courses   map[string]fleet.Course // of the clusters, as the catalog has them
	seats     []*seat
	runs      []*run
	batches   []*ent.Batch
	targets   []*ent.Target
	guessed   map[int]bool // targets that were unknown once: what a tool did then, nobody can tell from what Manor did
	epoch     int64
	jobs      []job
	processes []*process
	messages  []*message
	deciding  []*decision
	turning   []*turning
	asking    []*asking
	standard  string // the version that new tenants get
	latest    int    // the release's last version
	oneWay    map[string]bool
	unseen    []Grant // lost batches that are to be handed out, where that is a defect
}

// faults are what may go wrong in a world; every seed has some of them.
type faults struct {
	kills, freezes, drains, lostAnswers, lostJobs, clock, trouble, crowds, locks, refusals, cuts, lives, operators, tools, haste, poison, gates bool
	waves                                                                                                                                       bool // rollouts go in several, with all that belongs to them
}

// run is a rollout with what the simulation has to know of it.
type run struct {
	*ent.Rollout
	groups   int // the groups of tenants that it selects, as bits
	targets  []*ent.Target
	batches  []*ent.Batch
	selected int // tenants that entered it, counted apart
	waves    []*ent.Wave
	wave     map[int]int // of each group of tenants
	window   map[int]int
	sick     []bool      // the gates that are answered wrong at present
	seen     []witnessed // of each wave
	undoing  scope       // what was taken back last
	undoFor  string      // why; "": an operator asked for it
	aborting bool
}

// seat is a tenant as the catalog knows it, and its home on a cluster.
type seat struct {
	*ent.Tenant
	placement *ent.Placement
	site      *site
	group     int
	shared    bool // its database holds others
	purged    bool // its home is gone
	meddled   bool // another tool has moved it
	left      bool // an abort left it when nobody knew where it was: what had been sent may still arrive
	wasClosed bool // it was being deleted, once
	deadly    bool // whoever works on it dies
	drifted   bool // its schema is not what its revisions say
	home      home
}

// site is a cluster as it is.
type site struct {
	id                       string
	down, readOnly, noneFree bool
}

// job is work on its way to a process.
type job struct {
	run   *run
	batch *ent.Batch // nil: advance the run, or ask
	ask   Ask
	at    time.Duration
}

// newWorld draws a world: small, since what goes wrong goes wrong among few.
func newWorld(seed uint64, broken string, told *[]string) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 0)), broken: broken, told: told, seen: map[string]int{}, courses: map[string]fleet.Course{}, oneWay: map[string]bool{}, guessed: map[int]bool{}}
	w.faults = faults{kills: w.flip(), freezes: w.flip(), drains: w.flip(), lostAnswers: w.flip(), lostJobs: w.flip(), clock: w.flip(), trouble: w.flip(),
		crowds: w.flip(), locks: w.flip(), refusals: w.flip(), cuts: w.flip(), lives: w.flip(), operators: w.flip(), tools: w.rng.IntN(4) == 0, haste: w.flip(), poison: w.rng.IntN(4) == 0, gates: w.flip(), waves: w.rng.IntN(4) > 0}
	if only, ok := amid[broken]; ok {
		w.faults = only
	}
	w.latest, w.standard = 2+w.rng.IntN(3), "1"
	if w.rng.IntN(3) == 0 {
		w.oneWay[fmt.Sprint(w.latest)] = true
	}
	for i := range 1 + w.rng.IntN(3) {
		id := fmt.Sprintf("c%d", i)
		ceiling := 1 + w.rng.IntN(8)
		w.sites = append(w.sites, &site{id: id})
		w.courses[id] = fleet.Course{Name: id, State: controlplane.ClusterActive, Flow: controlplane.Flow{Pace: ceiling, Ceiling: ceiling}}
	}
	for range 2 + w.rng.IntN(12) {
		w.create(controlplane.TenantActive, w.standard)
	}
	w.seats[0].deadly = w.faults.poison
	w.seats[len(w.seats)-1].drifted = seed%4 == 3
	for i := range 1 + w.rng.IntN(3) {
		w.processes = append(w.processes, &process{name: fmt.Sprintf("p%d", i), slots: 1 + w.rng.IntN(3)})
	}
	w.tell("%d clusters, %d tenants, %d processes, versions up to %d, %+v", len(w.sites), len(w.seats), len(w.processes), w.latest, w.faults)
	return w
}

// groups is how many groups of tenants rollouts choose from.
const groups = 4

// create makes a tenant, in a database that it may share.
func (w *world) create(state controlplane.TenantState, version string) {
	at := w.sites[w.rng.IntN(len(w.sites))]
	id := fmt.Sprintf("t%02d", len(w.seats))
	s := &seat{site: at, group: 1 << w.rng.IntN(groups), home: home{version: version, past: []string{version}, did: map[string][]string{}, refuses: map[string]bool{}}}
	database := at.id + "-own-" + id
	if s.shared = w.rng.IntN(3) > 0; s.shared {
		database = fmt.Sprintf("%s-shared-%d", at.id, w.rng.IntN(2))
	}
	s.Tenant = &ent.Tenant{ID: id, Slug: id, State: state, Version: version, CreatedAt: w.now()}
	s.placement = &ent.Placement{TenantID: id, ClusterID: at.id, DatabaseID: database}
	if w.faults.refusals && w.rng.IntN(3) == 0 {
		s.home.refuses[fmt.Sprint(2+w.rng.IntN(w.latest-1))] = true
	}
	if state == controlplane.TenantProvisioning {
		s.home.version, s.Version = "", ""
		s.home.past = []string{""}
	}
	w.seats = append(w.seats, s)
	w.tell("tenant %s in %s, group %d, %s at %q", id, database, s.group, state, version)
}

// What histories tell that are worth their while.
const (
	toldChange    = "%s is at %s, by %s, epoch %d"
	toldTakenBack = "batch %d is taken back from %s"
	toldDropped   = "late results of batch %d, epoch %d, are dropped"
	toldFenced    = "%s is fenced at %s, epoch %d"
	toldTurned    = "%s of %s is to be taken back from %q to %q (%s)"
	toldEntered   = "%s enters %s in wave %d: %s at %q"
	toldLost      = "%s has lost batch %d"
	toldGivenBack = "%s gives back %d targets of batch %d"
	toldKilled    = "%s is killed"
	toldFrozen    = "%s is frozen: %t"
	toldJump      = "the clock jumps by %s"
	toldCut       = "the connection to %s is cut"
	toldMeddled   = "another tool takes %s to %s"
	toldPassed    = "%s goes on after wave %d"
	toldWrong     = "a gate of %s after wave %d is not as it should be"
	toldApproved  = "wave %d of %s is approved"
	toldWanted    = "%s is to be %s"
	toldSkipped   = "%s is taken out of %s"
	toldReopened  = "wave %d of %s is open again"
	toldBarred    = "a window of %s is shut"
)

// now is the catalog's clock.
func (w *world) now() time.Time { return noon.Add(w.elapsed + w.skew) }

func (w *world) flip() bool { return w.rng.IntN(2) == 0 }

// chance is true once in so many times, if the fault is one of this world.
func (w *world) chance(fault bool, once int) bool { return fault && w.rng.IntN(once) == 0 }

func (w *world) tell(format string, args ...any) {
	w.seen[format]++
	if w.told != nil {
		*w.told = append(*w.told, fmt.Sprintf("%9.3f  ", w.elapsed.Seconds())+fmt.Sprintf(format, args...))
	}
}

// breaks notes that a promise is broken. The first is the one that counts.
func (w *world) breaks(format string, args ...any) {
	if w.wrong == "" {
		w.wrong = fmt.Sprintf(format, args...)
		w.tell("BROKEN: %s", w.wrong)
	}
}

// seatOf is the tenant of a target.
func (w *world) seatOf(tenantID string) *seat {
	var n int
	for _, c := range tenantID[1:] {
		n = n*10 + int(c-'0')
	}
	return w.seats[n]
}

func (w *world) runOf(id string) *run {
	return w.runs[slices.IndexFunc(w.runs, func(r *run) bool { return r.ID == id })]
}

func (w *world) enqueue(j job) { w.jobs = append(w.jobs, j) }

// lookAgain has all rollouts at work advanced.
func (w *world) lookAgain() {
	for _, r := range w.runs {
		if !r.State.Resting() {
			w.enqueue(job{run: r, at: w.elapsed})
		}
	}
}

// lively is a random number of milliseconds, mostly few.
func (w *world) lively() time.Duration {
	most := 300
	switch w.rng.IntN(40) {
	case 0:
		most = 20_000
	case 1, 2:
		most = 3000
	}
	return time.Duration(w.rng.IntN(most)) * time.Millisecond
}
