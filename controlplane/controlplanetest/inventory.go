package controlplanetest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Leftovers compares what is on a cluster's server with what the catalog says
// is there: databases, roles, schemas and markers, each exactly once. It lists
// what is on one side only. Scratch databases that the catalog knows are left out:
// they are being dropped, or will be by whoever looks. The server must be the
// test's own.
func (p *Plane) Leftovers(s Server) []string {
	p.t.Helper()
	catalog, superuser := p.Catalog(), connect(p.t, s.URL("postgres"))
	defer catalog.Close(p.t.Context())
	defer superuser.Close(p.t.Context())
	id, login := p.clusterOn(catalog, s)
	scratch := p.strings(catalog, "SELECT unnest(ARRAY[name, owner, connect_role]) FROM databases WHERE cluster_id = $1 AND isolation = 'scratch'", id)
	databases := p.strings(catalog, "SELECT name FROM databases WHERE cluster_id = $1 AND isolation <> 'scratch'", id)
	copies := p.strings(catalog, "SELECT id FROM snapshots WHERE cluster_id = $1 AND state = 'made'", id)
	differences := differ("database", slices.Concat(databases, copies),
		p.strings(superuser, "SELECT datname::text FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres' AND datname <> ALL ($1)", scratch))
	differences = append(differences, differ("role",
		p.strings(catalog, `SELECT unnest(ARRAY[owner, connect_role]) FROM databases WHERE cluster_id = $1 AND isolation <> 'scratch'
			UNION ALL SELECT role FROM placements WHERE cluster_id = $1
			UNION ALL SELECT login FROM credentials c JOIN placements p ON p.tenant_id = c.tenant_id WHERE p.cluster_id = $1`, id),
		p.strings(superuser, `SELECT rolname::text FROM pg_roles WHERE NOT rolsuper AND rolname !~ '^pg_' AND rolname <> $1 AND rolname <> ALL ($2)`, login, scratch))...)
	if len(differences) > 0 {
		return differences // into what is not there nobody can look
	}
	for _, name := range databases {
		differences = append(differences, p.leftoversIn(catalog, id, s, name)...)
	}
	return differences
}

// clusterOn finds the cluster that a server is known as, and its control login.
func (p *Plane) clusterOn(catalog *pgx.Conn, s Server) (id, login string) {
	p.t.Helper()
	const query = "SELECT id, login FROM clusters WHERE address -> 'hosts' ->> 0 = $1"
	if err := catalog.QueryRow(p.t.Context(), query, hostPort(s)).Scan(&id, &login); err != nil {
		p.t.Fatalf("the cluster at %s: %v", hostPort(s), err)
	}
	return id, login
}

func (p *Plane) leftoversIn(catalog *pgx.Conn, cluster string, s Server, name string) []string {
	p.t.Helper()
	inside := connect(p.t, s.URL(name))
	defer inside.Close(p.t.Context())
	const where = " FROM placements p JOIN databases d ON d.id = p.database_id WHERE d.name = $1 AND d.cluster_id = $2"
	differences := differ("schema",
		append(p.strings(catalog, "SELECT p.schema"+where, name, cluster), "extensions", "manor", "public"),
		p.strings(inside, "SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"))
	return append(differences, differ("marker",
		p.strings(catalog, "SELECT concat_ws(' ', p.tenant_id, p.schema, p.generation)"+where, name, cluster),
		p.strings(inside, "SELECT concat_ws(' ', tenant_id, schema, generation) FROM manor.marker"))...)
}

func (p *Plane) strings(conn *pgx.Conn, query string, args ...any) []string {
	p.t.Helper()
	rows, _ := conn.Query(p.t.Context(), query, args...)
	values, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		p.t.Fatalf("%s: %v", query, err)
	}
	return values
}

// differ lists what one side has more often than the other.
func differ(what string, known, found []string) []string {
	balance := map[string]int{}
	for _, name := range known {
		balance[name]--
	}
	for _, name := range found {
		balance[name]++
	}
	var differences []string
	for _, name := range slices.Sorted(maps.Keys(balance)) {
		switch n := balance[name]; {
		case n > 0:
			differences = append(differences, fmt.Sprintf("%s %s is on the cluster and not in the catalog", what, strings.TrimSpace(name)))
		case n < 0:
			differences = append(differences, fmt.Sprintf("%s %s is in the catalog and not on the cluster", what, strings.TrimSpace(name)))
		}
	}
	return differences
}
