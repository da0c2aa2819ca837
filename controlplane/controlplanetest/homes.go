package controlplanetest

import (
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/pg"
)

// Like makes n more schema tenants beside one that is settled and at no version
// yet, named after it: rows of the catalog, schema, revision table and marker,
// by SQL and quickly. The model's rights role has the rights in them, and nobody
// can log in as one of them.
func (p *Plane) Like(s Server, model *controlplane.Tenant, n int) {
	p.t.Helper()
	const most = 200 // homes in one transaction: each needs a few locks
	for from := 0; from < n; from += most {
		p.like(s, model, from, min(most, n-from))
	}
}

func (p *Plane) like(s Server, model *controlplane.Tenant, from, n int) {
	p.t.Helper()
	ids, slugs, schemas := make([]string, n), make([]string, n), make([]string, n)
	for i := range n {
		ids[i], slugs[i], schemas[i] = pg.NewName("ten_"), fmt.Sprintf("%s-%05d", model.Slug, from+i+1), pg.NewName("t_")
	}
	there := connect(p.t, s.URL(model.Placement.Database))
	defer there.Close(p.t.Context())
	catalog := p.Catalog()
	defer catalog.Close(p.t.Context())
	p.exec(there, p.likeHomes(there, model, schemas))
	p.exec(there, `INSERT INTO manor.marker SELECT (jsonb_populate_record(m, jsonb_build_object('tenant_id', l.id, 'slug', l.slug, 'schema', l.schema))).*
		FROM manor.marker m, unnest($2::text[], $3::text[], $4::text[]) AS l(id, slug, schema) WHERE m.tenant_id = $1`, model.ID, ids, slugs, schemas)
	p.exec(catalog, `INSERT INTO tenants SELECT (jsonb_populate_record(t, jsonb_build_object('id', l.id, 'slug', l.slug, 'external_id', NULL))).*
		FROM tenants t, unnest($2::text[], $3::text[]) AS l(id, slug) WHERE t.id = $1`, model.ID, ids, slugs)
	p.exec(catalog, `INSERT INTO placements SELECT (jsonb_populate_record(p, jsonb_build_object('id', nextval(pg_get_serial_sequence('placements', 'id')),
			'tenant_id', l.id, 'schema', l.schema, 'role', l.schema || '_app', 'logins', jsonb_build_array(l.schema || '_a', l.schema || '_b')))).*
		FROM placements p, unnest($2::text[], $3::text[]) AS l(id, schema) WHERE p.tenant_id = $1`, model.ID, ids, schemas)
	p.exec(catalog, "UPDATE databases SET homes = homes + $2 WHERE id = $1", model.Placement.DatabaseID, n)
}

// likeHomes makes schemas with a revision table, of the model's owner.
func (p *Plane) likeHomes(there *pgx.Conn, model *controlplane.Tenant, schemas []string) string {
	owner := p.strings(there, "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = $1", model.Placement.Schema)[0]
	sql := fmt.Sprintf("SET ROLE %s;", owner)
	for _, schema := range schemas {
		sql += fmt.Sprintf(`CREATE SCHEMA %[1]s; CREATE TABLE %[1]s.atlas_schema_revisions (LIKE %[2]s.atlas_schema_revisions INCLUDING ALL);
			GRANT USAGE ON SCHEMA %[1]s TO %[3]s; ALTER DEFAULT PRIVILEGES IN SCHEMA %[1]s GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %[3]s;
			ALTER DEFAULT PRIVILEGES IN SCHEMA %[1]s GRANT USAGE, SELECT ON SEQUENCES TO %[3]s;`, schema, model.Placement.Schema, model.Placement.Role)
	}
	return sql + "RESET ROLE"
}

func (p *Plane) exec(conn *pgx.Conn, sql string, args ...any) {
	p.t.Helper()
	mode := pgx.QueryExecModeSimpleProtocol // several statements
	if len(args) > 0 {
		mode = pgx.QueryExecModeCacheDescribe
	}
	if _, err := conn.Exec(p.t.Context(), sql, append([]any{mode}, args...)...); err != nil {
		p.t.Fatalf("%.200s: %v", sql, err)
	}
}
