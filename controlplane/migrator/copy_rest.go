package migrator

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane/pg"
)

// besides is what a home has beside rows in tables.
type besides struct {
	sequences []sequence
	full      map[string]bool // materialized views → whether they can be read
}

type sequence struct {
	Name   string
	Last   int64
	Called bool
}

// besides reads what the home has beside rows in tables.
func (o *original) besides(ctx context.Context, tx pgx.Tx) (s besides, err error) {
	rows, err := tx.Query(ctx, `SELECT c.relname::text, c.relkind = 'S', c.relispopulated FROM pg_class c
		WHERE c.relkind IN ('S', 'm') AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) ORDER BY 1`, unprepared, o.Schema)
	if err != nil {
		return s, fmt.Errorf("read the sequences of the home: %w", err)
	}
	s.full = map[string]bool{}
	var name string
	var counts, full bool
	var selects []string
	_, err = pgx.ForEachRow(rows, []any{&name, &counts, &full}, func() error {
		if counts {
			selects = append(selects, fmt.Sprintf("SELECT %s::text, last_value, is_called FROM %s.%s", pg.Literal(name), pg.Quote(o.Schema), pg.Quote(name)))
		} else {
			s.full[name] = full
		}
		return nil
	})
	if err != nil || len(selects) == 0 {
		return s, err
	}
	if rows, err = tx.Query(ctx, strings.Join(selects, " UNION ALL "), unprepared); err == nil {
		s.sequences, err = pgx.CollectRows(rows, pgx.RowToStructByPos[sequence])
	}
	if err != nil {
		return s, fmt.Errorf("read the sequences of the home: %w", err)
	}
	return s, nil
}

// obstacle is what stands in the way of rows that are there already, by the SQL
// that takes it away and that brings it back.
type obstacle struct{ Off, On string }

// obstacles are the triggers, which have fired for these rows; the foreign keys,
// which want them in some order, if there is one; and the CHECKs that rows from
// before them break.
func (a *atlas) obstacles(ctx context.Context) ([]obstacle, error) {
	rows, err := a.conn.Query(ctx, `SELECT format('ALTER TABLE ONLY %I DISABLE TRIGGER %I', c.relname, t.tgname),
			format('ALTER TABLE ONLY %I ENABLE %s TRIGGER %I', c.relname, CASE t.tgenabled WHEN 'A' THEN 'ALWAYS' WHEN 'R' THEN 'REPLICA' ELSE '' END, t.tgname)
		FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
		WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND c.relkind = 'r' AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)
		UNION ALL SELECT format('ALTER TABLE %I DROP CONSTRAINT %I', c.relname, k.conname),
			format('ALTER TABLE %I ADD CONSTRAINT %I %s', c.relname, k.conname, pg_get_constraintdef(k.oid))
			|| coalesce(format('; COMMENT ON CONSTRAINT %I ON %I IS %L', k.conname, c.relname, obj_description(k.oid, 'pg_constraint')), '')
		FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
		WHERE k.conparentid = 0 AND k.coninhcount = 0 AND (k.contype = 'f' OR k.contype = 'c' AND NOT k.convalidated)
			AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)`, unprepared, a.schema)
	if err != nil {
		return nil, fmt.Errorf("read the constraints of %s: %w", a.schema, err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[obstacle])
	if err != nil {
		return nil, fmt.Errorf("read the constraints of %s: %w", a.schema, err)
	}
	return found, nil
}

// clear makes the schema ready for rows: without obstacles, and without what its
// migrations have inserted.
func (a *atlas) clear(ctx context.Context, tables []copiedTable, obstacles []obstacle) error {
	for _, o := range obstacles {
		if err := exec(ctx, a.conn, o.Off); err != nil {
			return fmt.Errorf("prepare the copy: %w", err)
		}
	}
	if len(tables) == 0 {
		return nil
	}
	names := make([]string, len(tables))
	for i, t := range tables {
		names[i] = "ONLY " + pg.Quote(t.Name)
	}
	if err := exec(ctx, a.conn, "TRUNCATE "+strings.Join(names, ", ")); err != nil {
		return fmt.Errorf("prepare the copy: %w", err)
	}
	return nil
}

// settle completes the schema once the rows are there.
func (a *atlas) settle(ctx context.Context, s besides, obstacles []obstacle) error {
	for _, q := range s.sequences {
		if _, err := a.conn.Exec(ctx, "SELECT setval($1::text::regclass, $2, $3)", unprepared, pg.Quote(q.Name), q.Last, q.Called); err != nil {
			return fmt.Errorf("set sequence %s of the copy: %w", q.Name, err)
		}
	}
	for _, o := range obstacles {
		if err := exec(ctx, a.conn, o.On); err != nil {
			return fmt.Errorf("complete the copy: %w", err)
		}
	}
	if err := a.refresh(ctx, s.full); err != nil {
		return err
	}
	if err := exec(ctx, a.conn, "ANALYZE"); err != nil { // else plans are made for empty tables
		return fmt.Errorf("analyze the copy: %w", err)
	}
	return nil
}

// refresh fills the materialized views, those first that others may be made of.
func (a *atlas) refresh(ctx context.Context, full map[string]bool) error {
	rows, err := a.conn.Query(ctx, `SELECT c.relname::text FROM pg_class c
		WHERE c.relkind = 'm' AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) ORDER BY c.oid`, unprepared, a.schema)
	if err != nil {
		return fmt.Errorf("read the materialized views of %s: %w", a.schema, err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("read the materialized views of %s: %w", a.schema, err)
	}
	for _, name := range names {
		with := " WITH NO DATA"
		if full[name] {
			with = ""
		}
		if err := exec(ctx, a.conn, "REFRESH MATERIALIZED VIEW "+pg.Quote(name)+with); err != nil {
			return fmt.Errorf("refresh %s of the copy: %w", name, err)
		}
	}
	return nil
}
