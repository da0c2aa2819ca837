package rollout

import (
	"slices"
	"time"

	"github.com/manorhq/manor/controlplane"
)

// happen is one step of a world's life: time passes, and somebody does something.
func (w *world) happen() {
	w.elapsed += w.lively()
	w.hand(w.unseen)
	w.unseen = nil
	for _, p := range w.processes {
		w.keepTime(p)
	}
	most := 4
	if w.faults.haste { // much happens in no time
		most = 16
	}
	for range 1 + w.rng.IntN(most) {
		switch n := w.rng.IntN(100); {
		case n < 28 && len(w.messages) > 0:
			w.serve(w.messages[w.rng.IntN(len(w.messages))])
		case n < 66:
			w.work()
		case n < 80:
			w.deliver()
		case n < 88:
			w.conclude()
		case n < 93:
			w.goWrong()
		case w.faults.operators:
			for range 1 + w.rng.IntN(3) {
				w.command()
			}
		}
	}
}

// keepTime does what a process does by the clock.
func (w *world) keepTime(p *process) {
	if !p.works() {
		return
	}
	for _, h := range p.holds {
		w.tick(h)
	}
	p.leave()
	if w.elapsed-p.swept >= sweepInterval {
		p.swept = w.elapsed
		w.sweep()
	}
}

// work lets a process do something about a batch.
func (w *world) work() {
	p := w.processes[w.rng.IntN(len(w.processes))]
	if !p.works() || len(p.holds) == 0 {
		return
	}
	h := p.holds[w.rng.IntN(len(p.holds))]
	if w.flip() && w.feed(h) || len(h.lanes) == 0 {
		return
	}
	w.step(h.lanes[w.rng.IntN(len(h.lanes))])
}

// deliver gives a job that is due to a process. It may come twice, or never.
func (w *world) deliver() {
	i := slices.IndexFunc(w.jobs, func(j job) bool { return j.at <= w.elapsed })
	if i < 0 {
		return
	}
	if n := i + w.rng.IntN(min(8, len(w.jobs)-i)); w.jobs[n].at <= w.elapsed {
		i = n
	}
	j, p := w.jobs[i], w.processes[w.rng.IntN(len(w.processes))]
	if !p.works() || j.batch != nil && len(p.holds) >= p.slots {
		return
	}
	if w.chance(w.faults.lostJobs, 20) {
		w.tell("a job of %s is lost", j.run.ID)
	} else if j.batch != nil {
		w.accept(p, j)
	} else if j.ask.Wave > 0 {
		w.askGate(j)
	} else if !w.decide(p, j.run) {
		return
	}
	if !w.chance(w.faults.lostJobs, 20) {
		w.jobs = slices.Delete(w.jobs, i, i+1)
	}
}

// conclude ends a transaction, or begins a rollback.
func (w *world) conclude() {
	if len(w.deciding) > 0 {
		if d := w.deciding[w.rng.IntN(len(w.deciding))]; !d.process.frozen {
			w.obey(d)
		}
		return
	}
	if len(w.asking) > 0 && w.rng.IntN(3) == 0 { // so does an answer
		w.hear(w.asking[w.rng.IntN(len(w.asking))])
	}
	if len(w.turning) > 0 && w.rng.IntN(4) == 0 { // planning takes its time
		w.begin(w.turning[w.rng.IntN(len(w.turning))])
	}
}

// goWrong does one of the things that may go wrong in this world, or mends it.
func (w *world) goWrong() {
	p, at, s := w.processes[w.rng.IntN(len(w.processes))], w.sites[w.rng.IntN(len(w.sites))], w.seats[w.rng.IntN(len(w.seats))]
	switch f := w.faults; w.rng.IntN(16) {
	case 0:
		w.kill(f.kills, p)
	case 1:
		if f.freezes && !p.dead {
			p.frozen = !p.frozen
			w.tell(toldFrozen, p.name, p.frozen)
		}
	case 2:
		p.drains = f.drains && !p.drains
	case 3:
		if w.chance(f.clock, 3) {
			jump := []time.Duration{time.Second, 20 * time.Second, time.Minute, 2 * time.Hour}[w.rng.IntN(4)]
			if w.flip() {
				jump = -jump
			}
			w.skew += jump
			w.tell(toldJump, jump)
		}
	case 4:
		at.down, at.readOnly = f.trouble && !at.down && w.flip(), f.trouble && !at.readOnly && w.flip()
		w.tell("cluster %s is down: %t, read-only: %t", at.id, at.down, at.readOnly)
	case 5:
		at.noneFree = f.crowds && !at.noneFree
	case 6, 7:
		s.home.read = f.locks && !s.home.read
	case 8:
		w.forget(f.cuts)
	case 9, 10:
		w.live(f.lives, s)
	case 11:
		if f.tools {
			w.meddle(s)
		}
	case 12, 13:
		w.sicken(f.gates)
	case 14, 15:
		clear(s.home.refuses) // somebody has put the data right
	}
}

