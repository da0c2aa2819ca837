package pg

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/manorhq/manor/controlplane"
)

// markers returns a session of the owner of a database with one home, and its marker.
func markers(t *testing.T) (*fixture, *pgx.Conn, Database, keys, Marker) {
	t.Helper()
	f := newFixture(t)
	d, h, k := f.plan()
	f.make(d, k, h)
	return f, f.connect(f.as(d.Owner, k[d.Owner]), d.Name), d, k, h.marker()
}

func TestMarkerOfAHomeIsNotGivenToAnother(t *testing.T) {
	t.Parallel()
	_, owner, _, _, mine := markers(t)
	tests := map[string]struct {
		change func(*Marker)
		ours   bool
	}{
		"the same":           {func(*Marker) {}, true},
		"a renamed tenant":   {func(m *Marker) { m.Slug = "renamed" }, true},
		"a newer epoch":      {func(m *Marker) { m.Epoch++ }, true},
		"another tenant":     {func(m *Marker) { m.TenantID = "other" }, false},
		"another schema":     {func(m *Marker) { m.Schema = "t_other" }, false},
		"another generation": {func(m *Marker) { m.Generation++ }, false},
		"another catalog":    {func(m *Marker) { m.Incarnation = "staging" }, false},
	}
	for name, test := range tests {
		m := mine
		test.change(&m)
		for what, brick := range map[string]func(pgx.Tx) error{
			"write":  func(tx pgx.Tx) error { return writeMarker(t.Context(), tx, m) },
			"delete": func(tx pgx.Tx) error { return deleteMarker(t.Context(), tx, m) },
		} {
			tx, err := owner.Begin(t.Context())
			must(t, err)
			err = brick(tx)
			if test.ours && err != nil || !test.ours && controlplane.CodeOf(err) != controlplane.Refused {
				t.Errorf("%s, %s: %v", name, what, err)
			}
			must(t, tx.Rollback(t.Context()))
		}
	}
	found, err := ReadMarkers(t.Context(), owner)
	must(t, err)
	if len(found) != 1 || found[0].Marker != mine || found[0].Version != "" {
		t.Errorf("markers %+v, want that of %+v", found, mine)
	}
}

func TestMarkerIsDeletedOnceAndMayBeGone(t *testing.T) {
	t.Parallel()
	_, owner, _, _, m := markers(t)
	for range 2 {
		must(t, pgx.BeginFunc(t.Context(), owner, func(tx pgx.Tx) error { return deleteMarker(t.Context(), tx, m) }))
	}
	found, err := ReadMarkers(t.Context(), owner)
	must(t, err)
	if len(found) != 0 {
		t.Errorf("left behind: %+v", found)
	}
}

func TestMarkersAreInstalledByManyAtOnceAndKept(t *testing.T) {
	t.Parallel()
	f, owner, d, k, m := markers(t)
	var group errgroup.Group
	for range 4 {
		conn := f.connect(f.as(d.Owner, k[d.Owner]), d.Name)
		group.Go(func() error { return installMarker(t.Context(), conn) })
	}
	must(t, group.Wait())
	found, err := ReadMarkers(t.Context(), owner)
	must(t, err)
	if len(found) != 1 || found[0].Marker != m {
		t.Errorf("markers %+v, want that of %+v", found, m)
	}
}

func TestSchemaManorIsClosedToEverybodyButTheOwner(t *testing.T) {
	t.Parallel()
	_, owner, _, _, _ := markers(t)
	open := query(t, owner, `
		SELECT p.proname::text FROM pg_proc p WHERE p.pronamespace = 'manor'::regnamespace
			AND (has_function_privilege('public', p.oid, 'EXECUTE') OR p.prosecdef OR p.proconfig IS NOT NULL)
		UNION ALL SELECT 'schema manor' WHERE has_schema_privilege('public', 'manor', 'USAGE, CREATE')
		UNION ALL SELECT 'table marker' WHERE has_table_privilege('public', 'manor.marker', 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')`)
	if len(open) > 0 {
		t.Errorf("open to PUBLIC, or run with other rights or settings: %v", open)
	}
}
