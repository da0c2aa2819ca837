package pg

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// housed is a home in a database of its own, with a table that holds 'before'.
type housed struct {
	*fixture
	Copy
	home    Home
	keys    keys
	control *pgx.Conn
}

func newHoused(t *testing.T) *housed {
	t.Helper()
	f := newFixture(t)
	d, h, k := f.plan()
	d.Name = h.Schema
	h.Database = d.Name
	of := &housed{fixture: f, Copy: Copy{Of: d, Name: NewName("c_"), Replaced: NewName("c_")}, home: h, keys: k, control: f.control()}
	f.make(d, k, h)
	t.Cleanup(func() { // before the roles go
		control, err := Connect(context.Background(), f.login, "postgres", "cleanup")
		must(t, err)
		defer control.Close(context.Background())
		must(t, DropCopy(context.Background(), control, of.Copy))
	})
	owner := of.owner(d.Name)
	exec(t, owner, fmt.Sprintf("CREATE TABLE %[1]s.notes (body text); INSERT INTO %[1]s.notes VALUES ('before')", h.Schema))
	must(t, owner.Close(t.Context()))
	return of
}

func (h *housed) owner(database string) *pgx.Conn {
	h.t.Helper()
	return h.connect(h.as(h.Of.Owner, h.keys[h.Of.Owner]), database)
}

// tenant connects as the tenant does, who finds his tables without naming a schema.
func (h *housed) tenant(login int) *pgx.Conn {
	h.t.Helper()
	return h.connect(h.as(h.home.Logins[login], h.keys[h.home.Logins[login]]), h.Of.Name)
}

// notes are what the tenant's login reads.
func (h *housed) notes() []string {
	h.t.Helper()
	tenant := h.tenant(0)
	defer tenant.Close(context.Background())
	exec(h.t, tenant, "RESET search_path") // ours is in the way of the login's
	return query(h.t, tenant, fmt.Sprintf("SELECT body FROM %s.notes ORDER BY 1", h.home.Schema))
}

func (h *housed) take(ctx context.Context, control *pgx.Conn) error {
	return TakeCopy(ctx, control, h.Copy, time.Minute)
}

// restore is what puts a copy back, as who owns the clusters' connections does it.
func (h *housed) restore(ctx context.Context, control *pgx.Conn) error {
	there, err := OpenCopy(ctx, control, h.Copy, h.home)
	if err != nil || !there {
		return err
	}
	owner, err := Connect(ctx, h.as(h.Of.Owner, h.keys[h.Of.Owner]), h.Name, "test")
	if err != nil {
		return err
	}
	defer owner.Close(context.WithoutCancel(ctx))
	if _, err := owner.Exec(ctx, "UPDATE manor.marker SET epoch = 7"); err != nil {
		return err
	}
	if err := WriteComment(ctx, owner, h.home.TenantID); err != nil {
		return err
	}
	return PutBack(ctx, control, h.Copy)
}

func (h *housed) finish(ctx context.Context, control *pgx.Conn) error {
	if err := h.restore(ctx, control); err != nil {
		return err
	}
	return DropCopy(ctx, control, h.Copy)
}

func (h *housed) write(body string) {
	h.t.Helper()
	tenant := h.tenant(1)
	defer tenant.Close(context.Background())
	exec(h.t, tenant, fmt.Sprintf("INSERT INTO %s.notes VALUES ('%s')", h.home.Schema, body))
}

// expectOpen fails unless the tenant's logins get in and nobody can copy the database.
func (h *housed) expectOpen(when string) {
	h.t.Helper()
	got := query(h.t, h.control, "SELECT format('%s %s %s', datallowconn, datistemplate, pg_get_userbyid(datdba)) FROM pg_database WHERE datname = $1", h.Of.Name)
	if want := "t f " + h.Of.Owner; len(got) != 1 || got[0] != want {
		h.t.Fatalf("%s: the database is %q, not %q", when, got, want)
	}
	h.notes()
}

func (h *housed) names() []string {
	return query(h.t, h.control, "SELECT datname::text FROM pg_database WHERE datname = ANY($1)", []string{h.Name, h.Replaced})
}

// expectRestored fails unless everything that hangs on a database is as provisioning made it.
func (h *housed) expectRestored() {
	h.t.Helper()
	h.expectOpen("restored")
	if got := h.notes(); len(got) != 1 || got[0] != "before" {
		h.t.Errorf("the tenant reads %q", got)
	}
	control := h.control
	acl := query(h.t, control, "SELECT coalesce(array_to_string(datacl, ' '), 'none') FROM pg_database WHERE datname = $1", h.Of.Name)
	if want := fmt.Sprintf("%[1]s=CTc/%[1]s %[2]s=c/%[1]s", h.Of.Owner, h.Of.Connect); acl[0] != want {
		h.t.Errorf("rights on the database: %q, not %q", acl[0], want)
	}
	for i := range h.home.Logins {
		super := h.super("postgres")
		path := query(h.t, super, `SELECT array_to_string(s.setconfig, ' ') FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
			WHERE d.datname = $1 AND s.setrole = $2::regrole`, h.Of.Name, h.home.Logins[i])
		if want := "search_path=" + h.home.Schema + ", extensions"; len(path) != 1 || path[0] != want {
			h.t.Errorf("settings of %s: %q, not %q", h.home.Logins[i], path, want)
		}
	}
	stamps, _, err := ReadStamps(h.t.Context(), control)
	if stamp := stamps[h.Of.Name]; err != nil || stamp.TenantID != h.home.TenantID || stamp.Epoch != 7 {
		h.t.Errorf("the stamp on the database: %+v, %v", stamp, err)
	}
	if member := query(h.t, control, "SELECT 'yes' WHERE EXISTS (SELECT FROM pg_auth_members m WHERE m.member = current_user::regrole AND m.roleid = $1::regrole AND m.grantor = m.member)", h.Of.Owner); len(member) > 0 {
		h.t.Error("the control login stayed a member of the owner")
	}
	if left := h.names(); len(left) > 0 {
		h.t.Errorf("left over: %q", left)
	}
}

