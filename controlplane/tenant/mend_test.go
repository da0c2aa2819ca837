package tenant

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/catalog/catalogtest"
	"github.com/manorhq/manor/ent/tenant"
)

func TestTenantIsCorrectedOnlyAsItWasSeen(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	seen := time.Now().Add(-time.Minute).Truncate(time.Microsecond)
	slugs := []string{"at-rest", "changed", "engaged", "unsettled"}
	var corrections []Correction
	for _, slug := range slugs {
		err := cat.Ent().Tenant.Create().SetID("ten_" + slug).SetSlug(slug).SetState(controlplane.TenantActive).SetIsolation(controlplane.IsolationSchema).
			SetSettled(slug != "unsettled").SetVersion("1").SetUpdatedAt(seen).Exec(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		corrections = append(corrections, Correction{TenantID: "ten_" + slug, Seen: seen, Version: "2", ReleaseID: "v2", Reason: "so"})
	}
	// A rollout took one up and back again since it was seen; another is at work on one.
	if err := cat.Ent().Tenant.UpdateOneID("ten_changed").SetUpdatedAt(time.Now()).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := cat.Ent().Target.Create().SetRolloutID("r_1").SetTenantID("ten_engaged").SetSlug("engaged").SetClusterID("c").SetDatabaseID("d").Exec(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var done map[string]bool
	err = cat.InTx(t.Context(), func(tx *catalog.Tx) (err error) {
		done, err = (&Service{cat: cat}).Correct(t.Context(), tx, controlplane.Loop("test"), corrections)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]bool{"ten_at-rest": true}, done); diff != "" {
		t.Errorf("corrected (-want +got):\n%s", diff)
	}
	at, err := cat.Ent().Tenant.Query().Where(tenant.Version("2"), tenant.ReleaseID("v2")).Select(tenant.FieldSlug).Strings(t.Context())
	if diff := cmp.Diff([]string{"at-rest"}, at); diff != "" || err != nil {
		t.Errorf("at version 2 (-want +got):\n%s%v", diff, err)
	}
}
