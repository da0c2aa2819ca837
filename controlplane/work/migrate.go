package work

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
)

// schema keeps River's tables apart from the catalog's own.
const schema = "river"

// migrationLock is the advisory lock under which one process migrates; "MNRV".
const migrationLock = 0x4d4e5256

// Migrate creates and upgrades River's tables. Several processes may call it at once.
func Migrate(ctx context.Context, cat *catalog.Catalog) error {
	conn, err := cat.Pool().Acquire(ctx)
	if err != nil {
		return cat.Explain(err)
	}
	defer conn.Release()
	if err := migrate(ctx, cat.Pool(), conn.Conn()); err != nil {
		return cat.Explain(fmt.Errorf("migrating the job queue: %w", err))
	}
	return nil
}

func migrate(ctx context.Context, pool *pgxpool.Pool, conn *pgx.Conn) error {
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1)`, migrationLock); err != nil {
		return err
	}
	defer func() {
		_, _ = conn.Exec(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, migrationLock)
	}()
	if _, err := conn.Exec(ctx, `CREATE SCHEMA IF NOT EXISTS `+schema); err != nil {
		return err
	}
	m, err := migrator(pool)
	if err != nil {
		return err
	}
	_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

func migrator(pool *pgxpool.Pool) (*rivermigrate.Migrator[pgx.Tx], error) {
	return rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Schema: schema, Logger: slog.New(slog.DiscardHandler)})
}

// Check refuses a queue whose tables are not what this binary needs.
func Check(ctx context.Context, cat *catalog.Catalog) error {
	m, err := migrator(cat.Pool())
	if err != nil {
		return err
	}
	result, err := m.Validate(ctx, nil)
	if err != nil {
		return cat.Explain(fmt.Errorf("checking the job queue: %w", err))
	}
	if !result.OK {
		return controlplane.Errorf(controlplane.Refused, "the catalog's job queue is not migrated: %s", strings.Join(result.Messages, "; ")).
			WithHint("run `manor catalog migrate`")
	}
	return nil
}