func TestACopyIsPutBackWithAllThatHangsOnADatabase(t *testing.T) {
	t.Parallel()
	h := newHoused(t)
	control := h.control
	user := h.tenant(0) // is thrown out
	must(t, h.take(t.Context(), control))
	if _, err := user.Exec(t.Context(), "SELECT"); err == nil {
		t.Error("a session of the tenant's outlived the copy")
	}
	h.expectOpen("copied")
	h.write("after")
	must(t, h.take(t.Context(), control)) // finds the copy that was made
	h.expectOpen("copied twice")
	if _, err := Connect(t.Context(), h.as(h.home.Logins[0], h.keys[h.home.Logins[0]]), h.Name, "test"); err == nil {
		t.Error("the tenant got into the copy")
	}
	must(t, h.finish(t.Context(), control))
	h.expectRestored()
	if err := h.restore(t.Context(), control); err == nil {
		t.Error("what was dropped was put back once more")
	}
	h.expectOpen("refused")
}

func TestWhateverStepACopyDiesAtTheDatabaseCanBeOpenedAndTheCopyTaken(t *testing.T) {
	t.Parallel()
	everyStep(t, 5, func(h *housed, n int) (died bool) {
		died = h.die(n, h.take)
		must(h.t, Reopen(h.t.Context(), h.control, h.Of))
		h.expectOpen("dead")
		must(h.t, h.take(h.t.Context(), h.control))
		h.write("after")
		must(h.t, h.finish(h.t.Context(), h.control))
		h.expectRestored()
		return died
	})
}

// everyStep runs f for each statement that something may die at, until nothing dies.
func everyStep(t *testing.T, least int, f func(h *housed, n int) (died bool)) {
	for n, died := 1, true; died; n++ {
		died = false // for a subtest that fails
		t.Run(fmt.Sprint(n), func(t *testing.T) { died = f(newHoused(t), n) })
		if !died && n < least && !t.Failed() {
			t.Errorf("only %d statements", n)
		}
	}
}

func TestWhateverStepARestoreDiesAtItIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	everyStep(t, 8, func(h *housed, n int) (died bool) {
		must(h.t, h.take(h.t.Context(), h.control))
		h.write("after")
		died = h.die(n, h.restore)
		must(h.t, Reopen(h.t.Context(), h.control, h.Of))
		h.expectOpen("dead")
		must(h.t, h.finish(h.t.Context(), h.control))
		h.expectRestored()
		return died
	})
}

// die runs f on a control connection that is cut before its n-th statement, and
// reports whether it was.
func (h *housed) die(n int, f func(context.Context, *pgx.Conn) error) bool {
	h.t.Helper()
	ctx, cancel := context.WithCancel(h.t.Context())
	defer cancel()
	config, err := h.login.Config("postgres", "test")
	must(h.t, err)
	cut := newFuse(n, cancel)
	config.Tracer = cut
	control, err := pgx.ConnectConfig(h.t.Context(), config)
	must(h.t, err)
	defer control.Close(context.Background())
	err = f(ctx, control)
	if err == nil && cut.blown() {
		h.t.Fatalf("nothing went wrong though it was cut at statement %d", n)
	}
	if !cut.blown() {
		must(h.t, err)
	}
	return cut.blown()
}

func TestACopyThatCannotBeTakenSaysWhoIsInTheWayAndLeavesNothing(t *testing.T) {
	t.Parallel()
	h := newHoused(t)
	control := h.control
	h.super(h.Of.Name) // whom the control login cannot throw out
	err := h.take(t.Context(), control)
	if err == nil || sqlState(err) != "55006" {
		t.Fatalf("copied although somebody was in the database: %v", err)
	}
	must(t, Reopen(t.Context(), control, h.Of))
	h.expectOpen("in use")
	if left := h.names(); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
}

func TestADatabaseIsDroppedThoughACopyOfItWasUnderWay(t *testing.T) {
	t.Parallel()
	h := newHoused(t)
	must(t, h.Of.shut(t.Context(), h.control, true))
	must(t, DropDatabase(t.Context(), h.control, h.Of))
}

func TestTheControlLoginIsToldTheSizeOfDatabasesItCannotEnter(t *testing.T) {
	t.Parallel()
	h := newHoused(t)
	got, err := SizeOf(t.Context(), h.control, []Database{h.Of})
	must(t, err)
	want := query(t, h.super("postgres"), "SELECT pg_database_size(oid)::text FROM pg_database WHERE datname = $1", h.Of.Name)
	if fmt.Sprint(got) != want[0] {
		t.Errorf("%d bytes, not %s", got, want[0])
	}
}
