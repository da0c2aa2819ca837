package pg

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/manorhq/manor/controlplane"
)

func TestNothingForeignIsTouched(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	control, super := f.control(), f.super("postgres")
	d, h, k := f.plan()
	f.make(d, k, h)

	theirs, theirHome, _ := f.plan()
	exec(t, super, fmt.Sprintf("CREATE ROLE %s; CREATE ROLE %s", theirs.Owner, theirHome.Role))
	exec(t, super, "CREATE DATABASE "+theirs.Name)
	t.Cleanup(func() {
		exec(t, super, "DROP DATABASE "+theirs.Name)
		exec(t, super, fmt.Sprintf("DROP ROLE %s, %s", theirs.Owner, theirHome.Role))
	})
	t.Run("databases", func(t *testing.T) {
		named := d
		named.Name = theirs.Name
		for what, err := range map[string]error{"create": CreateDatabase(t.Context(), control, named), "drop": DropDatabase(t.Context(), control, named)} {
			if !errors.Is(err, ErrForeign) || controlplane.CodeOf(err) != controlplane.Conflict {
				t.Errorf("%s: %v", what, err)
			}
		}
		byHand := d
		byHand.Name = NewName("d_")
		exec(t, control, "CREATE DATABASE "+byHand.Name)
		if err := DropDatabase(t.Context(), control, byHand); !errors.Is(err, ErrForeign) {
			t.Errorf("a database made with the control login by hand: %v", err)
		}
	})
	t.Run("roles", func(t *testing.T) {
		for what, err := range map[string]error{
			"create": CreateRoles(t.Context(), control, theirHome), "drop": DropRoles(t.Context(), control, theirHome),
			"owner": CreateDatabase(t.Context(), control, Database{Name: NewName("d_"), Owner: theirs.Owner, Connect: theirs.Connect}),
		} {
			if !errors.Is(err, ErrForeign) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
	t.Run("another home's roles", func(t *testing.T) {
		other := h
		other.Schema = NewName("t_")
		if err := SetLogins(t.Context(), control, other, false); !errors.Is(err, ErrForeign) {
			t.Errorf("logins of another home closed: %v", err)
		}
	})
	t.Run("names that Manor does not give", func(t *testing.T) {
		for _, name := range []string{"", "Postgres", "a b", `x"; DROP DATABASE postgres; --`, "pg_monitor", strings.Repeat("a", 64)} {
			named := h
			named.Role = name
			if err := DropRoles(t.Context(), control, named); err == nil {
				t.Errorf("a role called %q was accepted", name)
			}
		}
	})
	t.Run("schemas", func(t *testing.T) { f.foreignSchemas(t, d, h, k) })
}

func (f *fixture) foreignSchemas(t *testing.T, d Database, h Home, k keys) {
	owner := f.connect(f.as(d.Owner, k[d.Owner]), d.Name)
	for what, change := range map[string]func(*Home){
		"tenant":     func(h *Home) { h.TenantID = "somebody" },
		"generation": func(h *Home) { h.Generation = 2 },
		"catalog":    func(h *Home) { h.Incarnation = "staging" },
	} {
		other := h
		change(&other)
		if err := DropHome(t.Context(), owner, other); controlplane.CodeOf(err) != controlplane.Refused {
			t.Errorf("another %s dropped the home: %v", what, err)
		}
	}
	unmarked := f.planHome(d, k)
	exec(t, owner, "CREATE SCHEMA "+unmarked.Schema)
	if err := DropHome(t.Context(), owner, unmarked); controlplane.CodeOf(err) != controlplane.Refused {
		t.Errorf("a schema without a marker was dropped: %v", err)
	}
	if got := query(t, owner, "SELECT nspname::text FROM pg_namespace WHERE nspname IN ($1, $2)", h.Schema, unmarked.Schema); len(got) != 2 {
		t.Errorf("schemas left: %v", got)
	}
}
