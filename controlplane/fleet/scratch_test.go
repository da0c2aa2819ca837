package fleet

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/ent/database"
)

// TestScratchOutlivesItsProcessByLittle: one that nobody holds is dropped by
// whoever looks next, and one at work is left alone.
func TestScratchOutlivesItsProcessByLittle(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	at := s.process("at work")
	scratches := func() (names []string) {
		t.Helper()
		err := s.cat.Ent().Database.Query().Where(database.Isolation(scratch)).Order(database.ByName()).Select(database.FieldName).Scan(t.Context(), &names)
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	forgotten := "s_aaaaaaaaaaaaaaaa" // its process is dead
	err := s.cat.InTx(t.Context(), func(tx *catalog.Tx) error {
		row, err := at.plan(t.Context(), tx, s.cluster.ID, forgotten, scratch, 0)
		if err == nil {
			forgotten = row.ID
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := at.EnsureDatabase(t.Context(), forgotten); err != nil {
		t.Fatal(err)
	}
	err = at.Scratch(t.Context(), s.cluster.ID, func(ctx context.Context, conn *pgx.Conn, schema string) error {
		if n := len(scratches()); n != 2 {
			t.Errorf("%d scratches before", n)
		}
		if err := s.process("another").ForgetScratches(ctx); err != nil {
			return err
		}
		if left := scratches(); len(left) != 1 || left[0] != schema {
			t.Errorf("left are %v, at work is %s", left, schema)
		}
		var there int
		err := at.AsControl(ctx, s.cluster.ID, func(control *pgx.Conn) error {
			return control.QueryRow(ctx, "SELECT count(*) FROM pg_database d WHERE datname = ANY ($1)", []string{schema, "s_aaaaaaaaaaaaaaaa"}).Scan(&there)
		})
		if there != 1 {
			t.Errorf("%d databases are there", there)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if left := scratches(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
