package pg

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/manorhq/manor/controlplane"
)

func TestRolesAreDroppedOnlyWhenNothingHangsOnThem(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d, h, k := f.plan()
	f.make(d, k, h)
	control, super := f.control(), f.super("postgres")
	names := []string{h.Role, h.Logins[0], h.Logins[1]}

	ties, err := ReadTies(t.Context(), control, append(names, d.Owner, "nobody"))
	must(t, err)
	for _, name := range names {
		want := Ties{Role: name, MemberOf: []string{h.Role}}
		if name == h.Role {
			want = Ties{Role: name, MemberOf: []string{h.Connect}, Objects: ties[name].Objects}
		}
		if diff := cmp.Diff(want, ties[name]); diff != "" {
			t.Errorf("the ties of %s (-want +got):\n%s", name, diff)
		}
	}
	if len(ties) != 4 || ties[h.Role].Objects == 0 || ties[d.Owner].Objects == 0 {
		t.Errorf("the ties are %+v", ties)
	}

	if err := DropUnusedRoles(t.Context(), control, h.Schema, names); controlplane.CodeOf(err) != controlplane.Refused {
		t.Errorf("drop the roles of a home: %v", err)
	}
	if got := query(t, super, "SELECT count(*)::text FROM pg_roles WHERE rolname = ANY($1)", names); got[0] != "3" {
		t.Errorf("%s of 3 roles are there", got[0])
	}
	must(t, DropHome(t.Context(), f.connect(f.as(d.Owner, k[d.Owner]), d.Name), h))
	if err := DropUnusedRoles(t.Context(), control, "t_another", names); !errors.Is(err, ErrForeign) {
		t.Errorf("drop the roles of another home: %v", err)
	}
	must(t, DropUnusedRoles(t.Context(), control, h.Schema, names))
	must(t, DropUnusedRoles(t.Context(), control, h.Schema, names))
	if got := query(t, super, "SELECT count(*)::text FROM pg_roles WHERE rolname = ANY($1)", names); got[0] != "0" {
		t.Errorf("%s roles are left", got[0])
	}
}

func TestOnlyAnInvalidIndexThatNobodyIsAtWorkOnIsDropped(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d, h, k := f.plan()
	f.make(d, k, h)
	keeper, owner, super := f.connect(f.as(d.Owner, k[d.Owner]), d.Name), f.connect(f.as(d.Owner, k[d.Owner]), d.Name), f.super(d.Name)
	exec(t, owner, fmt.Sprintf("CREATE TABLE %s.notes (body text); INSERT INTO %[1]s.notes VALUES ('a'), ('a'); CREATE INDEX valid ON %[1]s.notes (body)", h.Schema))
	if _, err := owner.Exec(t.Context(), "CREATE UNIQUE INDEX CONCURRENTLY twice ON "+h.Schema+".notes (body)"); err == nil {
		t.Fatal("the index could be built")
	}
	drop := func(index string) error {
		return DropInvalidIndex(t.Context(), keeper, owner, h.TenantID, InvalidIndex{Schema: h.Schema, Index: index})
	}
	indexes := func(want ...string) {
		t.Helper()
		got := query(t, super, "SELECT indexname FROM pg_indexes WHERE schemaname = $1 AND tablename = 'notes' ORDER BY 1", h.Schema)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("indexes (-want +got):\n%s", diff)
		}
	}
	must(t, drop("valid"))
	indexes("twice", "valid")

	busy := func(what string) {
		t.Helper()
		if err := drop("twice"); controlplane.CodeOf(err) != controlplane.Conflict {
			t.Errorf("%s: %v", what, err)
		}
	}
	exec(t, super, "BEGIN; SELECT FROM manor.marker FOR UPDATE")
	busy("a session locks the marker")
	exec(t, super, "ROLLBACK; BEGIN; LOCK TABLE "+h.Schema+".notes IN SHARE UPDATE EXCLUSIVE MODE")
	busy("a session is at work on the table")
	exec(t, super, "ROLLBACK")
	migration := f.connect(f.as(d.Owner, k[d.Owner]), d.Name)
	exec(t, migration, "UPDATE manor.marker SET holder_pid = pid, holder_start = backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()")
	busy("a migration goes statement by statement")
	exec(t, migration, "UPDATE manor.marker SET holder_pid = NULL")
	indexes("twice", "valid")
	must(t, drop("twice"))
	indexes("valid")
}
