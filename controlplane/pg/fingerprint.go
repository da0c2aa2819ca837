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

//go:embed fingerprint.sql
var fingerprintSQL string

// Fingerprint hashes what a schema is made of, whatever the names of the schema,
// its owner and its rights role, and however it came to be so. The order of
// columns does not count; rows, statistics and the revision table neither.
// Prints compare within one major version of PostgreSQL.
func Fingerprint(ctx context.Context, conn *pgx.Conn, schema string) (Print, error) {
	var p Print
	err := pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		// Names inside the schema are then written without it, in whatever PostgreSQL deparses.
		if _, err := tx.Exec(ctx, "SET LOCAL search_path = "+Quote(schema)); err != nil {
			return err
		}
		return tx.QueryRow(ctx, fingerprintSQL).Scan(&p.Hash, &p.Objects)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return Print{}, controlplane.Errorf(controlplane.NotFound, "fingerprint: database %s has no schema %s", conn.Config().Database, schema)
	}
	return p, fault(err, "fingerprint schema %s of database %s", schema, conn.Config().Database)
}
