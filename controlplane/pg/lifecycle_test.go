package pg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/manorhq/manor/controlplane"
)

// snapshot is everything that a database and a home left on the cluster, with
// their names replaced by what they stand for.
func (f *fixture) snapshot(d Database, h Home) []string {
	super := f.super("postgres")
	defer super.Close(context.Background())
	lines := query(f.t, super, `
		SELECT concat_ws(' ', 'role', rolname, rolcanlogin, rolinherit, rolsuper, rolcreatedb, rolcreaterole, rolconnlimit, left(rolpassword, 5), shobj_description(oid, 'pg_authid'))
		FROM pg_authid WHERE rolname = ANY($1) UNION ALL
		SELECT concat_ws(' ', 'member', r.rolname, m.rolname, admin_option) FROM pg_auth_members am JOIN pg_roles r ON r.oid = am.roleid JOIN pg_roles m ON m.oid = am.member
		WHERE r.rolname = ANY($1) AND NOT admin_option UNION ALL
		SELECT concat_ws(' ', 'setting', r.rolname, s.setconfig) FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole WHERE r.rolname = ANY($1) UNION ALL
		SELECT concat_ws(' ', 'database', datname, datdba::regrole, datallowconn, datconnlimit, datacl) FROM pg_database WHERE datname = $2`,
		[]string{d.Owner, d.Connect, h.Role, h.Logins[0], h.Logins[1]}, d.Name)
	var open bool
	must(f.t, super.QueryRow(f.t.Context(), "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datallowconn)", d.Name).Scan(&open))
	if open {
		inside := f.super(d.Name)
		defer inside.Close(context.Background())
		lines = append(lines, query(f.t, inside, `
			SELECT concat_ws(' ', 'schema', nspname, nspowner::regrole, nspacl) FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' UNION ALL
			SELECT concat_ws(' ', 'relation', c.oid::regclass, relowner::regrole, relacl) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname ~ '^(t_|manor|extensions)' UNION ALL
			SELECT concat_ws(' ', 'default', defaclobjtype, defaclacl) FROM pg_default_acl UNION ALL
			SELECT concat_ws(' ', 'extension', extname, extnamespace::regnamespace, extowner::regrole) FROM pg_extension UNION ALL
			SELECT concat_ws(' ', 'marker', tenant_id, slug, schema, generation, epoch, incarnation) FROM manor.marker`)...)
	}
	for i, line := range lines {
		for _, name := range [][2]string{{h.TenantID, "TENANT"}, {h.Schema, "HOME"}, {d.Owner, "OWNER"}, {d.Name, "DATABASE"}} {
			line = strings.ReplaceAll(line, name[0], name[1])
		}
		lines[i] = line
	}
	slices.Sort(lines)
	return lines
}

// worker does whole lives of homes on connections that a fuse watches.
type worker struct {
	f    *fixture
	fuse *fuse
}

func (w worker) connect(ctx context.Context, l Login, database string) (*pgx.Conn, error) {
	c, err := l.Config(database, "worker")
	if err != nil {
		return nil, err
	}
	if w.fuse != nil {
		c.Tracer = w.fuse
	}
	return pgx.ConnectConfig(ctx, c)
}

func (w worker) provision(ctx context.Context, d Database, h Home, k keys) error {
	control, err := w.connect(ctx, w.f.login, "postgres")
	if err != nil {
		return err
	}
	defer control.Close(context.Background())
	if err := CreateDatabase(ctx, control, d); err != nil {
		return err
	}
	owner, err := w.connect(ctx, w.f.as(d.Owner, k[d.Owner]), d.Name)
	if err != nil {
		return err
	}
	defer owner.Close(context.Background())
	return errors.Join(FurnishDatabase(ctx, owner, d), CreateRoles(ctx, control, h), CreateHome(ctx, owner, h))
}

func (w worker) remove(ctx context.Context, d Database, h Home, k keys) error {
	control, err := w.connect(ctx, w.f.login, "postgres")
	if err != nil {
		return err
	}
	defer control.Close(context.Background())
	if err := SetLogins(ctx, control, h, false); err != nil {
		return err
	}
	if owner, err := w.connect(ctx, w.f.as(d.Owner, k[d.Owner]), d.Name); err == nil { // after a crash it may be gone
		err := DropHome(ctx, owner, h)
		owner.Close(context.Background())
		if err != nil {
			return err
		}
	}
	if err := DropRoles(ctx, control, h); err != nil {
		return err
	}
	return DropDatabase(ctx, control, d)
}

