package migrator

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ariga.io/atlas/sql/migrate"
	"ariga.io/atlas/sql/postgres"
	"ariga.io/atlas/sql/schema"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/pg"
)

// ComputeReverses finds reverses for versions without a down file, on a scratch
// database that has the schema, empty, and the extensions. It replays the files
// and, for a file of nothing but additive DDL on tables, takes Atlas's diff from
// after to before, runs it, and offers it only if the fingerprint is then that
// of before. Atlas's diff alone would not do: it silently leaves out views,
// functions, triggers, enum values and rows, and makes a DROP of a rename. The
// scratch schema is used up.
func (r *Release) ComputeReverses(ctx context.Context, scratch *pgx.Conn, schema string, versions []string) (reverses Reverses, err error) {
	defer recovered("compute reverses", &err)
	wanted, last := map[string]bool{}, -1
	for _, v := range versions {
		i := r.index(v)
		if i < 0 {
			return nil, controlplane.Errorf(controlplane.NotFound, "the release holds no version %s", named(v))
		}
		wanted[v], last = true, max(last, i)
	}
	a, err := openAtlas(ctx, scratch, schema)
	if err != nil {
		return nil, err
	}
	defer a.close()
	reverses = Reverses{}
	for _, f := range r.files[:last+1] {
		if !wanted[f.version] {
			err = a.replay(ctx, f)
		} else {
			reverses[f.version], err = a.reverse(ctx, f)
		}
		if err != nil {
			return nil, err
		}
		a.applied = append(a.applied, f)
	}
	return reverses, nil
}

// atlas is the scratch schema as Atlas and as we see it. Atlas's driver gets a
// connection of its own, since it leaves settings behind.
type atlas struct {
	conn    *pgx.Conn
	schema  string
	db      *sql.DB
	driver  migrate.Driver
	applied []*file
	limit   string // to a statement, as PostgreSQL has it; "": 30s
}

func openAtlas(ctx context.Context, scratch *pgx.Conn, schema string) (*atlas, error) {
	config := beside(scratch)
	config.RuntimeParams["search_path"] = searchPath(schema)
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(1)
	driver, err := postgres.Open(db)
	if err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("open Atlas's driver on %s: %w", config.Database, err)
	}
	a := &atlas{conn: scratch, schema: schema, db: db, driver: driver}
	if err := a.enter(ctx); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// enter makes the session what it was before a file changed it. Nothing here
// has to survive a crash, or may take for ever.
func (a *atlas) enter(ctx context.Context) error {
	_, err := send(ctx, a.conn.PgConn(), "RESET ALL; DISCARD TEMP; SET synchronous_commit = off; SET jit = off; SET statement_timeout = '"+cmp.Or(a.limit, "30s")+"'; SET search_path = "+searchPath(a.schema))
	if err != nil {
		return fmt.Errorf("enter scratch schema %s: %w", a.schema, err)
	}
	return nil
}

// placeWithin is how long a second session may take: who lends the first may
// have to find a place for it.
const placeWithin = 30 * time.Second

// beside is the configuration of another session beside one.
func beside(conn *pgx.Conn) *pgx.ConnConfig {
	config := conn.Config()
	config.ConnectTimeout = placeWithin
	return config
}

func (a *atlas) close() { _ = a.db.Close() }

func searchPath(schema string) string { return pg.Quote(schema) + ", extensions" }

// replay runs a file on the empty scratch schema.
func (a *atlas) replay(ctx context.Context, f *file) error {
	for i, s := range f.statements {
		_, err := send(ctx, a.conn.PgConn(), s.plain())
		if err != nil {
			return replayFailed(f, i+1, err)
		}
	}
	return a.enter(ctx)
}

func replayFailed(f *file, statement int, err error) error {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return fmt.Errorf("replay %s statement %d: %w", f.name, statement, err)
	}
	e := controlplane.Errorf(controlplane.Refused, "%s fails on an empty schema: %s", f.name, failureIn(f, statement, refused))
	e.Cause = redacted(refused)
	return e.WithHint("a release must lead from nothing to its last version")
}

// failureIn describes the refusal of a statement that was sent alone.
func failureIn(f *file, statement int, refused *pgconn.PgError) *controlplane.Failure {
	failure := describe(refused, step{file: f, statement: statement})
	failure.Position = int(refused.Position)
	return failure
}