// kill ends a process, or starts one again.
func (w *world) kill(may bool, p *process) {
	switch {
	case p.dead:
		p.dead, p.swept = false, w.elapsed
		w.tell("%s is started", p.name)
	case may:
		w.dies(p)
	}
}

// forget cuts a connection, or loses what nobody waits for any more.
func (w *world) forget(may bool) {
	if !may || len(w.messages) == 0 {
		return
	}
	m := w.messages[w.rng.IntN(len(w.messages))]
	if m.client != nil {
		w.cuts(m)
	} else if !m.entered {
		w.answer(m, nil)
	}
}

// live goes on with the life of a tenant, or begins one.
func (w *world) live(may bool, s *seat) {
	if !may {
		return
	}
	if w.rng.IntN(3) == 0 && len(w.seats) < 20 {
		w.create(controlplane.TenantProvisioning, "")
		return
	}
	from := s.State
	switch next := w.flip(); {
	case from == controlplane.TenantProvisioning && w.rng.IntN(4) == 0:
		s.State, s.purged = controlplane.TenantFailed, true
	case from == controlplane.TenantProvisioning:
		w.settles(s)
	case from == controlplane.TenantActive && next:
		s.State = controlplane.TenantSuspended
	case from == controlplane.TenantActive:
		s.State = controlplane.TenantDeleting
	case from == controlplane.TenantDeleting && next && s.home.holder == nil:
		s.State, s.purged = controlplane.TenantDeleted, true
	case from == controlplane.TenantDeleting, from == controlplane.TenantSuspended:
		s.State = controlplane.TenantActive
	}
	s.wasClosed = s.wasClosed || s.isGone()
	w.tell("%s is %s", s.Slug, s.State)
}

// settles makes the home of a tenant, at the version that new ones get.
func (w *world) settles(s *seat) {
	s.State, s.Version, s.home.version = controlplane.TenantActive, w.standard, w.standard
	s.home.past = append(s.home.past, w.standard)
	w.tell("%s is made, at %s", s.Slug, w.standard)
}

// command is what an operator does.
func (w *world) command() {
	if len(w.runs) < 5 && w.rng.IntN(4) == 0 {
		w.start(w.someGroups())
		return
	}
	r := w.runs[w.rng.IntN(len(w.runs))]
	switch n := w.rng.IntN(8); {
	case n == 0 && w.faults.trouble:
		w.switchOff(w.sites[w.rng.IntN(len(w.sites))].id)
	case n == 1:
		w.correct()
	case w.locked(r):
	case n == 2:
		w.steer(r)
	case !r.State.Resting():
		w.approve(r)
	case n == 3:
		w.rollback(r, scope{})
	case n == 4:
		w.rollback(r, w.somePart(r))
	case n == 5:
		w.retry(r)
	default:
		w.resume(r)
	}
}

// someGroups selects one group of tenants, or several.
func (w *world) someGroups() int {
	if w.flip() {
		return 1 << w.rng.IntN(groups)
	}
	return 1 + w.rng.IntN(1<<groups-1)
}

// switchOff takes a cluster offline, or on again.
func (w *world) switchOff(id string) {
	c := w.courses[id]
	if c.State == controlplane.ClusterActive {
		c.State = controlplane.ClusterOffline
	} else {
		c.State = controlplane.ClusterActive
	}
	w.courses[id] = c
	w.tell("cluster %s is %s", id, c.State)
}

// correct is `manor status --verify`: the catalog learns where the tenants are.
func (w *world) correct() {
	for _, s := range w.seats {
		if s.State.Migratable() && s.Version != s.home.version {
			w.tell("the catalog learns that %s is at %s", s.Slug, s.home.version)
			s.Version = s.home.version
		}
	}
}
