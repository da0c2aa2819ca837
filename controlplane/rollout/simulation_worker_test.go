package rollout

import (
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/migrator"
)

// process is a worker. One that is frozen does nothing, and does not know it.
type process struct {
	name         string
	slots        int // batches at a time
	dead, frozen bool
	drains       bool // starts nothing more
	holds        []*hold
	swept        time.Duration
}

func (p *process) works() bool { return !p.dead && !p.frozen }

// hold is a batch in the hands of a process, as runner.go works through it.
type hold struct {
	*lease
	process  *process
	fed      int // targets that were begun or given back
	lanes    []*attempt
	news     []result // to be reported
	urgent   bool     // at once
	over     bool     // nothing more is to be started
	lost     bool     // the lease is somebody else's
	closed   bool     // the last report is made
	beat     time.Duration
	reported time.Duration
	blocked  time.Duration // since when all lanes are busy
}

// The phases of an attempt.
type phase int

const (
	begun phase = iota
	fencing
	sending
	awaiting
	reading
)

// attempt is a target in the hands of a lane, as attempt.go works on it.
type attempt struct {
	hold     *hold
	t        leased
	phase    phase
	expected string
	origin   *string
	sent     int
	done     *migrator.Result
}

// age is for how long, by its own clock, the process has not renewed the lease.
func (w *world) age(h *hold) time.Duration { return w.elapsed - h.beat }

// stopped is what is asked before a target is begun.
func (w *world) stopped(h *hold) bool {
	if h.over || h.process.drains || w.age(h) > leaseTime-heartbeat && w.broken != "a lease that has run out is worked on" {
		return true
	}
	return w.barred(h.batch) || w.breached(h.batch) && w.broken != "a target is begun after a failure"
}

// feed begins the next target, or gives back the rest. It reports whether it
// did anything.
func (w *world) feed(h *hold) bool {
	if h.fed == len(h.targets) {
		return false
	}
	held := len(h.lanes) >= h.batch.Parallelism && w.broken != "a batch is worked on wider than it was handed out"
	if !held {
		h.blocked = w.elapsed
	}
	if w.stopped(h) || held && w.elapsed-h.blocked > stuckAfter {
		w.tell(toldGivenBack, h.process.name, len(h.targets)-h.fed, h.batch.ID)
		for _, t := range h.targets[h.fed:] {
			h.news = append(h.news, result{ID: t.ID, Status: t.was, Version: t.Version})
		}
		h.fed = len(h.targets)
		return true
	}
	if held {
		return false
	}
	a := &attempt{hold: h, t: h.targets[h.fed]}
	h.fed++
	h.lanes = append(h.lanes, a)
	w.begins(a)
	return true
}

// step does the next thing about a target. It reports whether there was any.
func (w *world) step(a *attempt) bool {
	if a.phase == awaiting && a.done == nil {
		return false
	}
	r := w.advance(a)
	if r == nil {
		return true
	}
	h := a.hold
	if r.Status == controlplane.TargetSucceeded && w.seatOf(a.t.TenantID).drifted {
		*r = contradicted(*r, nil)
	}
	r.ID = a.t.ID
	failed := r.Status == controlplane.TargetFailed && h.rollout.OnError != controlplane.OnErrorContinue
	r.halts, r.urgent = r.trouble || failed && orFirst(h.rollout.Strategy.Budget).Failures == 1, r.trouble || failed
	if r.Pause > 0 { // Manor's own dice would make a seed tell two stories
		half := min(firstPause<<min(a.t.Attempts, maxAttempts), maxPause) / 2
		if r.Pause >= 3*half { // it waits for the same as the last time
			half = min(firstPause<<min(a.t.Attempts+4, maxAttempts), maxPause) / 2
		}
		if r.Pause != maxPause && (r.Pause < half || r.Pause >= 3*half) {
			w.breaks("a pause of %s after %d attempts", r.Pause, a.t.Attempts)
		}
		r.Pause = half + time.Duration(w.rng.Int64N(int64(2*half)))
	}
	lawful, err := lawful(h.lease, *r)
	if err != nil {
		w.breaks("%s", err)
	}
	h.lanes = slices.DeleteFunc(h.lanes, func(o *attempt) bool { return o == a })
	h.news, h.urgent, h.over = append(h.news, lawful), h.urgent || r.urgent, h.over || r.halts
	w.tell("%s: %s would be %s at %q", h.process.name, a.t.Slug, r.Status, r.Version)
	return true
}

// advance is attempt, fence, try and afterLoss, question by question. nil: there
// is no result yet.
func (w *world) advance(a *attempt) *result {
	l, t := a.hold.lease, a.t
	if a.phase == begun {
		if r := known(l, t); r != nil {
			return r
		}
	}
	if err := w.connect(w.seatOf(t.TenantID).site); err != nil && a.phase != awaiting {
		r := notReached(l, t, err)
		r.answered = a.phase == sending && t.fenced
		return &r
	}
	switch a.phase {
	case begun:
		if a.expected, a.phase = t.Version, sending; t.was == controlplane.TargetUnknown && w.broken != "what is unknown is tried as if it were known" {
			a.phase = fencing
		}
	case fencing:
		return w.fenced(a)
	case sending:
		if w.seatOf(t.TenantID).deadly {
			w.dies(a.hold.process)
			return nil
		}
		a.phase = awaiting
		if m := w.send(a); w.wayless(m, goal(l, t)) { // refused before it is sent
			w.answer(m, m.result(migrator.Failed, "no way"))
		}
	case awaiting:
		return w.heard(a)
	case reading:
		return w.afterLoss(a)
	}
	return nil
}