// reverse replays a file and finds out how to undo it. The schema ends up as
// after the file.
func (a *atlas) reverse(ctx context.Context, f *file) (Reverse, error) {
	if reason := f.notAdditive(); reason != "" {
		return noReverse("%s", reason), a.replay(ctx, f)
	}
	before, err := a.look(ctx)
	if err != nil {
		return Reverse{}, err
	}
	if err := a.replay(ctx, f); err != nil {
		return Reverse{}, err
	}
	way, err := a.wayBack(ctx, f, before)
	if err != nil || way.Kind == controlplane.DownNone {
		return way, err
	}
	return a.prove(ctx, f, way, before)
}

func noReverse(format string, args ...any) Reverse {
	return Reverse{Kind: controlplane.DownNone, Reason: fmt.Sprintf(format, args...)}
}

// notAdditive says why Atlas's diff cannot be trusted to undo the file, or nothing.
func (f *file) notAdditive() string {
	for i := range f.statements {
		if reason := f.statements[i].notAdditive(); reason != "" {
			return fmt.Sprintf("statement %d: %s", i+1, reason)
		}
	}
	return ""
}

// wayBack computes what leads from the schema as it is, after a file, to what
// was before. Nothing is proved of it.
func (a *atlas) wayBack(ctx context.Context, f *file, before look) (Reverse, error) {
	after, err := a.look(ctx)
	if err != nil {
		return Reverse{}, err
	}
	statements, err := a.diff(ctx, f, after, before)
	if err != nil {
		return noReverse("Atlas finds no way back: %v", err), nil
	}
	return Reverse{Kind: controlplane.DownComputed, Statements: statements}, nil
}

// empty drops all that is in the schema.
func (a *atlas) empty(ctx context.Context) error {
	name := pg.Quote(a.schema)
	if _, err := send(ctx, a.conn.PgConn(), "DROP SCHEMA "+name+" CASCADE; CREATE SCHEMA "+name); err != nil {
		return fmt.Errorf("empty scratch schema %s: %w", a.schema, err)
	}
	return nil
}

// reset brings the schema to after the files applied, and more, from nothing.
func (a *atlas) reset(ctx context.Context, more ...*file) error {
	if err := a.empty(ctx); err != nil {
		return err
	}
	for _, f := range append(slices.Clone(a.applied), more...) {
		if err := a.replay(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// look is the schema as Atlas inspects it, with its fingerprint.
type look struct {
	schema *schema.Schema
	print  pg.Print
}

func (a *atlas) look(ctx context.Context) (l look, err error) {
	if l.schema, err = a.driver.InspectSchema(ctx, a.schema, nil); err != nil {
		return l, fmt.Errorf("inspect scratch schema %s: %w", a.schema, err)
	}
	l.print, err = pg.Fingerprint(ctx, a.conn, a.schema)
	return l, err
}

// diff returns the statements that lead from one look to another.
func (a *atlas) diff(ctx context.Context, f *file, from, to look) ([]string, error) {
	changes, err := a.driver.SchemaDiff(from.schema, to.schema)
	if err != nil || len(changes) == 0 {
		return nil, err
	}
	plan, err := a.plan(ctx, f.version, changes, "")
	if err != nil {
		return nil, err
	}
	var statements []string
	for _, c := range plan.Changes {
		statements = append(statements, strings.TrimSuffix(c.Cmd, ";")+";")
	}
	return statements, nil
}

// plan turns changes into statements. They name no schema, so that they run in any.
func (a *atlas) plan(ctx context.Context, name string, changes []schema.Change, indent string) (*migrate.Plan, error) {
	return a.driver.PlanChanges(ctx, name, changes, func(o *migrate.PlanOptions) {
		o.SchemaQualifier, o.Indent = new(string), indent
	})
}

// prove runs a reverse, compares with what was before, and brings the schema
// back to after the file.
func (a *atlas) prove(ctx context.Context, f *file, way Reverse, before look) (Reverse, error) {
	if _, err := send(ctx, a.conn.PgConn(), "BEGIN;\n"+strings.Join(way.Statements, "\n")+"\nCOMMIT"); err != nil {
		_, rollback := send(ctx, a.conn.PgConn(), "ROLLBACK")
		return noReverse("the reverse that Atlas computes fails: %v", err), rollback
	}
	found, err := pg.Fingerprint(ctx, a.conn, a.schema)
	if err != nil {
		return Reverse{}, err
	}
	if found != before.print {
		return noReverse("the reverse that Atlas computes does not restore the schema"), a.reset(ctx, f)
	}
	return way, a.replay(ctx, f)
}
