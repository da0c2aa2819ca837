package catalog_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/catalog/catalogtest"
	"github.com/manorhq/manor/ent"
)

func addTenant(t *testing.T, cat *catalog.Catalog, slug string) *ent.Tenant {
	t.Helper()
	var row *ent.Tenant
	err := cat.InTx(t.Context(), func(tx *catalog.Tx) (err error) {
		row, err = newTenant(tx, slug).Save(t.Context())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return row
}

func newTenant(tx *catalog.Tx, slug string) *ent.TenantCreate {
	return tx.Tenant.Create().SetID("id-" + slug).SetSlug(slug).SetIsolation(controlplane.IsolationSchema)
}

func tenants(t *testing.T, cat *catalog.Catalog) int {
	t.Helper()
	n, err := cat.Ent().Tenant.Query().Count(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

var errOurs = errors.New("ours")

func TestFailedTransactionLeavesNothing(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	err := cat.InTx(t.Context(), func(tx *catalog.Tx) error {
		if err := newTenant(tx, "acme").Exec(t.Context()); err != nil {
			return err
		}
		return errOurs
	})
	if !errors.Is(err, errOurs) || tenants(t, cat) != 0 {
		t.Errorf("got %v and %d tenants; want our error and none", err, tenants(t, cat))
	}
}

func TestPanicRollsBackAndFreesTheConnection(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	for range 40 { // more than there are connections
		func() {
			defer func() { _ = recover() }()
			_ = cat.InTx(t.Context(), func(tx *catalog.Tx) error {
				_ = newTenant(tx, "acme").Exec(t.Context())
				panic("ours")
			})
		}()
	}
	if n := tenants(t, cat); n != 0 {
		t.Errorf("%d tenants survived the panic", n)
	}
}

func TestTransactionWhoseContextEndsLeavesNothing(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := cat.InTx(ctx, func(tx *catalog.Tx) error {
		defer cancel()
		return newTenant(tx, "acme").Exec(ctx)
	})
	if err == nil || tenants(t, cat) != 0 {
		t.Errorf("got %v and %d tenants; want an error and none", err, tenants(t, cat))
	}
}

func raise(ctx context.Context, tx *catalog.Tx, sqlstate string) error {
	_, err := tx.ExecContext(ctx, `DO $$ BEGIN RAISE 'made up' USING ERRCODE = '`+sqlstate+`'; END $$`)
	return err
}

func TestTransactionRunsAgainOnlyWhenPostgreSQLTookItBack(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	for sqlstate, want := range map[string]int{"40001": 3, "40P01": 3, "22012": 1, "55P03": 1} {
		runs := 0
		err := cat.InTx(t.Context(), func(tx *catalog.Tx) error {
			if runs++; runs < 3 {
				return raise(t.Context(), tx, sqlstate)
			}
			return newTenant(tx, "acme-"+sqlstate).Exec(t.Context())
		})
		if runs != want || (err == nil) != (want == 3) {
			t.Errorf("SQLSTATE %s: %d runs, %v; want %d", sqlstate, runs, err, want)
		}
	}
	if n := tenants(t, cat); n != 2 {
		t.Errorf("%d tenants; want those of the two that ran again", n)
	}
}

func TestTransactionGivesUpOnEndlessConflict(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	runs := 0
	err := cat.InTx(t.Context(), func(tx *catalog.Tx) error { runs++; return raise(t.Context(), tx, "40001") })
	if err == nil || runs != 8 {
		t.Errorf("%d runs, %v", runs, err)
	}
}

func TestEntAndTheLentConnectionShareTheTransaction(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	err := cat.InTx(t.Context(), func(tx *catalog.Tx) error {
		if err := newTenant(tx, "acme").Exec(t.Context()); err != nil {
			return err
		}
		err := tx.Conn(func(conn *pgx.Conn) error {
			_, err := conn.CopyFrom(t.Context(), pgx.Identifier{"settings"}, []string{"key", "value"},
				pgx.CopyFromRows([][]any{{"a", "1"}, {"b", "2"}}))
			return errors.Join(err, expectRow(t.Context(), conn, `SELECT 'acme' = slug FROM tenants`))
		})
		if err != nil {
			return err
		}
		n, err := tx.Setting.Query().Count(t.Context())
		if err == nil && n != 4 { // and the incarnation and the place
			t.Errorf("ent sees %d settings", n)
		}
		if n := tenants(t, cat); n != 0 {
			t.Errorf("%d tenants are seen before the commit", n)
		}
		return err
	})
	if err != nil || tenants(t, cat) != 1 {
		t.Errorf("%v, %d tenants", err, tenants(t, cat))
	}
}

func expectRow(ctx context.Context, conn *pgx.Conn, query string) error {
	var ok bool
	if err := conn.QueryRow(ctx, query).Scan(&ok); err != nil || !ok {
		return errors.Join(err, errors.New("not so: "+query))
	}
	return nil
}

func TestEpochsRiseEvenWhenTheirTransactionFails(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	var last int64
	for i := range 6 {
		_ = cat.InTx(t.Context(), func(tx *catalog.Tx) error {
			epoch, err := tx.NextEpoch(t.Context())
			if err != nil || epoch <= last {
				t.Errorf("epoch %d after %d, %v", epoch, last, err)
			}
			if last = epoch; i%2 == 0 {
				return errOurs
			}
			return nil
		})
	}
}

func TestErrorsOfTheServerAreToldApart(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	addTenant(t, cat, "acme")
	err := cat.InTx(t.Context(), func(tx *catalog.Tx) error {
		return newTenant(tx, "acme").SetID("another").Exec(t.Context())
	})
	if !catalog.IsUnique(err, "slug") || !catalog.IsUnique(err, "tenant_slug") || catalog.IsUnique(err, "external_id") || catalog.IsUnique(nil, "slug") {
		t.Errorf("%v is not told to be about slug", err)
	}
	err = cat.InTx(t.Context(), func(tx *catalog.Tx) error { return raise(t.Context(), tx, "57P01") })
	if controlplane.CodeOf(err) != controlplane.Unavailable {
		t.Errorf("a server that shuts down is %v", err)
	}
}
