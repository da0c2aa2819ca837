package pg

import (
	"context"
	_ "embed"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
)

// Print is the fingerprint of a schema.
type Print struct {
	Hash    string // sha256, hex
	Objects int    // how many it covers
}

// linesSQL is the WITH clause whose lines make the fingerprint.
//
//go:embed fingerprint.sql
var linesSQL string

const printSQL = `
SELECT encode(sha256(convert_to(replace(coalesce(string_agg(kind || ' ' || line.name || ' ' || def, E'\n' ORDER BY kind COLLATE "C", line.name COLLATE "C", def COLLATE "C"), ''), ns.name, '$'), 'UTF8')), 'hex') AS fingerprint,
       count(kind) FILTER (WHERE NOT starts_with(kind, '~')) AS objects
  FROM ns LEFT JOIN line ON true GROUP BY ns.name`

// Fingerprint hashes what a schema is made of, whatever the names of the schema,
// its owner and its rights role, and however it came to be so. The order of
// columns does not count; rows, statistics and the revision table neither.
// Prints compare within one major version of PostgreSQL.
// In a transaction it leaves the schema behind as the search path.
func Fingerprint(ctx context.Context, conn asked, schema string) (Print, error) {
	var p Print
	err := conn.QueryRow(ctx, linesSQL+printSQL, schema).Scan(&p.Hash, &p.Objects)
	if errors.Is(err, pgx.ErrNoRows) {
		return Print{}, controlplane.Errorf(controlplane.NotFound, "fingerprint: there is no schema %s", schema)
	}
	return p, fault(err, "fingerprint schema %s", schema)
}

// asked is a connection or its transaction.
type asked interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}