// afterLoss says where a tenant is after an answer was lost.
func (w *world) afterLoss(a *attempt) *result {
	l, t := a.hold.lease, a.t
	actual := w.seatOf(t.TenantID).home.version
	if actual == goal(l, t) {
		return &result{Status: arrived(l), Version: actual, Tried: true, answered: true, Origin: a.origin}
	}
	status := controlplane.TargetUnknown
	if w.broken == "a lost answer counts as not begun" {
		status = controlplane.TargetDeferred
	}
	r := deferred(l, t, &controlplane.Failure{Message: "the connection was lost before the answer"}, status)
	if r.Origin = a.origin; a.origin != nil {
		r.Version = *a.origin
	}
	return &r
}

// fenced goes on from where an unknown target turned out to be.
func (w *world) fenced(a *attempt) *result {
	actual, err := w.fence(a)
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok && migrator.OutcomeOf(refused) == migrator.Failed {
		return &result{Status: failedIn(a.hold.lease), Version: a.t.Version, Tried: true, answered: true}
	}
	if err != nil {
		r := notReached(a.hold.lease, a.t, err)
		return &r
	}
	w.tell(toldFenced, a.t.Slug, actual, a.hold.batch.Epoch)
	a.expected, a.phase = actual, sending
	if w.broken == "a tenant that ends its workers is tried for ever" {
		a.t.Attempts = 0
	}
	return a.t.fencedAt(a.hold.lease, actual)
}

// heard goes on after an answer, or the loss of one.
func (w *world) heard(a *attempt) *result {
	l, done := a.hold.lease, *a.done
	a.done = nil
	switch {
	case elsewhere(done.Err):
	case done.Outcome == migrator.Unknown:
		a.t.was, a.phase = controlplane.TargetUnknown, reading
		w.guessed[a.t.ID] = true
		return nil
	default:
		r := judge(l, a.t, done)
		r.answered, r.Origin = true, a.origin
		return &r
	}
	if r := locate(l, a.t, done.Version, true); r != nil {
		return r
	}
	if a.expected, a.phase = done.Version, sending; l.batch.Direction == up || w.broken == "a rollback goes to where another tool was met" {
		a.origin = &done.Version
	}
	if a.sent++; a.sent < 2 {
		return nil
	}
	r := deferred(l, a.t, &controlplane.Failure{Message: "the tenant's version keeps changing"}, controlplane.TargetDeferred)
	return &r
}

// tick makes a batch's heartbeats and reports that are due.
func (w *world) tick(h *hold) {
	if !h.lost && w.age(h) >= heartbeat && !w.chance(w.faults.lostAnswers, 8) {
		if w.renew(h.lease) {
			h.beat = w.elapsed
		} else {
			w.tell(toldLost, h.process.name, h.batch.ID)
			h.lost, h.over = true, true
		}
	}
	last := h.fed == len(h.targets) && len(h.lanes) == 0
	due := len(h.news) > 0 && (h.urgent || w.elapsed-h.reported >= reportEvery)
	if (last || due) && !w.locked(w.runOf(h.batch.RolloutID)) {
		w.reports(h, last)
	}
}

// reports stores the news of a batch. The answer may be lost, after it was
// stored or before.
func (w *world) reports(h *hold, last bool) {
	h.reported = w.elapsed
	if w.chance(w.faults.lostAnswers, 10) {
		w.tell("%s cannot store %d results", h.process.name, len(h.news))
		h.closed = last
		return
	}
	if w.report(h.lease, h.news, last) {
		h.over = true
	}
	h.closed = last
	if w.chance(w.faults.lostAnswers, 10) {
		w.tell("%s does not hear that %d results are stored", h.process.name, len(h.news))
		return
	}
	h.news, h.urgent = nil, false
}

// leave forgets the batches that are done with.
func (p *process) leave() {
	p.holds = slices.DeleteFunc(p.holds, func(h *hold) bool { return h.closed })
}

// accept leases a batch for a process. The process may die, or not hear that it did.
func (w *world) accept(p *process, j job) {
	l := w.take(j.batch, p.name)
	if l == nil || w.chance(w.faults.lostAnswers, 15) {
		return
	}
	p.holds = append(p.holds, &hold{lease: l, process: p, beat: w.elapsed, reported: w.elapsed, blocked: w.elapsed})
}

// dies ends a process: what it sent may still arrive.
func (w *world) dies(p *process) {
	w.tell(toldKilled, p.name)
	for _, m := range w.messages {
		if m.client != nil && m.client.hold.process == p {
			m.client = nil
		}
	}
	w.deciding = slices.DeleteFunc(w.deciding, func(d *decision) bool { return d.process == p })
	w.death = w.elapsed
	for _, h := range p.holds {
		h.batch.InHand = nil
		for _, a := range h.lanes {
			h.batch.InHand = append(h.batch.InHand, controlplane.InHand{Tenant: a.t.Slug})
		}
	}
	p.dead, p.frozen, p.drains, p.holds = true, false, false, nil
}

// cuts loses the connection of a message that is under way.
func (w *world) cuts(m *message) {
	if m.client != nil {
		w.tell(toldCut, m.seat.Slug)
		m.client.done, m.client = lost(m.client.expected), nil
	}
}
