package migrator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"ariga.io/atlas/sql/migrate"
	"ariga.io/atlas/sql/schema"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/pg"
)

// Goal is a desired schema, and the migration directory that is to lead to it.
type Goal struct {
	name      string // of the migration
	directory *Release
	desired   *file
}

// ParseGoal reads a directory and a schema file. What it answers is an error
// that names file and line.
func ParseGoal(n controlplane.NewDiff) (g *Goal, err error) {
	defer recovered("parse the schema", &err)
	g = &Goal{name: n.Name}
	if g.directory, err = parseDirectory(n.Files); err != nil {
		return nil, err
	}
	desired, atlas, err := newFile("schema.sql", n.Schema) // a name that a migration could have
	if err != nil {
		return nil, err
	}
	desired.name = cmp.Or(n.Path, "the schema file")
	g.desired = desired
	return g, desired.read(atlas, n.Schema)
}

// parseDirectory is Parse for a directory that may have no migration yet.
func parseDirectory(files map[string][]byte) (*Release, error) {
	for name := range files {
		if name != migrate.HashFileName {
			return Parse(files)
		}
	}
	return &Release{downs: map[string]*file{}}, nil
}

// Diff computes the migration on a scratch database that has the schema, empty,
// and the extensions: it makes the desired schema, then replays the directory,
// takes Atlas's diff between the two, runs it as a tenant would, and compares
// fingerprints. Atlas's diff alone would not do: it silently leaves out views,
// functions, triggers and much else. The scratch schema is used up.
func (g *Goal) Diff(ctx context.Context, scratch *pgx.Conn, schema string) (d *controlplane.Diff, err error) {
	defer recovered("compute the migration", &err)
	a, err := openAtlas(ctx, scratch, schema)
	if err != nil {
		return nil, err
	}
	defer a.close()
	want, err := a.detailedAfter(ctx, g.desired)
	if err != nil {
		return nil, desiredFailed(err)
	}
	if err := a.empty(ctx); err != nil {
		return nil, err
	}
	have, err := a.detailedAfter(ctx, g.directory.files...)
	if err != nil {
		return nil, err
	}
	if have.print == want.print {
		return &controlplane.Diff{InSync: true, Complete: true}, nil
	}
	a.applied = g.directory.files
	return g.lead(ctx, a, have, want)
}

// desiredFailed is the error of a replay when it was the desired schema's.
func desiredFailed(err error) error {
	if e, ok := errors.AsType[*controlplane.Error](err); ok && e.Code == controlplane.Refused {
		e.Code = controlplane.Invalid
		return e.WithHint("the file makes the whole schema from nothing, in its order; extensions are the cluster's: `manor cluster set NAME --extension citext`")
	}
	return err
}

// detailed is a look with the objects that make the fingerprint.
type detailed struct {
	look
	objects []pg.Object
}

func (a *atlas) detailedAfter(ctx context.Context, files ...*file) (d detailed, err error) {
	for _, f := range files {
		if err := a.replay(ctx, f); err != nil {
			return d, err
		}
	}
	if d.look, err = a.look(ctx); err != nil {
		return d, err
	}
	d.objects, err = pg.Objects(ctx, a.conn, a.schema)
	return d, err
}

// lead computes the migration from what the schema is now, tries it out and
// looks where it leads.
func (g *Goal) lead(ctx context.Context, a *atlas, have, want detailed) (*controlplane.Diff, error) {
	changes, err := a.driver.SchemaDiff(have.schema, want.schema, schema.DiffNormalized()) // else a CHECK of the same name counts as the same
	if err != nil {
		return nil, cannotPlan(err)
	}
	d := &controlplane.Diff{Drops: dropsIn(changes), Renames: renamesIn(changes), Notes: notes(changes)}
	f, content, err := g.write(ctx, a, changes)
	switch {
	case err != nil:
		return nil, err
	case f == nil:
		d.ByHand = pg.Compare(have.objects, want.objects)
		return d, nil
	}
	d.File = f.name
	down, err := a.judge(ctx, d, f, want)
	if err != nil {
		return nil, err
	}
	d.Files, err = g.files(f.name, content, down)
	return d, err
}

