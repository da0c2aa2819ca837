package migrator

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/pg"
)

// ApplyCatalog brings the catalog's own schema to the last version of the
// release and returns the versions it applied. Processes that do so at the same
// time wait for each other. The schema and its revision table are made if missing.
func (r *Release) ApplyCatalog(ctx context.Context, conn *pgx.Conn, schema string) (applied []string, err error) {
	for {
		var version string
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) (err error) {
			version, err = r.nextForCatalog(ctx, tx, schema)
			return err
		})
		if err != nil || version == "" {
			return applied, err
		}
		applied = append(applied, version)
	}
}

// nextForCatalog applies the first pending file and returns its version; "" if
// none is pending.
func (r *Release) nextForCatalog(ctx context.Context, tx pgx.Tx, schema string) (string, error) {
	if err := openCatalog(ctx, tx, schema); err != nil {
		return "", err
	}
	at, err := r.catalogAt(ctx, tx)
	if err != nil || at == len(r.files)-1 {
		return "", err
	}
	f := r.files[at+1]
	if f.alone {
		return "", controlplane.Errorf(controlplane.Invalid, "%s: a migration of the catalog runs in a transaction", f.name)
	}
	var b builder
	for i, s := range f.statements {
		b.body(f, i+1, s.sql, s.ended)
	}
	b.record(f)
	script, v := b.done(), Target{Marker: pg.Marker{Schema: schema}}.values(Limits{})
	sql := script.fill(v)
	completed, err := send(ctx, tx.Conn().PgConn(), sql)
	if err != nil {
		s := &session{release: r, conn: tx.Conn(), values: v}
		res := s.explain(script, sql, completed, err, 0)
		return "", fmt.Errorf("migrate the catalog to version %s: %s: %w", f.version, res.Failure, res.Err)
	}
	return f.version, nil
}

// openCatalog waits for other processes and makes what is missing.
func openCatalog(ctx context.Context, tx pgx.Tx, schema string) error {
	var hasSchema, hasTable bool
	_, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('manor catalog ' || $1, 0))`, schema)
	if err == nil {
		err = tx.QueryRow(ctx, `SELECT to_regnamespace(quote_ident($1)) IS NOT NULL,
			to_regclass(quote_ident($1) || '.atlas_schema_revisions') IS NOT NULL`, schema).Scan(&hasSchema, &hasTable)
	}
	if err == nil && !hasSchema {
		_, err = tx.Exec(ctx, "CREATE SCHEMA "+pg.Quote(schema))
	}
	if err == nil && !hasTable {
		_, err = tx.Exec(ctx, pg.RevisionTable(schema))
	}
	if err == nil {
		_, err = tx.Exec(ctx, "SET LOCAL search_path = "+pg.Quote(schema))
	}
	if err != nil {
		return fmt.Errorf("open schema %s of the catalog: %w", schema, err)
	}
	return nil
}

// catalogAt returns the place of the catalog's version among the files.
func (r *Release) catalogAt(ctx context.Context, tx pgx.Tx) (int, error) {
	var version, hash string
	err := tx.QueryRow(ctx, `SELECT version, hash FROM atlas_schema_revisions WHERE version <> '.atlas_cloud_identifier'
		ORDER BY version COLLATE "C" DESC LIMIT 1`).Scan(&version, &hash)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, fmt.Errorf("read the catalog's revisions: %w", err)
	}
	at := r.index(version)
	switch {
	case at < -1:
		return 0, controlplane.Errorf(controlplane.Refused, "the catalog is at version %s, which this program does not know", version).
			WithHint("use the version of Manor that migrated it, or a newer one")
	case at >= 0 && r.files[at].hash != hash:
		return 0, controlplane.Errorf(controlplane.Refused, "migration %s of the catalog was changed after it was applied", r.files[at].name)
	}
	return at, nil
}
