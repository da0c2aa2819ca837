package migrator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/pg"
)

// Rehearse runs the versions after from, up to to, on a scratch database that
// has the schema, empty, and the extensions, and tells what each statement did
// there and whether the way back is proved: each version goes up, down, and up
// again over generated rows. The scratch schema is used up. An error says that
// the rehearsal could not be held; what a version or its way back does wrong is
// part of the answer, which ends with the first version that cannot run at all.
func (r *Release) Rehearse(ctx context.Context, scratch *pgx.Conn, schema, from, to string) (versions []controlplane.RehearsedVersion, err error) {
	defer recovered("rehearse the release", &err)
	first, last := r.index(from)+1, r.index(to)
	switch {
	case first < 0, last < -1:
		return nil, controlplane.Errorf(controlplane.NotFound, "the release holds no version %s", named(cmp.Or(map[bool]string{true: from}[first < 0], to)))
	case last+1 < first:
		return nil, controlplane.Errorf(controlplane.Invalid, "version %s comes before %s", named(to), from).WithHint("a rehearsal goes up")
	}
	h := &rehearsal{release: r}
	if h.atlas, err = openAtlas(ctx, scratch, schema); err != nil {
		return nil, err
	}
	defer h.close()
	h.applied = slices.Clone(r.files[:first])
	for _, f := range h.applied {
		if err := h.replay(ctx, f); err != nil {
			return nil, err
		}
	}
	h.rows = newFiller(h.atlas)
	versions = []controlplane.RehearsedVersion{}
	for _, f := range r.files[first : last+1] {
		v, err := h.version(ctx, f)
		if err != nil {
			return nil, fmt.Errorf("rehearse %s: %w", f.name, err)
		}
		versions = append(versions, *v)
		if v.Refuses == controlplane.RefusesEverything {
			break
		}
		h.applied = append(h.applied, f)
	}
	return versions, nil
}

// rehearsal is the scratch schema between two versions, with rows.
type rehearsal struct {
	*atlas
	release *Release
	rows    *filler
}

// setback is what PostgreSQL refused: part of the answer, not an error.
type setback struct{ *controlplane.Failure }

func (s setback) Error() string { return s.Failure.String() }

// version rehearses one file. The schema ends up as after it, unless it cannot
// run at all.
func (h *rehearsal) version(ctx context.Context, f *file) (*controlplane.RehearsedVersion, error) {
	started := time.Now()
	v := &controlplane.RehearsedVersion{Version: f.version, File: f.name, TxMode: f.txMode(), Down: controlplane.DownNone,
		Reverse: []string{}, LosesUp: []string{}, LosesDown: []string{}, Unfilled: []controlplane.UnfilledTable{}}
	defer func() { v.DurationMS = time.Since(started).Milliseconds() }()
	before, watch, err := h.firstUp(ctx, f, v)
	if err != nil || v.Refuses == controlplane.RefusesEverything {
		return v, err
	}
	down, err := h.down(ctx, f, v, before)
	if err != nil {
		return v, err
	}
	mid, err := h.contents(ctx)
	if err != nil {
		return v, err
	}
	v.LosesUp = lost(before.rows, mid, mid.as(before.rows))
	if down == nil {
		return v, h.rows.fill(ctx, allRows)
	}
	why, err := h.back(ctx, f, down, v, before, mid, watch.most)
	if err != nil {
		return v, err
	}
	if why == "" && len(watch.idle) > 0 {
		why = fmt.Sprintf("statement %d finds none of the generated rows to change", watch.idle[0])
	}
	v.Why, v.Proved = why, why == ""
	return v, h.rows.fill(ctx, allRows)
}

// before is what a version found.
type before struct {
	rows  contents
	print pg.Print
	look  *look // for a file whose reverse is to be computed
}

// firstUp runs a file up, watched, over all kinds of rows; where it refuses
// them, over such as it should accept, and then over none.
func (h *rehearsal) firstUp(ctx context.Context, f *file, v *controlplane.RehearsedVersion) (b before, watch *observer, err error) {
	for _, attempt := range []struct {
		rows    rowKinds
		refused string // by the attempt before
	}{{allRows, ""}, {tameRows, controlplane.RefusesSome}, {noRows, controlplane.RefusesAll}} {
		v.Refuses = attempt.refused
		switch attempt.rows {
		case allRows:
			h.rows.expect(f)
			err = h.rows.fill(ctx, allRows)
		case tameRows:
			err = h.fillFor(ctx, f)
		case noRows:
			err = h.emptied(ctx)
		}
		if err != nil {
			return b, nil, err
		}
		if b, err = h.found(ctx, f); err != nil {
			return b, nil, err
		}
		if watch, err = h.observe(ctx); err != nil {
			return b, nil, err
		}
		v.Unfilled = h.rows.unfilledTables()
		v.Statements, err = h.run(ctx, f, watch)
		refused, ok := errors.AsType[setback](err)
		if !ok {
			return b, watch, err
		}
		if v.Failure == nil || attempt.rows == noRows {
			v.Failure = refused.Failure
		}
	}
	v.Refuses, v.Why = controlplane.RefusesEverything, "the version fails"
	return b, watch, nil
}

