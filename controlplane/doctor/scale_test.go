package doctor_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
)

const (
	sharedDatabases = 10
	homesInEach     = 1000
	ownDatabases    = 10
)

// crowd is a fleet of ten thousand tenants, of which only the catalog, the stamps
// and empty schemas exist: nobody looks at more.
func crowd(t *testing.T) *fixture {
	t.Helper()
	f := open(t)
	one := 1
	if _, err := f.SetCluster(t.Context(), "one", controlplane.ClusterChange{Density: &one}); err != nil {
		t.Fatal(err)
	}
	f.Create(controlplane.NewTenant{}, controlplanetest.Slugs("first", sharedDatabases)...)
	f.inCatalog(fmt.Sprintf(`
		CREATE TEMPORARY TABLE homes AS
			SELECT 'ten_' || d.name || '_' || i AS id, d.name || '-' || i AS slug, 't_' || translate(left(md5(d.name || i), 16), '0189', 'wxyz') AS schema, d.id AS database_id, 'schema' AS isolation
			FROM databases d, generate_series(2, %d) i
			UNION ALL
			SELECT 'ten_own_' || i, 'own-' || i, 't_' || lpad(translate(i::text, '0189', 'abcd'), 16, 'z'), 'd_own_' || i, 'database' FROM generate_series(1, %d) i;
		INSERT INTO databases (id, cluster_id, name, isolation, owner, connect_role, sealed_password, state, homes)
			SELECT h.database_id, c.id, h.schema, 'database', 'o_' || h.schema, 'o_' || h.schema || '_connect', '', 'ready', 1 FROM homes h, clusters c WHERE isolation = 'database';
		INSERT INTO tenants (id, slug, state, settled, isolation, version, release_id)
			SELECT h.id, slug, 'active', true, isolation, '2', r.id FROM homes h, releases r;
		INSERT INTO placements (tenant_id, cluster_id, database_id, schema, role, logins)
			SELECT h.id, c.id, database_id, schema, schema || '_app', jsonb_build_array(schema || '_a', schema || '_b') FROM homes h, clusters c;
		ANALYZE`, homesInEach, ownDatabases))
	f.inhabit()
	return f
}

// inhabit puts the stamps of the crowd on the cluster.
func (f *fixture) inhabit() {
	f.t.Helper()
	catalog := f.Catalog()
	incarnation := f.strings(catalog, `SELECT value FROM settings WHERE key = 'incarnation'`)[0]
	stamp := fmt.Sprintf(`'generation', 1, 'epoch', 1, 'incarnation', '%s', 'version', '2', 'release', 'x'`, incarnation)
	for _, name := range f.strings(catalog, `SELECT name FROM databases WHERE isolation = 'schema'`) {
		rows := f.strings(catalog, `SELECT json_build_object('tenant_id', n.id, 'slug', slug, 'schema', p.schema, 'updated_at', now(), `+stamp+`)::text
			FROM tenants n JOIN placements p ON p.tenant_id = n.id JOIN databases d ON d.id = p.database_id WHERE d.name = $1`, name)
		f.onCluster(name, `INSERT INTO manor.marker SELECT (json_populate_record(NULL::manor.marker, row::json)).* FROM unnest($1::text[]) row ON CONFLICT DO NOTHING`, rows)
		f.onCluster(name, `DO $$ DECLARE s text; BEGIN FOR s IN SELECT schema FROM manor.marker LOOP EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I', s); END LOOP; END $$`)
	}
	for _, statements := range f.strings(catalog, `SELECT format('CREATE DATABASE %I', d.name) || ';' || format('COMMENT ON DATABASE %I IS %L', d.name,
			json_build_object('tenant', n.id, 'slug', slug, 'schema', p.schema, `+stamp+`)::text)
			FROM tenants n JOIN placements p ON p.tenant_id = n.id JOIN databases d ON d.id = p.database_id WHERE d.isolation = 'database'`) {
		create, comment, _ := strings.Cut(statements, ";")
		f.onCluster("postgres", create)
		f.onCluster("postgres", comment)
	}
}

// TestVerifyOfTenThousandTenantsTakesAMoment allows several times what is
// promised (2 s), for machines that do other things at the same time.
func TestVerifyOfTenThousandTenantsTakesAMoment(t *testing.T) {
	f := crowd(t)
	best := time.Hour
	for range 3 {
		began := time.Now()
		v := f.verify(false)
		best = min(best, time.Since(began))
		if v.Tenants != sharedDatabases*homesInEach+ownDatabases || v.Agree != v.Tenants {
			t.Fatalf("%d tenants, %d agree, not reached: %+v", v.Tenants, v.Agree, v.Unreached)
		}
	}
	t.Logf("verifying %d tenants in %d databases and %d of their own took %s", sharedDatabases*homesInEach, sharedDatabases, ownDatabases, best)
	if best > 10*time.Second {
		t.Errorf("it took %s", best)
	}
}
