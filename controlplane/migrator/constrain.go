package migrator

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane/pg"
)

// constraint is a CHECK, UNIQUE or FOREIGN KEY of a table, with the SQL that
// adds it.
type constraint struct{ table, name, definition string }

// fillFor empties the schema and fills it with rows that a file accepts: rows
// are made up under the constraints that the file leads to. Where it runs not
// even over no row, the schema is only emptied.
func (h *rehearsal) fillFor(ctx context.Context, f *file) error {
	if err := h.reset(ctx); err != nil {
		return err
	}
	if _, err := h.run(ctx, f, nil); err != nil {
		if _, ok := errors.AsType[setback](err); !ok {
			return err
		}
		return h.emptied(ctx)
	}
	wanted, err := h.constraints(ctx)
	if err != nil {
		return err
	}
	if err := h.emptied(ctx); err != nil {
		return err
	}
	had, err := h.constraints(ctx)
	if err != nil {
		return err
	}
	var added []constraint
	for c := range wanted {
		if had[c] {
			continue
		}
		// What it is about may be made by the file only.
		_, err := send(ctx, h.conn.PgConn(), fmt.Sprintf("ALTER TABLE %s ADD CONSTRAINT %s %s", pg.Quote(c.table), pg.Quote(c.name), c.definition))
		if _, refused := errors.AsType[*pgconn.PgError](err); err != nil && !refused {
			return err
		} else if !refused {
			added = append(added, c)
		}
	}
	if err := h.rows.fill(ctx, tameRows); err != nil {
		return err
	}
	for _, c := range added {
		if _, err := send(ctx, h.conn.PgConn(), fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT %s CASCADE", pg.Quote(c.table), pg.Quote(c.name))); err != nil {
			return fmt.Errorf("take constraint %s off table %s again: %w", c.name, c.table, err)
		}
	}
	return nil
}

// emptied brings the schema to before the next file, without a row.
func (h *rehearsal) emptied(ctx context.Context) error {
	h.rows.forget()
	return h.reset(ctx)
}

// constraints are those of the schema.
func (h *rehearsal) constraints(ctx context.Context) (map[constraint]bool, error) {
	rows, err := h.conn.Query(ctx, `SELECT c.relname::text, k.conname::text, pg_get_constraintdef(k.oid)
		FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
		WHERE k.contype IN ('c', 'f', 'u') AND k.connamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)`, unprepared, h.schema)
	if err != nil {
		return nil, fmt.Errorf("read the constraints of %s: %w", h.schema, err)
	}
	found := map[constraint]bool{}
	var c constraint
	_, err = pgx.ForEachRow(rows, []any{&c.table, &c.name, &c.definition}, func() error {
		found[c] = true
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the constraints of %s: %w", h.schema, err)
	}
	return found, nil
}
