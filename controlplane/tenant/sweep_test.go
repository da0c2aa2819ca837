package tenant

import (
	"testing"

	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/catalog/catalogtest"
)

func TestSweepsOfManyProcessesTakeATenantOnce(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	_, err := cat.Pool().Exec(t.Context(), `INSERT INTO tenants (id, slug, isolation, settled, updated_at) VALUES
		('abandoned', 'acme', 'schema', false, now() - interval '21 s'),
		('at work', 'globex', 'schema', false, now() - interval '10 s'),
		('settled', 'initech', 'schema', true, now() - interval '1 h')`)
	if err != nil {
		t.Fatal(err)
	}
	take := func(during func() error) (ids []string) {
		t.Helper()
		err := cat.InTx(t.Context(), func(tx *catalog.Tx) (err error) {
			if ids, err = takeAbandoned(t.Context(), tx); err != nil {
				return err
			}
			return during()
		})
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	nothing := func() error { return nil }
	ids := take(func() error {
		if others := take(nothing); len(others) > 0 {
			t.Errorf("at the same time another process took %v", others)
		}
		return nil
	})
	if len(ids) != 1 || ids[0] != "abandoned" {
		t.Errorf("taken: %v", ids)
	}
	if again := take(nothing); len(again) > 0 {
		t.Errorf("right afterwards another process took %v", again)
	}
}