func TestEveryStepMayBeRepeated(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d, h, k := f.plan()
	w := worker{f: f}
	must(t, w.provision(t.Context(), d, h, k))
	first := f.snapshot(d, h)
	must(t, w.provision(t.Context(), d, h, k))
	if diff := cmp.Diff(first, f.snapshot(d, h)); diff != "" {
		t.Errorf("the second time changed something:\n%s", diff)
	}
	must(t, w.remove(t.Context(), d, h, k))
	must(t, w.remove(t.Context(), d, h, k))
	if left := f.snapshot(d, h); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestTheControlLoginCannotActAsWhatItMade(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d, h, k := f.plan()
	f.make(d, k, h)
	super := f.super("postgres")
	f.connect(f.as(h.Logins[0], k[h.Logins[0]]), d.Name)
	must(t, SetLogins(t.Context(), f.control(), h, false))
	for _, name := range []string{d.Owner, d.Connect, h.Role, h.Logins[0], h.Logins[1]} {
		if got := query(t, super, "SELECT pg_has_role($1, $2, 'USAGE')::text", f.login.User, name); got[0] != "false" {
			t.Errorf("it has the rights of %s", name)
		}
	}
	if _, err := Connect(t.Context(), f.login, d.Name, "test"); controlplane.CodeOf(err) != controlplane.Refused {
		t.Errorf("it connects to a tenant's database: %v", err)
	}
}

func TestTheSameWorkDoneByManyAtOnceIsDoneOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d, h, k := f.plan()
	t.Cleanup(func() { f.clear(d, h) })
	together := func(work func(*pgx.Conn) error) {
		t.Helper()
		var group errgroup.Group
		for range 8 {
			control := f.control()
			group.Go(func() error { return work(control) })
		}
		must(t, group.Wait())
	}
	together(func(*pgx.Conn) error { return worker{f: f}.provision(t.Context(), d, h, k) })
	f.checkRights(f.super(d.Name), h)
	f.connect(f.as(h.Logins[0], k[h.Logins[0]]), d.Name)
	together(func(control *pgx.Conn) error { return SetLogins(t.Context(), control, h, false) })
	exec(t, f.super("postgres"), fmt.Sprintf("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '%s' AND usename = 'postgres'", d.Name))
	together(func(control *pgx.Conn) error {
		// From 17 on PostgreSQL hangs up on who alters a database while another drops it.
		err := DropDatabase(t.Context(), control, d)
		for controlplane.CodeOf(err) == controlplane.Unavailable && control.IsClosed() {
			if control, err = Connect(t.Context(), f.login, "postgres", "again"); err == nil {
				defer control.Close(context.Background())
				err = DropDatabase(t.Context(), control, d)
			}
		}
		return errors.Join(err, DropRoles(t.Context(), control, h))
	})
	if left := f.snapshot(d, h); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A crash between any two statements ends in the same state as no crash, once
// the work is repeated.
func TestACrashAtAnyStatementIsRepairedByRepeating(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d, h, k := f.plan()
	must(t, worker{f: f}.provision(t.Context(), d, h, k))
	want := f.snapshot(d, h)
	must(t, worker{f: f}.remove(t.Context(), d, h, k))
	for crash, at := true, 1; crash; at++ {
		crash = f.liveThrough(at, want)
		if at > 200 {
			t.Fatal("the work does not end")
		}
	}
}

// liveThrough makes and removes a home with a crash at the n-th statement of
// each, and reports whether either came that far.
func (f *fixture) liveThrough(n int, want []string) (crashed bool) {
	f.t.Helper()
	what := fmt.Sprintf("crash at statement %d", n)
	d, h, k := f.plan()
	try := func(work func(worker, context.Context, Database, Home, keys) error) {
		ctx, cancel := context.WithCancel(f.t.Context())
		defer cancel()
		fuse := newFuse(n, cancel)
		err := work(worker{f, fuse}, ctx, d, h, k)
		if !fuse.blown() && err != nil {
			f.t.Fatalf("%s: %v", what, err)
		}
		crashed = crashed || fuse.blown()
		if err := work(worker{f: f}, f.t.Context(), d, h, k); err != nil {
			f.t.Fatalf("%s, then again: %v", what, err)
		}
	}
	try(worker.provision)
	if diff := cmp.Diff(want, f.snapshot(d, h)); diff != "" {
		f.t.Errorf("%s: provisioned otherwise (-whole +resumed):\n%s", what, diff)
	}
	try(worker.remove)
	if left := f.snapshot(d, h); len(left) > 0 {
		f.t.Errorf("%s: left behind: %v", what, left)
	}
	return crashed
}

func TestProvisioningThatCrashedAnywhereCanBeUndone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for crashed, at := true, 1; crashed; at++ {
		d, h, k := f.plan()
		ctx, cancel := context.WithCancel(t.Context())
		fuse := newFuse(at, cancel)
		_ = worker{f, fuse}.provision(ctx, d, h, k)
		cancel()
		crashed = fuse.blown()
		must(t, worker{f: f}.remove(t.Context(), d, h, k))
		if left := f.snapshot(d, h); len(left) > 0 {
			t.Errorf("crash at statement %d: left behind: %v", at, left)
		}
	}
}

