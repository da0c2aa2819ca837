package controlplanetest

import (
	"cmp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
)

// Across asks the homes of tenants on a server one by one the same question,
// as a superuser, and returns the answers by slug. In the query "home." stands
// for the tenant's schema; it yields one value.
func Across[T any](p *Plane, s Server, tenants []*controlplane.Tenant, query string) map[string]T {
	p.t.Helper()
	sorted := slices.SortedFunc(slices.Values(tenants), func(a, b *controlplane.Tenant) int {
		return cmp.Compare(a.Placement.Database, b.Placement.Database)
	})
	answers := make(map[string]T, len(tenants))
	for there := range chunks(sorted, func(t *controlplane.Tenant) string { return t.Placement.Database }) {
		conn := connect(p.t, s.URL(there[0].Placement.Database))
		for _, tenant := range there {
			sql := strings.ReplaceAll(query, "home.", pgx.Identifier{tenant.Placement.Schema}.Sanitize()+".")
			rows, _ := conn.Query(p.t.Context(), sql, pgx.QueryExecModeExec)
			answer, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
			if err != nil {
				p.t.Fatalf("%s: %s: %v", tenant.Slug, sql, err)
			}
			answers[tenant.Slug] = answer
		}
		_ = conn.Close(p.t.Context())
	}
	return answers
}

// chunks yields the runs of neighbours with the same key.
func chunks[T any](all []T, key func(T) string) func(yield func([]T) bool) {
	return func(yield func([]T) bool) {
		for len(all) > 0 {
			n := slices.IndexFunc(all, func(t T) bool { return key(t) != key(all[0]) })
			if n < 0 {
				n = len(all)
			}
			if !yield(all[:n]) {
				return
			}
			all = all[n:]
		}
	}
}

// Revision is a query for [Across]: the version that a tenant's revisions say.
const Revision = `SELECT coalesce(max(version) FILTER (WHERE applied = total), '') FROM home.atlas_schema_revisions`

// Ledger is a query for [Across]: a tenant's revision table to the last byte,
// with the transactions that wrote its rows.
const Ledger = `SELECT coalesce(string_agg(concat_ws(' ', r.ctid, r.xmin, r.xmax, r::text), E'\n' ORDER BY version), '') FROM home.atlas_schema_revisions r`