// judge runs the migration, notes in d where it leads, and returns the
// statements that were seen to lead back.
func (a *atlas) judge(ctx context.Context, d *controlplane.Diff, f *file, want detailed) (down []string, err error) {
	if d.Failure, err = a.tryOut(ctx, f); d.Failure != nil || err != nil {
		return nil, err
	}
	reverse, err := a.reverse(ctx, f)
	if err != nil {
		return nil, err
	}
	now, err := a.detailedAfter(ctx)
	if err != nil {
		return nil, err
	}
	if now.print != want.print {
		d.ByHand = pg.Compare(now.objects, want.objects)
	}
	d.Complete = now.print == want.print && len(d.Renames) == 0
	d.NoDown = reverse.Reason
	return reverse.Statements, nil
}

func cannotPlan(err error) error {
	return controlplane.Errorf(controlplane.Refused, "Atlas finds no way to the desired schema: %w", err).WithHint("write the migration by hand")
}

// write makes the migration file of Atlas's plan, as Atlas writes it; nil where
// there is nothing to do for Atlas.
func (g *Goal) write(ctx context.Context, a *atlas, changes []schema.Change) (f *file, content []byte, err error) {
	if len(changes) == 0 {
		return nil, nil, nil
	}
	plan, err := a.plan(ctx, g.name, changes, "    ")
	if err != nil {
		return nil, nil, cannotPlan(err)
	}
	if len(plan.Changes) == 0 {
		return nil, nil, nil
	}
	if plan.Version, err = g.version(); err != nil {
		return nil, nil, err
	}
	written, err := migrate.DefaultFormatter.Format(plan)
	if err != nil {
		return nil, nil, fmt.Errorf("write the migration %s: %w", g.name, err)
	}
	name, content := written[0].Name(), written[0].Bytes()
	f, err = parseFile(name, content)
	return f, content, err
}

// version is that of a migration of now. It comes after one that was written by
// a clock somewhat ahead, or in this very second.
func (g *Goal) version() (string, error) {
	const layout = "20060102150405" // as migrate.NewVersion has it
	files, now := g.directory.files, time.Now().UTC()
	if len(files) == 0 {
		return now.Format(layout), nil
	}
	last := files[len(files)-1]
	if at, err := time.Parse(layout, last.version); err == nil && !now.After(at.Add(time.Second)) && at.Sub(now) < time.Minute {
		now = at.Add(time.Second)
	}
	version := now.Format(layout)
	with := Release{files: []*file{last, {version: version}}}
	if with.checkVersions() != nil || last.name > version+"_" { // files are sorted by their names
		return "", controlplane.Errorf(controlplane.Refused, "a migration of now, version %s, would not come after %s, the last of the directory", version, last.name).
			WithHint("versions are compared as strings: write the next migration by hand and give it a version that sorts last")
	}
	return version, nil
}

// tryOut runs a file as tenants do, in one transaction, and takes it back: a
// value that is added to an enum, for one, cannot be used in the same.
func (a *atlas) tryOut(ctx context.Context, f *file) (failure *controlplane.Failure, err error) {
	if _, err := send(ctx, a.conn.PgConn(), "BEGIN"); err != nil {
		return nil, err
	}
	for i, s := range f.statements {
		_, err := send(ctx, a.conn.PgConn(), s.sql)
		if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
			failure = failureIn(f, i+1, refused)
			break
		}
		if err != nil {
			return nil, fmt.Errorf("try %s out, statement %d: %w", f.name, i+1, err)
		}
	}
	_, err = send(ctx, a.conn.PgConn(), "ROLLBACK")
	return failure, err
}

// files are those to be written: the migration, its down file if it has one,
// and the atlas.sum of the directory with it. They are read as a push would.
func (g *Goal) files(name string, content []byte, down []string) (map[string]string, error) {
	var dir migrate.MemDir
	for _, f := range g.directory.files {
		if err := dir.WriteFile(f.name, g.directory.raw[f.name]); err != nil {
			return nil, err
		}
	}
	if err := dir.WriteFile(name, content); err != nil {
		return nil, err
	}
	hashes, err := dir.Checksum()
	if err != nil {
		return nil, fmt.Errorf("hash the directory with %s: %w", name, err)
	}
	sum, err := hashes.MarshalText()
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", migrate.HashFileName, err)
	}
	files := map[string]string{name: string(content), migrate.HashFileName: string(sum)}
	if len(down) > 0 {
		files[downDir+name] = strings.Join(down, "\n") + "\n"
	}
	after := maps.Clone(g.directory.raw)
	if after == nil {
		after = map[string][]byte{}
	}
	for name, content := range files {
		after[name] = []byte(content)
	}
	_, err = Parse(after)
	return files, err
}