// found takes down what a file finds.
func (h *rehearsal) found(ctx context.Context, f *file) (b before, err error) {
	if b.rows, err = h.contents(ctx); err != nil {
		return b, err
	}
	if h.release.downs[f.version] == nil && f.notAdditive() == "" {
		l, err := h.look(ctx)
		b.look, b.print = &l, l.print
		return b, err
	}
	b.print, err = pg.Fingerprint(ctx, h.conn, h.schema)
	return b, err
}

// down is the way back from a file that has just run, or nil and why not.
func (h *rehearsal) down(ctx context.Context, f *file, v *controlplane.RehearsedVersion, b before) (*file, error) {
	reverse, ok := h.release.Reverse(f.version)
	if !ok && b.look == nil {
		reverse = noReverse("%s", f.notAdditive())
	} else if !ok {
		var err error
		if reverse, err = h.wayBack(ctx, f, *b.look); err != nil {
			return nil, err
		}
	}
	v.Down, v.Why = reverse.Kind, reverse.Reason
	if reverse.Kind == controlplane.DownNone {
		return nil, nil
	}
	v.Reverse = append(v.Reverse, reverse.Statements...)
	if down := h.release.downs[f.version]; down != nil {
		return down, nil
	}
	return computedFile(f, reverse)
}

// back takes a version back and up again, and says why that proves nothing, or
// "" if it does: once over the rows that it found, and once over rows written
// after it.
func (h *rehearsal) back(ctx context.Context, f, down *file, v *controlplane.RehearsedVersion, b before, mid contents, touched map[uint32]int) (string, error) {
	watch, err := h.observe(ctx)
	if err != nil {
		return "", err
	}
	if _, err := h.run(ctx, down, watch); err != nil {
		return h.setBack(ctx, f, err, "the way back fails: %v")
	}
	again, err := h.contents(ctx)
	if err != nil {
		return "", err
	}
	print, err := pg.Fingerprint(ctx, h.conn, h.schema)
	if err != nil {
		return "", err
	}
	v.LosesUp = lost(b.rows, mid, again)
	if _, err := h.run(ctx, f, nil); err != nil {
		return h.setBack(ctx, f, err, "it cannot go up again after the way back: %v")
	}
	why, err := h.backFromLater(ctx, f, down, v, touched)
	untold := h.untold(v, touched, watch.most)
	switch {
	case err != nil:
		return "", err
	case print != b.print:
		return "the way back does not restore the schema", nil
	case len(v.LosesUp) > 0:
		return "the way back does not bring back: " + strings.Join(v.LosesUp, ", "), nil
	case v.Refuses == controlplane.RefusesAll:
		return "it refuses every generated row, so nothing is known of rows", nil
	case untold != "":
		return untold, nil
	}
	return why, nil
}

// backFromLater takes a version back over rows that were written after it to
// the tables it touched, and up again.
func (h *rehearsal) backFromLater(ctx context.Context, f, down *file, v *controlplane.RehearsedVersion, touched map[uint32]int) (string, error) {
	h.rows.wanted(touched)
	if err := h.rows.fill(ctx, allRows); err != nil {
		return "", err
	}
	later, err := h.contents(ctx)
	if err != nil {
		return "", err
	}
	if _, err := h.run(ctx, down, nil); err != nil {
		return h.setBack(ctx, f, err, "the way back fails over rows written since: %v")
	}
	mid, err := h.contents(ctx)
	if err != nil {
		return "", err
	}
	v.LosesDown = lost(later, mid, mid.as(later))
	if _, err := h.run(ctx, f, nil); err != nil {
		_, err = h.setBack(ctx, f, err, "%v") // other rows than tenants at the version before have: no finding
		return "", err
	}
	again, err := h.contents(ctx)
	v.LosesDown = lost(later, mid, again)
	return "", err
}