func TestARevisionTableMadeAnewStaysClosedToTheTenant(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d, h, k := f.plan()
	f.make(d, k, h)
	owner := f.connect(f.as(d.Owner, k[d.Owner]), d.Name)
	exec(t, owner, fmt.Sprintf("DROP TABLE %s.atlas_schema_revisions", Quote(h.Schema)))
	must(t, CreateHome(t.Context(), owner, h))
	f.checkRights(f.super(d.Name), h)
}

func TestFiftyHomesAtOnceDisturbNobody(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d, _, k := f.plan()
	d.Shared = true
	homes := make([]Home, 50)
	for i := range homes {
		homes[i] = f.planHome(d, k)
	}
	t.Cleanup(func() { f.clear(d, homes...) })
	var group errgroup.Group
	for _, h := range homes {
		group.Go(func() error { return worker{f: f}.provision(t.Context(), d, h, k) })
	}
	must(t, group.Wait())
	super := f.super(d.Name)
	for _, h := range homes {
		f.checkRights(super, h)
	}
	f.connect(f.as(homes[49].Logins[1], k[homes[49].Logins[1]]), d.Name)
}

func (f *fixture) checkRights(super *pgx.Conn, h Home) {
	f.t.Helper()
	exec(f.t, super, fmt.Sprintf("SET search_path = %s; SET ROLE %s; CREATE TABLE notes (id bigserial); RESET ROLE", Quote(h.Schema), Quote(f.ownerOf(super))))
	for _, login := range h.Logins {
		missing := query(f.t, super, `
			SELECT what FROM (VALUES ('connect', has_database_privilege($1, current_database(), 'CONNECT')), ('no temp', NOT has_database_privilege($1, current_database(), 'TEMP')),
				('usage', has_schema_privilege($1, $2, 'USAGE')), ('no create', NOT has_schema_privilege($1, $2, 'CREATE')),
				('select', has_table_privilege($1, 'notes', 'SELECT')), ('insert', has_table_privilege($1, 'notes', 'INSERT')),
				('update', has_table_privilege($1, 'notes', 'UPDATE')), ('delete', has_table_privilege($1, 'notes', 'DELETE')),
				('sequence', has_sequence_privilege($1, 'notes_id_seq', 'USAGE')), ('no revisions', NOT has_table_privilege($1, 'atlas_schema_revisions', 'SELECT')),
				('search path', EXISTS (SELECT FROM pg_db_role_setting WHERE setrole = $1::regrole AND setconfig = ARRAY['search_path=' || $2 || ', extensions']))) v(what, holds)
			WHERE NOT holds`, login, h.Schema)
		if len(missing) > 0 {
			f.t.Errorf("login %s: does not hold: %v", login, missing)
		}
	}
}

func (f *fixture) ownerOf(super *pgx.Conn) string {
	return query(f.t, super, "SELECT datdba::regrole::text FROM pg_database WHERE datname = current_database()")[0]
}

func TestAnInterruptedDropDatabaseIsFinished(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	control, super := f.control(), f.super("postgres")
	for _, owned := range []string{"owner", "control login"} {
		d, h, k := f.plan()
		f.make(d, k, h)
		if owned == "control login" {
			must(t, d.doom(t.Context(), control, made))
			if err := CreateDatabase(t.Context(), control, d); !errors.Is(err, ErrForeign) {
				t.Errorf("what is being dropped passes for a new database: %v", err)
			}
		}
		exec(t, super, fmt.Sprintf("UPDATE pg_database SET datconnlimit = -2 WHERE datname = '%s'", d.Name))
		if err := CreateDatabase(t.Context(), control, d); err == nil {
			t.Errorf("%s: what is being dropped passes for a new database", owned)
		}
		must(t, DropDatabase(t.Context(), control, d))
		must(t, DropRoles(t.Context(), control, h))
		if left := f.snapshot(d, h); len(left) > 0 {
			t.Errorf("%s: left behind: %v", owned, left)
		}
	}
}

func TestDropDatabaseEndsSessionsAndTakesLargeObjectsAlong(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d, h, k := f.plan()
	f.make(d, k, h)
	tenant := f.connect(f.as(h.Logins[0], k[h.Logins[0]]), d.Name)
	exec(t, tenant, "SELECT lo_create(0)")
	must(t, DropDatabase(t.Context(), f.control(), d))
	if err := tenant.Ping(t.Context()); err == nil {
		t.Error("the tenant's session survived its database")
	}
}

func TestDropRolesDropsWhatATenantManagedToOwn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d, h, k := f.plan()
	f.make(d, k, h)
	exec(t, f.connect(f.as(h.Logins[0], k[h.Logins[0]]), d.Name), "SELECT lo_create(0)")
	must(t, DropHome(t.Context(), f.connect(f.as(d.Owner, k[d.Owner]), d.Name), h))
	must(t, DropRoles(t.Context(), f.control(), h))
	if got := query(t, f.super("postgres"), "SELECT rolname::text FROM pg_roles WHERE rolname IN ($1, $2, $3)", h.Role, h.Logins[0], h.Logins[1]); len(got) > 0 {
		t.Errorf("roles left: %v", got)
	}
}
