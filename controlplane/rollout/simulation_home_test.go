package rollout

import (
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/ent"
)

// home is a tenant's schema as it is, with its marker.
type home struct {
	version string
	epoch   int64
	holder  *message            // whose transaction has locked the marker
	read    bool                // somebody reads its tables in a long transaction
	refuses map[string]bool     // versions that fail on its data
	past    []string            // every version it was at
	did     map[string][]string // the versions that each rollout has applied and not taken back
}

// message is a migration on its way to a server, or at work there. It goes on
// when its client is gone.
type message struct {
	seat    *seat
	run     *run
	epoch   int64
	at      string   // the version it expects
	path    []string // the versions it is to be at, one after another
	down    bool
	entered bool
	client  *attempt // nil: gone
}

// send puts a migration from a version to a goal on its way.
func (w *world) send(a *attempt) *message {
	m := &message{seat: w.seatOf(a.t.TenantID), run: w.runOf(a.t.RolloutID), epoch: a.hold.batch.Epoch, at: a.expected, down: a.hold.batch.Direction == down, client: a}
	from, to := number(a.expected), number(goal(a.hold.lease, a.t))
	for v := from + 1; v <= to; v++ {
		m.path = append(m.path, fmt.Sprint(v))
	}
	for v := from - 1; v >= to; v-- {
		m.path = append(m.path, fmt.Sprint(v))
	}
	w.messages = append(w.messages, m)
	w.tell("%s sends %s from %s by %v, epoch %d", a.hold.process.name, m.seat.Slug, m.at, m.path, m.epoch)
	return m
}

// wayless reports whether a goal lies the wrong way, or a reverse is missing on
// the way to it.
func (w *world) wayless(m *message, to string) bool {
	if m.down {
		return m.at < to || w.irreversible(to, m.at) != ""
	}
	return m.at > to
}

func number(version string) int {
	n := 0
	for _, c := range version {
		n = n*10 + int(c-'0')
	}
	return n
}

// serve does the next thing for a message at its server: open a transaction with
// the proof, or end it.
func (w *world) serve(m *message) {
	h := &m.seat.home
	switch {
	case m.seat.site.down:
		w.answer(m, nil)
	case !m.entered:
		if refused := w.prove(m); refused != nil {
			w.answer(m, refused)
			return
		}
		m.entered, h.holder = true, m
	default:
		if refused := w.refusal(m); refused != nil {
			w.answer(m, refused)
			return
		}
		w.commit(m)
	}
}

// prove is manor.prove: the lock, the fence and the version expected.
func (w *world) prove(m *message) *migrator.Result {
	h := &m.seat.home
	switch {
	case m.seat.purged:
		return m.result(migrator.Failed, "MN002")
	case h.holder != nil && h.holder != m:
		return m.result(migrator.Deferred, pg.StateBusy)
	case m.epoch < h.epoch && w.broken != "a tenant lets older epochs in":
		return m.result(migrator.Deferred, pg.StateFenced)
	case h.version != m.at:
		r := m.result(migrator.Unknown, pg.StateOtherAt)
		r.Version = h.version
		return r
	}
	return nil
}

// refusal is what the server says to the statements.
func (w *world) refusal(m *message) *migrator.Result {
	h := &m.seat.home
	switch {
	case m.seat.site.readOnly:
		return m.result(migrator.Stopped, "25006")
	case len(m.path) > 0 && h.read:
		return m.result(migrator.Deferred, "55P03")
	case len(m.path) > 0 && !m.down && h.refuses[m.path[0]]:
		return m.result(migrator.Failed, "23505")
	}
	return nil
}

// commit makes one version true.
func (w *world) commit(m *message) {
	h := &m.seat.home
	h.holder, m.entered, h.epoch = nil, false, max(h.epoch, m.epoch)
	if len(m.path) > 0 {
		w.effect(m)
		h.version, m.at, m.path = m.path[0], m.path[0], m.path[1:]
		h.past = append(h.past, h.version)
		w.tell(toldChange, m.seat.Slug, h.version, m.run.ID, m.epoch)
	}
	if len(m.path) == 0 {
		w.answer(m, m.result(migrator.Applied, ""))
	}
}