// setBack brings the schema to after a file once a refusal has left it
// elsewhere, and words the refusal. Other errors pass through.
func (h *rehearsal) setBack(ctx context.Context, f *file, err error, format string) (string, error) {
	refused, ok := errors.AsType[setback](err)
	if !ok {
		return "", err
	}
	h.rows.forget()
	return fmt.Sprintf(format, refused), h.reset(ctx, f)
}

// untold names the tables that a version or its way back worked on though
// nothing is known of their rows.
func (h *rehearsal) untold(v *controlplane.RehearsedVersion, locked ...map[uint32]int) string {
	var names []string
	for _, t := range v.Unfilled {
		if slices.ContainsFunc(locked, func(most map[uint32]int) bool { return most[h.rows.oids[t.Table]] > 1 }) {
			names = append(names, t.Table)
		}
	}
	if names == nil {
		return ""
	}
	return "no rows could be made up for table " + strings.Join(names, ", ")
}

func (f *file) txMode() string {
	if f.alone {
		return "none"
	}
	return "file"
}

// run runs a file, up or down, in its transaction if it has one, and tells what
// its statements do if somebody watches. What PostgreSQL refuses is a setback.
func (h *rehearsal) run(ctx context.Context, f *file, watch *observer) ([]controlplane.RehearsedStatement, error) {
	seen := []controlplane.RehearsedStatement{}
	each := func(run func(context.Context, *file, int, *observer) (controlplane.RehearsedStatement, error)) error {
		for i := range f.statements {
			s, err := run(ctx, f, i+1, watch)
			if err != nil {
				return err
			}
			seen = append(seen, s)
		}
		return nil
	}
	var err error
	if f.alone {
		err = each(h.alone)
	} else {
		err = h.transaction(ctx, f, watch, func() error { return each(h.one) })
	}
	if _, refused := errors.AsType[setback](err); err != nil && !refused {
		return seen, err
	}
	return seen, cmp.Or(h.enter(ctx), err)
}

// alone runs a statement of a file without transaction: in one of its own, if
// it can be.
func (h *rehearsal) alone(ctx context.Context, f *file, n int, watch *observer) (s controlplane.RehearsedStatement, err error) {
	mode := f.statements[n-1].mode
	if mode == inside || mode == ending {
		err = h.transaction(ctx, f, watch, func() error {
			s, err = h.one(ctx, f, n, watch)
			return err
		})
		if refused, ok := errors.AsType[setback](err); !ok || !outsideOnly[refused.SQLState] {
			return s, err
		}
	}
	if watch != nil {
		s, err = watch.outside(ctx, f, n)
	} else {
		_, err = send(ctx, h.conn.PgConn(), f.statements[n-1].sql)
	}
	return s, asSetback(err, step{file: f, statement: n})
}

// outsideOnly are the SQLSTATEs of a statement that refuses the transaction
// around it.
var outsideOnly = map[string]bool{"25001": true, "2D000": true}

// transaction runs f in a transaction, which it rolls back if f fails.
func (h *rehearsal) transaction(ctx context.Context, f *file, watch *observer, run func() error) error {
	conn := h.conn.PgConn()
	if _, err := send(ctx, conn, "BEGIN ISOLATION LEVEL READ COMMITTED"); err != nil {
		return err
	}
	if watch != nil {
		if err := watch.begin(ctx, true); err != nil {
			return err
		}
	}
	err := run()
	if err == nil {
		_, err = send(ctx, conn, "COMMIT")
		err = asSetback(err, step{file: f, commits: true})
	}
	if err == nil || h.conn.IsClosed() || conn.TxStatus() == 'I' {
		return err
	}
	if _, rollback := send(ctx, conn, "ROLLBACK"); rollback != nil {
		return rollback
	}
	return err
}

// one runs a statement in the transaction that is open.
func (h *rehearsal) one(ctx context.Context, f *file, n int, watch *observer) (controlplane.RehearsedStatement, error) {
	started := time.Now()
	_, err := send(ctx, h.conn.PgConn(), f.statements[n-1].sql)
	if err != nil || watch == nil {
		return controlplane.RehearsedStatement{}, asSetback(err, step{file: f, statement: n})
	}
	return watch.seen(ctx, f, n, nil, time.Since(started))
}

// asSetback tells what PostgreSQL holds against a statement from what
// keeps a rehearsal from being held.
func asSetback(err error, at step) error {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || outcomeOf(refused, 0, time.Hour) != Failed {
		return err
	}
	failure := describe(refused, at)
	failure.Position = int(refused.Position)
	return setback{failure}
}
