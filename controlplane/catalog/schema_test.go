package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/catalog/catalogtest"
)

func TestDatabaseRefusesStatesThatTheNounsDoNotKnow(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	if err := cat.InTx(t.Context(), func(tx *catalog.Tx) error { return oneOfEach(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
	for table, columns := range map[string][]string{
		"clusters": {"state"}, "databases": {"isolation", "state"}, "tenants": {"state", "isolation"}, "credentials": {"slot"},
		"rollouts": {"state", "on_error"}, "batches": {"direction", "state"}, "targets": {"direction", "status"},
	} {
		for _, column := range columns {
			_, err := cat.Pool().Exec(t.Context(), fmt.Sprintf(`UPDATE %s SET %s = 'made_up'`, table, column))
			if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != "23514" {
				t.Errorf("%s.%s took an unknown value: %v", table, column, err)
			}
		}
	}
	for table, column := range map[string]string{"databases": "homes", "clusters": "capacity", "placements": "generation", "rollouts": "batch_size"} {
		if _, err := cat.Pool().Exec(t.Context(), fmt.Sprintf(`UPDATE %s SET %s = -1`, table, column)); err == nil {
			t.Errorf("%s.%s took -1", table, column)
		}
	}
}

func oneOfEach(ctx context.Context, tx *catalog.Tx) error {
	return errors.Join(
		tx.Cluster.Create().SetID("c").SetName("c").SetAddress(controlplane.Address{}).SetLogin("l").SetSealedPassword([]byte{1}).SetTLS(controlplane.TLS{}).Exec(ctx),
		tx.Database.Create().SetID("d").SetClusterID("c").SetName("d").SetIsolation("schema").SetOwner("o").SetConnectRole("r").SetSealedPassword([]byte{1}).Exec(ctx),
		newTenant(tx, "acme").Exec(ctx),
		tx.Placement.Create().SetTenantID("id-acme").SetClusterID("c").SetDatabaseID("d").SetSchema("t_x").SetRole("t_x_app").SetLogins(controlplane.Logins{"a", "b"}).Exec(ctx),
		tx.Credential.Create().SetTenantID("id-acme").SetLogin("t_x_a").SetSlot("a").SetSealedPassword([]byte{1}).Exec(ctx),
		tx.Rollout.Create().SetID("r").SetReleaseID("rel").SetVersion("1").SetBatchSize(1).SetConcurrency(1).SetCreatedBy("user:me").Exec(ctx),
		tx.Batch.Create().SetRolloutID("r").SetNumber(1).SetClusterID("c").SetDirection("up").Exec(ctx),
		newTarget(ctx, tx, "r", "id-acme", controlplane.TargetPending),
	)
}

func newTarget(ctx context.Context, tx *catalog.Tx, rollout, tenant string, status controlplane.TargetStatus) error {
	return tx.Target.Create().SetRolloutID(rollout).SetTenantID(tenant).SetSlug(tenant).SetClusterID("c").SetDatabaseID("d").SetStatus(status).Exec(ctx)
}

func TestSlugAndExternalIDAreFreeAgainAfterDeletion(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	add := func(id, slug, externalID string) error {
		return cat.InTx(t.Context(), func(tx *catalog.Tx) error {
			return newTenant(tx, slug).SetID(id).SetExternalID(externalID).Exec(t.Context())
		})
	}
	become := func(state controlplane.TenantState) {
		if err := cat.Ent().Tenant.UpdateOneID("1").SetState(state).Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := add("1", "acme", "cus_1"); err != nil {
		t.Fatal(err)
	}
	become(controlplane.TenantDeleting)
	if err := add("2", "acme", "cus_2"); !catalog.IsUnique(err, "slug") {
		t.Errorf("the slug of a tenant being deleted was given away: %v", err)
	}
	if err := add("2", "other", "cus_1"); !catalog.IsUnique(err, "external_id") {
		t.Errorf("the external id of a tenant being deleted was given away: %v", err)
	}
	become(controlplane.TenantDeleted)
	if err := add("2", "acme", "cus_1"); err != nil {
		t.Errorf("the names of a tombstone are not free: %v", err)
	}
}

func TestTenantIsUnfinishedTargetOfAtMostOneRollout(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	add := func(rollout string, status controlplane.TargetStatus) error {
		return cat.InTx(t.Context(), func(tx *catalog.Tx) error { return newTarget(t.Context(), tx, rollout, "tenant", status) })
	}
	if err := add("first", controlplane.TargetRunning); err != nil {
		t.Fatal(err)
	}
	for _, status := range controlplane.TargetStatuses {
		rollout := "r_" + string(status)
		if err := add(rollout, status); status.Done() != (err == nil) || !status.Done() && !catalog.IsUnique(err, "target_unfinished") {
			t.Errorf("a second target that is %s: %v", status, err)
		}
	}
}

func TestNounsSurviveTheCatalog(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	labels := controlplane.Labels{"ring": "canary", "quote": `a"b'c\`}
	failure := &controlplane.Failure{Message: "no", SQLState: "23505", Statement: 3}
	err := cat.InTx(t.Context(), func(tx *catalog.Tx) error {
		if err := newTenant(tx, "acme").SetLabels(labels).SetFailure(failure).Exec(t.Context()); err != nil {
			return err
		}
		return newTenant(tx, "plain").Exec(t.Context())
	})
	if err != nil {
		t.Fatal(err)
	}
	full, err1 := cat.Ent().Tenant.Get(t.Context(), "id-acme")
	plain, err2 := cat.Ent().Tenant.Get(t.Context(), "id-plain")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(labels, full.Labels) + cmp.Diff(failure, full.Failure); diff != "" {
		t.Error(diff)
	}
	if plain.Labels == nil || plain.Failure != nil || plain.ExternalID != nil {
		t.Errorf("defaults: %+v", plain)
	}
	if err := full.Update().ClearFailure().Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn, err := cat.Pool().Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if err := expectRow(t.Context(), (*pgx.Conn)(conn.Conn()), `SELECT bool_and(failure IS NULL) FROM tenants`); err != nil {
		t.Error(err)
	}
}
