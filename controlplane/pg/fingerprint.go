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
func Fingerprint(ctx context.Context, conn *pgx.Conn, schema string) (p Print, err error) {
	err = within(ctx, conn, schema, func(tx pgx.Tx) error {
		p, err = FingerprintIn(ctx, tx)
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return Print{}, controlplane.Errorf(controlplane.NotFound, "fingerprint: database %s has no schema %s", conn.Config().Database, schema)
	}
	return p, fault(err, "fingerprint schema %s of database %s", schema, conn.Config().Database)
}

// FingerprintIn is Fingerprint of the schema that the search path of a
// transaction names, alone.
func FingerprintIn(ctx context.Context, tx asked) (p Print, err error) {
	err = tx.QueryRow(ctx, linesSQL+printSQL).Scan(&p.Hash, &p.Objects)
	return p, err
}

// asked is a connection or its transaction.
type asked interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// within reads in a schema. Names inside it are written without it, in whatever
// PostgreSQL deparses.
func within(ctx context.Context, conn *pgx.Conn, schema string, f func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL search_path = "+Quote(schema)); err != nil {
			return err
		}
		return f(tx)
	})
}
