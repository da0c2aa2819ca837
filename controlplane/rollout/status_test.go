package rollout_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
)

// crowd fills a catalog with tenants on two clusters and with rollouts that
// each had most of them as targets. Which ones, and how they fared, is random.
func crowd(t *testing.T, p *controlplanetest.Plane, tenants, rollouts int, seed float64) *pgx.Conn {
	t.Helper()
	conn := p.Catalog()
	_, err := conn.Exec(t.Context(), fmt.Sprintf(`
		SELECT setseed(%[3]g);
		INSERT INTO clusters (id, name, address, login, sealed_password, tls)
			SELECT 'c_' || i, 'cluster-' || i, '{"hosts": []}', '', '', '{}' FROM generate_series(0, 1) i;
		INSERT INTO releases (id, name, hash, archive, versions, created_by) VALUES ('rel_1', 'v1', 'h', '', '[{"version": "1"}, {"version": "2"}]', 'user:test');
		INSERT INTO settings VALUES ('default_release', 'rel_1'), ('default_version', '2');
		INSERT INTO tenants (id, slug, state, settled, isolation, version, release_id, fingerprint)
			SELECT 'ten_' || i, 'tenant-' || i, (ARRAY['active', 'active', 'active', 'suspended', 'deleted', 'failed', 'provisioning'])[1 + floor(random() * 7)],
				true, 'schema', (1 + floor(random() * 2))::text, 'rel_1', (ARRAY['', 'abc', 'def'])[1 + floor(random() * 3)] FROM generate_series(1, %[1]d) i;
		INSERT INTO placements (tenant_id, cluster_id, database_id, schema, role, logins)
			SELECT id, 'c_' || (hashtext(id) & 1), 'd_' || (hashtext(id) & 7), 't_' || id, 't_' || id || '_app', '["a", "b"]' FROM tenants WHERE state <> 'failed';
		INSERT INTO rollouts (id, state, release_id, version, batch_size, concurrency, created_by)
			SELECT 'r_' || i, 'succeeded', 'rel_1', '2', 20, 8, 'user:test' FROM generate_series(1, %[2]d) i;
		INSERT INTO targets (rollout_id, tenant_id, slug, cluster_id, database_id, status)
			SELECT r.id, n.id, n.slug, 'c_0', 'd_0', (ARRAY['succeeded', 'current', 'skipped', 'failed', 'needs_attention', 'rolled_back'])[1 + floor(random() * 6)]
			FROM rollouts r, tenants n WHERE random() < 0.9 ORDER BY random();
		UPDATE targets SET status = (ARRAY['pending', 'running', 'deferred', 'unknown'])[1 + floor(random() * 4)]
			WHERE id IN (SELECT DISTINCT ON (tenant_id) id FROM targets WHERE hashtext(tenant_id) %% 3 = 0 ORDER BY tenant_id, random());
		ANALYZE`, tenants, rollouts, seed))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// byLastTarget counts the tenants as the status is defined: a tenant has failed,
// or is at work, when its last target says so.
const byLastTarget = `
	SELECT n.version, 'v1', count(*),
		count(*) FILTER (WHERE l.status IN ('failed', 'needs_attention')),
		count(*) FILTER (WHERE l.status IN ('pending', 'running', 'deferred', 'unknown')),
		jsonb_strip_nulls(jsonb_build_object('abc', nullif(count(*) FILTER (WHERE n.fingerprint = 'abc'), 0), 'def', nullif(count(*) FILTER (WHERE n.fingerprint = 'def'), 0)))
	FROM tenants n LEFT JOIN (SELECT DISTINCT ON (tenant_id) tenant_id, status FROM targets ORDER BY tenant_id, id DESC) l ON l.tenant_id = n.id
	WHERE n.state IN ('active', 'suspended') GROUP BY 1 ORDER BY 1 DESC`

func TestStatusCountsEachTenantByItsLastTarget(t *testing.T) {
	t.Parallel()
	for seed := range 8 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			p := controlplanetest.Open(t, controlplanetest.Options{Idle: true})
			conn := crowd(t, p, 150, seed, float64(seed)/8)
			rows, _ := conn.Query(t.Context(), byLastTarget)
			want, err := pgx.CollectRows(rows, pgx.RowToStructByPos[controlplane.VersionStatus])
			if err != nil {
				t.Fatal(err)
			}
			status, err := p.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, status.Versions); diff != "" {
				t.Errorf("seed %d, versions (-want +got):\n%s", seed, diff)
			}
		})
	}
}

// TestStatusOfTenThousandTenantsTakesAMoment allows ten times what is promised
// (100 ms), for machines that do other things at the same time.
func TestStatusOfTenThousandTenantsTakesAMoment(t *testing.T) {
	p := controlplanetest.Open(t, controlplanetest.Options{Idle: true})
	crowd(t, p, 10_000, 3, 0.5)
	best := time.Hour
	for range 5 {
		began := time.Now()
		status, err := p.Status(t.Context())
		if best = min(best, time.Since(began)); err != nil || status.Tenants < 8_000 {
			t.Fatalf("%d tenants, %v", status.Tenants, err)
		}
	}
	t.Logf("the status of 10,000 tenants with 3 rollouts behind them took %s", best)
	if best > time.Second {
		t.Errorf("the status took %s", best)
	}
}
