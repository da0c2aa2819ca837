package migrator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

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
	for _, version := range []string{from, to} {
		if r.index(version) < -1 {
			return nil, controlplane.Errorf(controlplane.NotFound, "the release holds no version %s", version)
		}
	}
	first, last := r.index(from)+1, r.index(to)
	if last < first-1 {
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
type setback struct {
	*controlplane.Failure
	table, column string // that PostgreSQL names, if it does
}

func (s setback) Error() string { return s.Failure.String() }

// version rehearses one file. The schema ends up as after it, unless it cannot
// run at all.
func (h *rehearsal) version(ctx context.Context, f *file) (*controlplane.RehearsedVersion, error) {
	started := time.Now()
	v := f.untold()
	defer func() { v.DurationMS = time.Since(started).Milliseconds() }()
	b, watch, err := h.firstUp(ctx, f, v)
	if err != nil || v.Refuses == controlplane.RefusesEverything {
		return v, err
	}
	t := &trip{up: f, before: b, touched: watch.most, told: v}
	if err := h.down(ctx, t); err != nil {
		return v, err
	}
	if t.down == nil {
		v.LosesUp, err = h.gone(ctx, b.rows, nil)
		return v, err
	}
	if t.after, err = h.emptyContents(ctx); err != nil {
		return v, err
	}
	why, err := h.back(ctx, t)
	if why == "" && len(watch.idle) > 0 {
		why = fmt.Sprintf("statement %d finds none of the generated rows to change", watch.idle[0])
	}
	v.Why, v.Proved = why, why == ""
	return v, err
}

// untold is a version of which nothing has been seen yet.
func (f *file) untold() *controlplane.RehearsedVersion {
	return &controlplane.RehearsedVersion{Version: f.version, File: f.name, TxMode: f.txMode(), Down: controlplane.DownNone, Statements: []controlplane.RehearsedStatement{},
		Reverse: []string{}, LosesUp: []string{}, LosesDown: []string{}, Unfilled: []controlplane.UnfilledTable{}}
}

// trip is one file's way up and down.
type trip struct {
	up, down *file
	before   before
	after    contents       // the first up
	touched  map[uint32]int // strongest mode + 1 in which up locked each relation
	told     *controlplane.RehearsedVersion
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

// down finds the way back from a file that has just run, or says why there is none.
func (h *rehearsal) down(ctx context.Context, t *trip) error {
	reverse, ok := h.release.Reverse(t.up.version)
	if !ok && t.before.look == nil {
		reverse = noReverse("%s", t.up.notAdditive())
	} else if !ok {
		var err error
		if reverse, err = h.wayBack(ctx, t.up, *t.before.look); err != nil {
			return err
		}
	}
	if t.down = h.release.downs[t.up.version]; t.down == nil && reverse.Kind == controlplane.DownComputed {
		var err error
		if t.down, err = computedFile(t.up, reverse); err != nil {
			reverse = noReverse("%v", err)
		}
	}
	t.told.Down, t.told.Why = reverse.Kind, reverse.Reason
	t.told.Reverse = append(t.told.Reverse, reverse.Statements...)
	return nil
}

// back takes a version back and up again, and says why that proves nothing, or
// "" if it does: once over the rows that it found, and once over rows written
// after it.
func (h *rehearsal) back(ctx context.Context, t *trip) (why string, err error) {
	watch, err := h.observe(ctx)
	if err != nil {
		return "", err
	}
	if _, err := h.run(ctx, t.down, watch); err != nil {
		t.told.LosesUp, err = h.gone(ctx, t.before.rows, err)
		return h.setBack(ctx, t.up, err, "the way back fails: %v")
	}
	again, err := h.contents(ctx)
	if err != nil {
		return "", err
	}
	restored, err := pg.Fingerprint(ctx, h.conn, h.schema)
	if err != nil {
		return "", err
	}
	t.told.LosesUp = lost(t.before.rows, t.after, again)
	if _, err := h.run(ctx, t.up, nil); err != nil {
		return h.setBack(ctx, t.up, err, "it cannot go up again after the way back: %v")
	}
	if why, err = h.backFromLater(ctx, t); err != nil {
		return "", err
	}
	untold := h.untold(t.told.Unfilled, t.touched, watch.most)
	switch not := notBack(t, restored); {
	case not != "":
		return not, nil
	case t.told.Refuses == controlplane.RefusesAll:
		return "it refuses every generated row, so nothing is known of rows", nil
	case untold != "":
		return untold, nil
	}
	return why, nil
}

// backFromLater takes a version back over rows that were written after it to
// the tables it touched, and up again.
func (h *rehearsal) backFromLater(ctx context.Context, t *trip) (string, error) {
	h.rows.wanted(t.touched)
	if err := h.rows.fill(ctx, allRows); err != nil {
		return "", err
	}
	later, err := h.contents(ctx)
	if err != nil {
		return "", err
	}
	if _, err := h.run(ctx, t.down, nil); err != nil {
		return h.setBack(ctx, t.up, err, "the way back fails over rows written since: %v")
	}
	mid, err := h.emptyContents(ctx)
	if err != nil {
		return "", err
	}
	if _, err := h.run(ctx, t.up, nil); err != nil { // over other rows than tenants have there: no finding
		t.told.LosesDown, err = h.gone(ctx, later, err)
		_, err = h.setBack(ctx, t.up, err, "%v")
		return "", err
	}
	again, err := h.contents(ctx)
	if err == nil {
		t.told.LosesDown = lost(later, mid, again)
	}
	return "", err
}

// gone names what of before is not there now, and passes on a setback that left
// the schema as it is.
func (h *rehearsal) gone(ctx context.Context, before contents, err error) ([]string, error) {
	if _, refused := errors.AsType[setback](err); err != nil && !refused {
		return []string{}, err
	}
	now, failed := h.contents(ctx)
	if failed != nil {
		return []string{}, failed
	}
	return lost(before, now, now.as(before)), err
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
func (h *rehearsal) untold(unfilled []controlplane.UnfilledTable, locked ...map[uint32]int) string {
	var names []string
	for _, t := range unfilled {
		if slices.ContainsFunc(locked, func(most map[uint32]int) bool { return most[h.rows.oids[t.Table]] > 1 }) {
			names = append(names, t.Table)
		}
	}
	if names == nil {
		return ""
	}
	return "no rows could be made up for table " + strings.Join(names, ", ")
}
