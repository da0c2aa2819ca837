package catalog_test

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/catalog/catalogtest"
	"github.com/manorhq/manor/internal/pgtest"
)

// copied is the URL of a copy of the catalog at an address, which nobody may be
// connected to.
func copied(t *testing.T, address string) string {
	t.Helper()
	to := pgtest.Database(t)
	conn, err := pgx.Connect(t.Context(), pgtest.Server(t).URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, sql := range []string{"DROP DATABASE " + nameOf(t, to), "CREATE DATABASE " + nameOf(t, to) + " TEMPLATE " + nameOf(t, address)} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func nameOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return pgx.Identifier{strings.TrimPrefix(u.Path, "/")}.Sanitize()
}

// trusted opens a catalog to write to it also when it is a copy.
func trusted(t *testing.T, address string) *catalog.Catalog {
	t.Helper()
	cat, err := catalog.Open(t.Context(), controlplane.NewSecret(address), catalog.Config{Copy: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cat.Close)
	return cat
}

// claim makes a catalog of its own out of a copy.
func claim(t *testing.T, address string, highest int64, complete bool) (c catalog.Claim) {
	t.Helper()
	cat := trusted(t, address)
	defer cat.Close()
	place, err := cat.Place(t.Context())
	if err == nil {
		err = cat.InTx(t.Context(), func(tx *catalog.Tx) (err error) {
			if c, err = catalog.BeginClaim(t.Context(), tx, place); err != nil {
				return err
			}
			return catalog.EndClaim(t.Context(), tx, c, highest, complete)
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func incarnationOf(t *testing.T, address string) string {
	t.Helper()
	cat := reopen(t, address)
	defer cat.Close()
	incarnation, err := cat.Incarnation(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return incarnation
}

// checkPlace connects for a moment only: what is connected to cannot be copied.
func checkPlace(t *testing.T, address string) error {
	t.Helper()
	cat := reopen(t, address)
	defer cat.Close()
	return cat.CheckPlace(t.Context())
}

func TestCopyOfTheCatalogIsReadAndNotWritten(t *testing.T) {
	t.Parallel()
	original := catalogtest.URL(t)
	cat := reopen(t, copied(t, original))
	refused(t, cat.CheckPlace(t.Context()), "is a copy")
	if status, err := cat.Status(t.Context()); err != nil || !status.Copy || status.Current != status.Latest {
		t.Errorf("the copy's status is %+v, %v", status, err)
	}
	if n, err := cat.Ent().Setting.Query().Count(t.Context()); err != nil || n < 2 {
		t.Errorf("read %d settings of the copy, %v", n, err)
	}
	refused(t, cat.InTx(t.Context(), func(tx *catalog.Tx) error { return newTenant(tx, "acme").Exec(t.Context()) }), "is a copy")
	refused(t, cat.Ent().Setting.Create().SetID("a").SetValue("b").Exec(t.Context()), "is a copy")
	refused(t, cat.InTx(t.Context(), func(tx *catalog.Tx) error { _, err := tx.NextEpoch(t.Context()); return err }), "is a copy")

	still := reopen(t, original)
	addTenant(t, still, "acme")
	if err := still.CheckPlace(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCatalogThatTakesNoWritesIsUnavailableAndNoCopy(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	err := cat.InTx(t.Context(), func(tx *catalog.Tx) error { return raise(t.Context(), tx, "25006") })
	if controlplane.CodeOf(err) != controlplane.Unavailable || !strings.Contains(err.Error(), "takes no writes") {
		t.Errorf("got %v", err)
	}
}

func TestCopyOfTheCatalogIsMigratedAndStaysOne(t *testing.T) {
	t.Parallel()
	to := copied(t, catalogtest.URL(t))
	if _, err := trusted(t, to).Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	refused(t, checkPlace(t, to), "is a copy")
}

func TestCatalogThatWasRenamedIsNoCopy(t *testing.T) {
	t.Parallel()
	original, other := catalogtest.URL(t), pgtest.Database(t)
	conn, err := pgx.Connect(t.Context(), pgtest.Server(t).URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, sql := range []string{"DROP DATABASE " + nameOf(t, other), "ALTER DATABASE " + nameOf(t, original) + " RENAME TO " + nameOf(t, other)} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	cat := reopen(t, other)
	if err := cat.CheckPlace(t.Context()); err != nil {
		t.Error(err)
	}
	addTenant(t, cat, "acme")
}

func TestCatalogWithoutAPlaceTakesTheOneWhereItIs(t *testing.T) {
	t.Parallel()
	address := catalogtest.URL(t)
	old := trusted(t, address)
	if _, err := old.Pool().Exec(t.Context(), `DELETE FROM settings WHERE key = 'place'`); err != nil {
		t.Fatal(err)
	}
	if err := checkPlace(t, address); err != nil {
		t.Error(err)
	}
	if _, err := old.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	old.Close()
	refused(t, checkPlace(t, copied(t, address)), "is a copy")
}

func TestClaimedCopyIsACatalogOfItsOwn(t *testing.T) {
	t.Parallel()
	original := catalogtest.URL(t)
	had := incarnationOf(t, original)
	to := copied(t, original)
	c := claim(t, to, 1000, true)
	if !slices.Equal(c.From, []string{had}) || c.To == had {
		t.Errorf("the claim is %+v of %s", c, had)
	}
	cat := reopen(t, to)
	if err := cat.CheckPlace(t.Context()); err != nil {
		t.Error(err)
	}
	if now := incarnationOf(t, to); now != c.To {
		t.Errorf("the incarnation is %s, not %s", now, c.To)
	}
	err := cat.InTx(t.Context(), func(tx *catalog.Tx) error {
		epoch, err := tx.NextEpoch(t.Context())
		if err == nil && epoch != 1001 {
			t.Errorf("the first epoch is %d", epoch)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if now := incarnationOf(t, original); now != had {
		t.Errorf("the original's incarnation became %s", now)
	}
}

func TestClaimThatIsNotCompleteGoesOnWithItsIncarnation(t *testing.T) {
	t.Parallel()
	original := catalogtest.URL(t)
	to := copied(t, original)
	had := incarnationOf(t, to)
	begin := func(address string) (c catalog.Claim) {
		cat := trusted(t, address)
		defer cat.Close()
		place, err := cat.Place(t.Context())
		if err == nil {
			err = cat.InTx(t.Context(), func(tx *catalog.Tx) error { c, err = catalog.BeginClaim(t.Context(), tx, place); return err })
		}
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := begin(to)
	if again := begin(to); again.To != first.To || !slices.Equal(again.From, first.From) {
		t.Errorf("the second attempt is %+v, the first was %+v", again, first)
	}
	refused(t, checkPlace(t, to), "is a copy")

	// A copy of the copy takes over what either may have marked.
	other := begin(copied(t, to))
	want := []string{had, first.To}
	slices.Sort(want)
	if other.To == first.To || !slices.Equal(other.From, want) {
		t.Errorf("the copy's claim is %+v; want one from %v", other, want)
	}

	if partly := claim(t, to, 0, false); partly.To != first.To {
		t.Errorf("the claim ended as %+v", partly)
	}
	if err := checkPlace(t, to); err != nil {
		t.Error(err)
	}
	if rest := begin(to); rest.To != first.To {
		t.Errorf("the rest goes on as %+v", rest)
	}
}

func TestLockedNamesAreKnownToAll(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	names := []string{"tenant a", "tenant b"}
	ran, err := cat.Alone(t.Context(), "tenant a", func(ctx context.Context) error {
		locked, err := cat.Locked(ctx, names)
		if err != nil || len(locked) != 1 || !locked["tenant a"] {
			t.Errorf("locked are %v, %v", locked, err)
		}
		if ran, err := cat.Alone(ctx, "tenant a", func(context.Context) error { return nil }); ran || err != nil {
			t.Errorf("somebody else has the lock: ran %t, %v", ran, err)
		}
		return nil
	})
	if err != nil || !ran {
		t.Fatal(ran, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for locked := (map[string]bool{"tenant a": true}); len(locked) > 0; {
		if locked, err = cat.Locked(ctx, names); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWhoLosesALockStopsWork ends the session that holds a lock, as a restart of
// the catalog does: somebody else may take it then.
func TestWhoLosesALockStopsWork(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	ran, err := cat.Alone(t.Context(), "tenant a", func(ctx context.Context) error {
		_, err := cat.Pool().Exec(ctx, `SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
			WHERE l.locktype = 'advisory' AND d.datname = current_database()`)
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(30 * time.Second):
			t.Error("nobody says that the lock is lost")
			return nil
		}
	})
	if !ran || err == nil || !strings.Contains(err.Error(), "the lock was lost") {
		t.Errorf("ran %t, %v", ran, err)
	}
}