// effect checks a change of a tenant: it is the next of a rollout that works on
// the tenant, or the last of what that rollout did.
func (w *world) effect(m *message) {
	h, id := &m.seat.home, m.run.ID
	i := slices.IndexFunc(m.run.targets, func(t *ent.Target) bool { return t.TenantID == m.seat.ID })
	if t := m.run.targets[i]; t.Status.Done() && !m.seat.left {
		w.breaks("%s changes %s, which is %s in it", id, m.seat.Slug, m.run.targets[i].Status)
	}
	did := h.did[id]
	switch {
	case !m.down && slices.Contains(did, m.path[0]):
		w.breaks("%s applies %s to %s twice", id, m.path[0], m.seat.Slug)
	case !m.down:
		h.did[id] = append(did, m.path[0])
	case len(did) > 0 && did[len(did)-1] == h.version:
		h.did[id] = did[:len(did)-1]
	case m.seat.meddled && (w.guessed[m.run.targets[i].ID] || h.rollouts() > 1): // nobody can tell a tool's doing from theirs
	default:
		w.breaks("%s takes back %s of %s, which it did not apply (it did %v)", id, h.version, m.seat.Slug, did)
	}
}

// rollouts counts those that have changed a tenant.
func (h *home) rollouts() int {
	n := len(h.did)
	if _, ok := h.did["tool"]; ok {
		n--
	}
	return n
}

// undo has nobody have done the last version.
func (h *home) undo() {
	for id, did := range h.did {
		if len(did) > 0 && did[len(did)-1] == h.version {
			h.did[id] = did[:len(did)-1]
		}
	}
}

// meddle moves a tenant with another tool than Manor.
func (w *world) meddle(s *seat) {
	h, to := &s.home, number(s.home.version)
	if slices.ContainsFunc(w.messages, func(m *message) bool { return m.seat == s }) {
		return
	}
	if !s.State.Migratable() || s.meddled { // twice, and it might be back where nobody notices
		return
	}
	if to++; w.flip() {
		to -= 2
	}
	if to < 1 || to > w.latest+1 {
		return
	}
	if version := fmt.Sprint(to); version > h.version {
		h.did["tool"] = append(h.did["tool"], version)
	} else {
		h.undo()
	}
	h.version, s.meddled = fmt.Sprint(to), true
	h.past = append(h.past, h.version)
	w.tell(toldMeddled, s.Slug, h.version)
}

// answer ends a message. nil: the connection is lost, and what was open is
// rolled back.
func (w *world) answer(m *message, r *migrator.Result) {
	if m.seat.home.holder == m {
		m.seat.home.holder = nil
	}
	w.messages = slices.DeleteFunc(w.messages, func(o *message) bool { return o == m })
	if m.client == nil {
		return
	}
	if r == nil || w.chance(w.faults.cuts, 12) {
		r = lost(m.client.expected)
	}
	w.tell("%s: %s at %s (%s)", m.seat.Slug, r.Outcome, r.Version, stateOfFailure(r.Failure))
	m.client.done = r
}

func lost(expected string) *migrator.Result {
	return &migrator.Result{Outcome: migrator.Unknown, Version: expected, Err: errors.New("the connection was lost")}
}

func (m *message) result(outcome migrator.Outcome, state string) *migrator.Result {
	r := &migrator.Result{Outcome: outcome, Version: m.at}
	if state != "" {
		r.Failure = &controlplane.Failure{Message: state, SQLState: state}
		r.Err = &pgconn.PgError{Code: state, Message: state}
	}
	return r
}

// fence is manor.fence: nobody comes after it with an older epoch.
func (w *world) fence(a *attempt) (string, error) {
	s := w.seatOf(a.t.TenantID)
	switch epoch := a.hold.batch.Epoch; {
	case s.purged:
		return "", &pgconn.PgError{Code: "MN002", Message: "no home"}
	case s.home.holder != nil:
		return "", &pgconn.PgError{Code: pg.StateBusy, Message: "busy"}
	case epoch < s.home.epoch:
		return "", &pgconn.PgError{Code: pg.StateFenced, Message: "fenced off"}
	case s.site.readOnly:
		return "", &pgconn.PgError{Code: "25006", Message: "read-only"}
	case w.broken == "what is unknown is read, and nobody is shut out":
	default:
		s.home.epoch = epoch
	}
	if w.chance(w.faults.cuts, 12) {
		return "", errors.New("the connection was lost")
	}
	return s.home.version, nil
}

// connect says why a cluster cannot be asked.
func (w *world) connect(at *site) error {
	switch {
	case at.noneFree && w.flip():
		return fmt.Errorf("cluster %s: %w", at.id, fleet.ErrNoConnection)
	case at.down:
		return &pgconn.PgError{Code: "28000", Message: "the login is refused"}
	}
	return nil
}
