package pg

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
)

func TestADatabaseIsClosedOnlyWhenWhoLookedIntoItStillHoldsIt(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d, h, k := f.plan()
	f.make(d, k, h)
	control := f.control()
	lost := errors.New("the locks are lost")
	if err := CloseDatabase(t.Context(), control, d, func() error { return lost }); !errors.Is(err, lost) {
		t.Errorf("closed although the locks are lost: %v", err)
	}
	if made, err := IsMade(t.Context(), control, d); err != nil || !made {
		t.Errorf("afterwards it is made: %v, %v", made, err)
	}
	if err := DropUnlessMade(t.Context(), control, d); controlplane.CodeOf(err) != controlplane.Conflict {
		t.Errorf("a database that is made was dropped: %v", err)
	}
	owner := f.connect(f.as(d.Owner, k[d.Owner]), d.Name)
	err := pgx.BeginFunc(t.Context(), owner, func(tx pgx.Tx) error { // as its owner does it who looks into it
		must(t, MayDrop(t.Context(), tx, h))
		return CloseDatabase(t.Context(), control, d, func() error { _, err := tx.Exec(t.Context(), "SELECT"); return err })
	})
	must(t, err)
	if made, err := IsMade(t.Context(), control, d); err != nil || made {
		t.Errorf("once closed it is made: %v, %v", made, err)
	}
	if _, err := Connect(t.Context(), f.as(d.Owner, k[d.Owner]), d.Name, "test"); err == nil {
		t.Error("the owner gets into a closed database")
	}
	must(t, DropUnlessMade(t.Context(), control, d))
	if left := query(t, f.super("postgres"), "SELECT datname::text FROM pg_database WHERE datname = $1", d.Name); len(left) > 0 {
		t.Error("a closed database was not dropped")
	}
}

func TestWhileADatabaseIsLookedIntoNobodyGetsAHomeInItOrTakesOneOver(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d, h, k := f.plan()
	f.make(d, k, h)
	login := f.as(d.Owner, k[d.Owner])
	owner, other := f.connect(login, d.Name), f.connect(login, d.Name)
	exec(t, other, "SET lock_timeout = '50ms'")
	must(t, pgx.BeginFunc(t.Context(), owner, func(tx pgx.Tx) error {
		must(t, MayDrop(t.Context(), tx, h))
		if _, err := RewriteIncarnation(t.Context(), other, h.Incarnation, "another", 0); sqlState(err) != "55P03" {
			t.Errorf("a claim came between: %v", err)
		}
		return nil
	}))
	must(t, DropHome(t.Context(), owner, h))
	must(t, pgx.BeginFunc(t.Context(), owner, func(tx pgx.Tx) error {
		must(t, ProveEmpty(t.Context(), tx))
		if err := CreateHome(t.Context(), other, h); sqlState(err) != "55P03" {
			t.Errorf("a home came between: %v", err)
		}
		return nil
	}))
}

func TestAHomeOfAnotherCatalogIsRefusedAndOneThatIsNotMadeYetIsNot(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d, h, k := f.plan()
	f.make(d, k, h)
	owner := f.connect(f.as(d.Owner, k[d.Owner]), d.Name)
	must(t, CheckHome(t.Context(), owner, h))
	for what, change := range map[string]func(*Home){
		"another catalog": func(h *Home) { h.Incarnation = "staging" },
		"generation 2":    func(h *Home) { h.Generation = 2 },
		"tenant somebody": func(h *Home) { h.TenantID = "somebody" },
	} {
		theirs := h
		change(&theirs)
		err := CheckHome(t.Context(), owner, theirs)
		if controlplane.CodeOf(err) != controlplane.Refused || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	must(t, CheckHome(t.Context(), owner, f.planHome(d, k)))
	exec(t, owner, "DROP SCHEMA manor CASCADE")
	must(t, CheckHome(t.Context(), owner, h))
}

func TestADatabaseWithHomesIsNotEmptyWhateverSaysSo(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d, h, k := f.plan()
	homes := []Home{h, f.planHome(d, k), f.planHome(d, k), f.planHome(d, k), f.planHome(d, k)}
	f.make(d, k, homes...)
	owner := f.connect(f.as(d.Owner, k[d.Owner]), d.Name)
	check := func(when string, says ...string) {
		t.Helper()
		err := CheckEmpty(t.Context(), owner)
		if len(says) == 0 && err != nil {
			t.Errorf("%s: %v", when, err)
		}
		for _, part := range says {
			if controlplane.CodeOf(err) != controlplane.Refused || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v; want it refused with %q", when, err, part)
			}
		}
	}
	check("five homes", " (acme), ", "and 2 more")
	for _, h := range homes[1:] {
		must(t, DropHome(t.Context(), owner, h))
	}
	check("one home", "does not know: "+h.Schema+" (acme)")
	exec(t, owner, "DELETE FROM manor.marker")
	check("a home without a marker", h.Schema)
	exec(t, owner, "DROP SCHEMA "+h.Schema+" CASCADE")
	check("no home")
	exec(t, owner, "INSERT INTO manor.marker (tenant_id, slug, schema, generation, epoch, incarnation) VALUES ('x', 'gone', 't_gone', 1, 1, 'x')")
	check("a marker without a home", "t_gone (gone)")
	exec(t, owner, "DROP SCHEMA manor CASCADE")
	check("not furnished")
}
