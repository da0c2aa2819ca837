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

// Original is a tenant's home that is to be copied.
type Original struct {
	pg.Marker        // tenant, schema and generation, by which the home proves itself
	Version   string // that it is thought to be at; "" is an empty home
	// Lend runs f on a session of the owner of the home's database.
	Lend func(ctx context.Context, f func(*pgx.Conn) error) error
}

// CloneLimits are bounds of a rehearsal on a copy.
type CloneLimits struct {
	Bytes     int64         // of the home, with its indexes
	Statement time.Duration // for a statement of a version, as in the rollout; 0: 30 s
}

// ownLimit is what a statement of ours may take on a copy: a checksum of a
// large table, or an index of it.
const ownLimit = "10min"

// RehearseOn copies a tenant's home, rows and all, into a scratch database of
// its cluster that has the schema, empty, and the extensions, and runs the
// versions there that lead to another one. What PostgreSQL refuses over the
// tenant's rows is part of the answer, which ends there. With an error it tells
// what was seen before. The scratch schema is used up.
func (r *Release) RehearseOn(ctx context.Context, scratch *pgx.Conn, schema string, home Original, to string, limits CloneLimits) (c *controlplane.Clone, err error) {
	defer recovered("rehearse the release on a copy", &err)
	c = &controlplane.Clone{Tenant: home.Slug, From: home.Version, To: to, Versions: []controlplane.RehearsedVersion{}}
	first, last := r.index(home.Version)+1, r.index(to)
	if first < 0 || last < first-1 {
		return c, controlplane.Errorf(controlplane.Refused, "the release leads from no version %s to %s", named(home.Version), named(to))
	}
	a := &atlas{conn: scratch, schema: schema, limit: ownLimit}
	if err := a.enter(ctx); err != nil {
		return c, err
	}
	for _, f := range r.files[:first] {
		if err := a.replay(ctx, f); err != nil {
			return c, err
		}
	}
	if err := a.copyHome(ctx, home, limits.Bytes, c); err != nil {
		return c, err
	}
	h := &rehearsal{release: r}
	if h.atlas, err = openAtlas(ctx, scratch, schema); err != nil {
		return c, err
	}
	defer h.close()
	h.limit, h.applied = ownLimit, slices.Clone(r.files[:first])
	for _, f := range r.files[first : last+1] {
		v, err := h.overRows(ctx, f, Limits{Statement: limits.Statement}.withDefaults())
		if err != nil {
			return c, fmt.Errorf("rehearse %s on a copy: %w", f.name, err)
		}
		if c.Versions = append(c.Versions, *v); v.Refuses != "" {
			break
		}
	}
	return c, nil
}

// overRows rehearses one file over the rows that are there: up, and the way
// back, which is taken back itself. The schema ends up as after the file.
func (h *rehearsal) overRows(ctx context.Context, f *file, limits Limits) (*controlplane.RehearsedVersion, error) {
	started, v := time.Now(), f.untold()
	defer func() { v.DurationMS = time.Since(started).Milliseconds() }()
	if err := h.enter(ctx); err != nil {
		return nil, err
	}
	b, err := h.found(ctx, f)
	if err != nil {
		return nil, err
	}
	watch, err := h.observe(ctx)
	if err != nil {
		return nil, err
	}
	if !f.alone { // what builds an index concurrently may take its time, as in the rollout
		if err := exec(ctx, h.conn, fmt.Sprintf("SET statement_timeout = %d", limits.Statement.Milliseconds())); err != nil {
			return nil, err
		}
	}
	v.Statements, err = h.run(ctx, f, watch)
	if refused, ok := errors.AsType[setback](err); ok {
		v.Refuses, v.Failure, v.Why = controlplane.RefusesTenant, refused.Failure, "the version fails"
		v.Nulls = h.nulls(ctx, refused)
		return v, nil
	}
	if err != nil {
		return nil, err
	}
	t := &trip{up: f, before: b, touched: watch.most, told: v}
	if err := h.down(ctx, t); err != nil {
		return nil, err
	}
	if t.down == nil {
		v.LosesUp, err = h.gone(ctx, b.rows, nil)
		return v, err
	}
	v.Why, err = h.wayBackOverRows(ctx, t)
	v.Proved = v.Why == ""
	return v, err
}

// nulls counts the rows with a NULL where a version wants none.
func (h *rehearsal) nulls(ctx context.Context, refused setback) (n int64) {
	if refused.SQLState != "23502" || refused.table == "" || refused.column == "" {
		return 0
	}
	// The column may be one that the version adds: then nothing can be counted.
	_ = h.conn.QueryRow(ctx, fmt.Sprintf("SELECT count(*) FROM %s WHERE %s IS NULL", pg.Quote(refused.table), pg.Quote(refused.column)), unprepared).Scan(&n)
	return n
}

// errTakenBack ends a transaction of which only what it did was wanted.
var errTakenBack = errors.New("taken back")

// wayBackOverRows goes the way back from a version, looks whether schema and
// rows are those of before, and takes all of that back. It says what is not so.
func (h *rehearsal) wayBackOverRows(ctx context.Context, t *trip) (why string, err error) {
	if t.after, err = h.emptyContents(ctx); err != nil {
		return "", err
	}
	var restored pg.Print
	var again contents
	err = h.transaction(ctx, t.down, nil, func() error {
		for i := range t.down.statements {
			if _, err := h.one(ctx, t.down, i+1, nil); err != nil {
				return err
			}
		}
		err := exec(ctx, h.conn, "SET CONSTRAINTS ALL IMMEDIATE; RESET ALL; SET LOCAL statement_timeout = '"+ownLimit+"'; SET LOCAL search_path = "+pg.Quote(h.schema))
		if err != nil {
			return asSetback(err, step{file: t.down, commits: true})
		}
		if restored, err = pg.Fingerprint(ctx, h.conn, h.schema); err != nil {
			return fmt.Errorf("fingerprint the copy: %w", err)
		}
		if again, err = h.contents(ctx); err != nil {
			return err
		}
		return errTakenBack
	})
	if refused, ok := errors.AsType[setback](err); ok {
		if err := h.enter(ctx); err != nil {
			return "", err
		}
		t.told.LosesUp, err = h.gone(ctx, t.before.rows, nil)
		return fmt.Sprintf("the way back fails: %v", refused), err
	}
	if !errors.Is(err, errTakenBack) {
		return "", err
	}
	t.told.LosesUp = lost(t.before.rows, t.after, again)
	return notBack(t, restored), nil
}

// notBack says what the way back does not bring back.
func notBack(t *trip, restored pg.Print) string {
	switch {
	case restored != t.before.print:
		return "the way back does not restore the schema"
	case len(t.told.LosesUp) > 0:
		return "the way back does not bring back: " + strings.Join(t.told.LosesUp, ", ")
	}
	return ""
}
