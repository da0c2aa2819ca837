package pg

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
)

// Marker is the row of schema manor that proves what home a session is in.
type Marker struct {
	TenantID    string
	Slug        string
	Schema      string
	Incarnation string // of the catalog that the tenant belongs to
	Generation  int64  // of the placement; an older one has moved away
	Epoch       int64  // of the work; an older one is fenced off
}

// Stamp is a marker with the version that the home's revisions said when they
// were last written.
type Stamp struct {
	Marker
	Version   string // "" is an empty home
	Release   string // hash of the release
	UpdatedAt time.Time
	Homeless  bool // the schema that it is about is not there; only [ReadMarkers] looks
}

// SQLSTATEs of the functions in schema manor.
const (
	StateBusy        = "MN001" // another session works on the tenant
	StateNoHome      = "MN002" // the database holds no home of the tenant
	StateMoved       = "MN003" // its schema or generation is another
	StateForeign     = "MN004" // it belongs to another catalog
	StateFenced      = "MN005" // a newer epoch has worked on it
	StateOtherAt     = "MN006" // its revisions say another version
	StateFileChanged = "MN007" // its last file was changed after it was applied
	StateBuilding    = "MN008" // another index is being built in the database
)

//go:embed marker.sql
var markerSQL string

// markerEdition is that of marker.sql.
const markerEdition = 2

// installMarker makes schema manor in the owner's database, or brings it up to
// date; that of a newer program stays as it is. It may run again, and concurrently
// under [Retry].
func installMarker(ctx context.Context, owner *pgx.Conn) error {
	edition, err := markerOf(ctx, owner)
	if err != nil || edition > markerEdition {
		return err
	}
	// One message is one transaction.
	if _, err := owner.PgConn().Exec(ctx, markerSQL).ReadAll(); err != nil {
		return fmt.Errorf("install schema manor: %w", err)
	}
	return nil
}

// UpgradeMarker brings schema manor of the owner's database up to date, where
// an older program installed it.
func UpgradeMarker(ctx context.Context, owner *pgx.Conn) error {
	return Retry(ctx, func() error {
		edition, err := markerOf(ctx, owner)
		if err != nil || edition == 0 || edition >= markerEdition {
			return err
		}
		return installMarker(ctx, owner)
	})
}

// markerOf returns the edition of schema manor; 0 is a database without one.
func markerOf(ctx context.Context, owner *pgx.Conn) (edition int, err error) {
	err = owner.QueryRow(ctx, "SELECT manor.edition()", pgx.QueryExecModeExec).Scan(&edition)
	switch {
	case hasState(err, "3F000"): // invalid_schema_name
		return 0, nil
	case hasState(err, "42883"): // undefined_function: the first edition had none
		return 1, nil
	case err != nil:
		return 0, fmt.Errorf("read the edition of schema manor: %w", err)
	}
	return edition, nil
}

// writeMarker adds the row of a home, or finds it as it should be. A row of
// another tenant, schema or generation is refused.
func writeMarker(ctx context.Context, tx pgx.Tx, m Marker) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO manor.marker (tenant_id, slug, schema, generation, epoch, incarnation)
		VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`,
		m.TenantID, m.Slug, m.Schema, m.Generation, m.Epoch, m.Incarnation)
	if err != nil {
		return fmt.Errorf("write the marker of %s: %w", m.Schema, err)
	}
	found, err := readMarker(ctx, tx, m)
	if err != nil {
		return err
	}
	if !found.sameHome(m) {
		return foreignMarker(m, found)
	}
	return nil
}

// deleteMarker removes the row of a home, if it is there. The home of another
// tenant, schema, generation or catalog is refused.
func deleteMarker(ctx context.Context, tx pgx.Tx, m Marker) error {
	found, err := readMarker(ctx, tx, m)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return err
	case !found.sameHome(m):
		return foreignMarker(m, found)
	}
	_, err = tx.Exec(ctx, `DELETE FROM manor.marker WHERE tenant_id = $1`, m.TenantID)
	if err != nil {
		return fmt.Errorf("delete the marker of %s: %w", m.Schema, err)
	}
	return nil
}

// readMarker locks and returns the row of m's tenant or, should there be none,
// of m's schema.
func readMarker(ctx context.Context, tx pgx.Tx, m Marker) (found Marker, err error) {
	err = tx.QueryRow(ctx, `
		SELECT tenant_id, slug, schema, incarnation, generation, epoch FROM manor.marker
		WHERE tenant_id = $1 OR schema = $2 ORDER BY tenant_id <> $1 LIMIT 1 FOR UPDATE`,
		m.TenantID, m.Schema).
		Scan(&found.TenantID, &found.Slug, &found.Schema, &found.Incarnation, &found.Generation, &found.Epoch)
	if err != nil {
		return found, fmt.Errorf("read the marker of %s: %w", m.Schema, err)
	}
	return found, nil
}

// sameHome compares what names a home: not the slug, which may change, and not
// the epoch, which rises.
func (m Marker) sameHome(other Marker) bool {
	return m.TenantID == other.TenantID && m.Schema == other.Schema &&
		m.Generation == other.Generation && m.Incarnation == other.Incarnation
}

func foreignMarker(want, found Marker) error {
	return controlplane.Errorf(controlplane.Refused,
		"schema %s is not the home of tenant %s at generation %d: the marker names tenant %s, schema %s, generation %d",
		want.Schema, want.TenantID, want.Generation, found.TenantID, found.Schema, found.Generation)
}

// ReadMarkers returns the stamps of all homes in the owner's database.
func ReadMarkers(ctx context.Context, owner *pgx.Conn) ([]Stamp, error) {
	rows, err := owner.Query(ctx, `
		SELECT tenant_id, slug, schema, incarnation, generation, epoch, version, release, updated_at,
			NOT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = m.schema)
		FROM manor.marker m ORDER BY tenant_id`)
	if err != nil {
		return nil, fmt.Errorf("read the markers of database %s: %w", owner.Config().Database, err)
	}
	stamps, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Stamp, err error) {
		err = row.Scan(&s.TenantID, &s.Slug, &s.Schema, &s.Incarnation, &s.Generation, &s.Epoch,
			&s.Version, &s.Release, &s.UpdatedAt, &s.Homeless)
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the markers of database %s: %w", owner.Config().Database, err)
	}
	return stamps, nil
}

// RevisionTable is the statement that makes Atlas's revision table in a schema:
// its DDL to the letter, so that the Atlas CLI reads and continues the table.
func RevisionTable(schema string) string {
	table := pgx.Identifier{schema, "atlas_schema_revisions"}.Sanitize()
	return "CREATE TABLE " + table + ` (
    version          character varying NOT NULL,
    description      character varying NOT NULL,
    type             bigint DEFAULT 2 NOT NULL,
    applied          bigint DEFAULT 0 NOT NULL,
    total            bigint DEFAULT 0 NOT NULL,
    executed_at      timestamp with time zone NOT NULL,
    execution_time   bigint NOT NULL,
    error            text,
    error_stmt       text,
    hash             character varying NOT NULL,
    partial_hashes   jsonb,
    operator_version character varying NOT NULL,
    CONSTRAINT atlas_schema_revisions_pkey PRIMARY KEY (version)
)`
}
