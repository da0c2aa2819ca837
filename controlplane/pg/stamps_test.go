package pg

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// own plans a home in a database of its own.
func (f *fixture) own() (Database, Home, keys) {
	d, _, k := f.plan()
	d.Name = NewName("t_")
	h := f.planHome(d, k)
	h.Schema = d.Name
	return d, h, k
}

// stamp does what a migration does in schema manor.
func stamp(t *testing.T, owner *pgx.Conn, h Home, version string) Stamp {
	t.Helper()
	s := Stamp{Marker: h.marker(), Version: version, Release: `"a" 'release' \n`}
	exec(t, owner, fmt.Sprintf("SELECT manor.stamp(m, m.epoch, true, %s, %s) FROM manor.marker m", Literal(version), Literal(s.Release)))
	return s
}

func TestStampsOfAClusterAreReadWithoutVisitingItsDatabases(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	want := map[string]Stamp{}
	var untouched, spoilt Database
	for i, version := range []string{"20260101", "20260102", "", "9"} {
		d, h, k := f.own()
		f.make(d, k, h)
		owner := f.connect(f.as(d.Owner, k[d.Owner]), d.Name)
		switch i {
		case 2:
			untouched = d
		case 3:
			spoilt = d
			stamp(t, owner, h, version)
			exec(t, owner, fmt.Sprintf("COMMENT ON DATABASE %s IS '{\"version\": \"9\"}'", Quote(d.Name)))
		default:
			want[d.Name] = stamp(t, owner, h, version)
		}
	}
	foreign, _, k := f.plan()
	f.make(foreign, k)
	exec(t, f.super("postgres"), fmt.Sprintf("COMMENT ON DATABASE %s IS 'the boss'' own'", Quote(foreign.Name)))

	stamps, unreadable, err := ReadStamps(t.Context(), f.control())
	must(t, err)
	for name := range stamps {
		if _, ok := want[name]; !ok && name != untouched.Name && name != spoilt.Name && name != foreign.Name {
			delete(stamps, name) // of a test that runs beside this one
		}
	}
	if diff := cmp.Diff(want, stamps); diff != "" {
		t.Errorf("stamps (-want +got):\n%s", diff)
	}
	if !slices.Contains(unreadable, spoilt.Name) || slices.Contains(unreadable, foreign.Name) || slices.Contains(unreadable, untouched.Name) {
		t.Errorf("unreadable: %v", unreadable)
	}
}

// TestHomesAreHandedOverToAnotherCatalogOnce: all of one catalog's, and nobody
// else's; whoever works for the old one is fenced off.
func TestHomesAreHandedOverToAnotherCatalogOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d, h, k := f.own()
	others := f.planHome(d, k)
	others.Incarnation = "somebody else's"
	ahead := f.planHome(d, k)
	ahead.Epoch = 100
	f.make(d, k, h, others, ahead)
	owner := f.connect(f.as(d.Owner, k[d.Owner]), d.Name)
	exec(t, owner, fmt.Sprintf("SELECT manor.stamp(m, m.epoch, true, '7', 'r') FROM manor.marker m WHERE schema = %s", Literal(h.Schema)))
	for _, n := range []int{2, 0} {
		if got, err := RewriteIncarnation(t.Context(), owner, "test", "restored", 42); err != nil || got != n {
			t.Fatalf("handed over %d: %v, want %d", got, err, n)
		}
	}
	got := query(t, owner, "SELECT concat_ws(' ', incarnation, epoch, version) FROM manor.marker ORDER BY epoch")
	if want := []string{"somebody else's 1 ", "restored 42 7", "restored 100 "}; !slices.Equal(got, want) {
		t.Errorf("markers: %q, want %q", got, want)
	}
	stamps, _, err := ReadStamps(t.Context(), f.control())
	must(t, err)
	want := h.marker()
	want.Incarnation, want.Epoch = "restored", 42
	if s := stamps[d.Name]; s.Marker != want || s.Version != "7" || s.Release != "r" {
		t.Errorf("comment: %+v", s)
	}
}
