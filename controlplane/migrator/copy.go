package migrator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/pg"
)

// copyWithin is how long copying a home may take: so long one old snapshot keeps
// VACUUM from cleaning up in the tenant's database.
const copyWithin = 10 * time.Minute

// copyHome fills the scratch schema, which has the objects of a home, with its
// rows as they are at one moment. Of the home nothing is locked that stops
// somebody from reading or writing it.
func (a *atlas) copyHome(ctx context.Context, home Original, most int64, c *controlplane.Clone) error {
	started := time.Now()
	defer func() { c.CopyMS = time.Since(started).Milliseconds() }()
	within, cancel := context.WithTimeout(ctx, copyWithin)
	defer cancel()
	err := a.copyRows(within, home, most, c)
	if within.Err() != nil && ctx.Err() == nil {
		return controlplane.Errorf(controlplane.Refused, "copying the home took longer than %s", copyWithin)
	}
	c.Copied = err == nil
	return err
}

func (a *atlas) copyRows(ctx context.Context, home Original, most int64, c *controlplane.Clone) error {
	tables, err := a.copied(ctx)
	if err != nil {
		return err
	}
	was, err := pg.Fingerprint(ctx, a.conn, a.schema)
	if err != nil {
		return err
	}
	removed, err := a.obstacles(ctx)
	if err != nil {
		return err
	}
	var rest besides
	err = home.Lend(ctx, func(source *pgx.Conn) error {
		o := &original{Original: home, tables: tables}
		return pgx.BeginTxFunc(ctx, source, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			if err := o.enter(ctx, tx, a, most); err != nil {
				return err
			}
			if err := a.clear(ctx, tables, removed); err != nil {
				return err
			}
			if err := o.stream(ctx, tx, a, c); err != nil {
				return err
			}
			rest, err = o.besides(ctx, tx)
			return err
		})
	})
	if err != nil {
		return err
	}
	if err := a.settle(ctx, rest, removed); err != nil {
		return err
	}
	is, err := pg.Fingerprint(ctx, a.conn, a.schema)
	if err == nil && is != was {
		err = controlplane.Errorf(controlplane.Refused, "the copy's schema is not that of the home any more after it was filled")
	}
	return err
}

// copiedTable is a table whose rows are copied; a partition counts, what it is a
// part of does not.
type copiedTable struct {
	Name    string
	Columns []string // that are not generated
	Binary  bool     // all its types have a binary form that means the same in another database
}

// sql is one end of the COPY of a table.
func (t *copiedTable) sql(schema, direction string) string {
	columns := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		columns[i] = pg.Quote(c)
	}
	list, format := "", "text"
	if len(columns) > 0 {
		list = " (" + strings.Join(columns, ", ") + ")"
	}
	if t.Binary {
		format = "binary"
	}
	return fmt.Sprintf("COPY %s.%s%s %s (FORMAT %s)", pg.Quote(schema), pg.Quote(t.Name), list, direction, format)
}

// copied are the tables of the scratch schema. The oids that stand for names,
// such as regclass, are others in every database.
func (a *atlas) copied(ctx context.Context) ([]copiedTable, error) {
	rows, err := a.conn.Query(ctx, `SELECT c.relname::text, coalesce(array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attnum IS NOT NULL), '{}'),
			coalesce(bool_and(t.typsend <> 0 AND t.typreceive <> 0 AND coalesce(e.typsend, t.typsend) <> 0 AND coalesce(e.typname, t.typname) !~ '^reg'), true)
		FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
		LEFT JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type e ON t.typcategory = 'A' AND e.oid = t.typelem
		WHERE c.relkind = 'r' AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) GROUP BY c.oid ORDER BY c.relname`, unprepared, a.schema)
	if err != nil {
		return nil, fmt.Errorf("read the tables of %s: %w", a.schema, err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowToStructByPos[copiedTable])
	if err != nil {
		return nil, fmt.Errorf("read the tables of %s: %w", a.schema, err)
	}
	return tables, nil
}

// original is a home in the transaction that copies it.
type original struct {
	Original
	tables []copiedTable
}

// enter makes sure of what is copied, before the first row: nobody changes its
// tables any more, they are this tenant's, as its version has them, and not too
// many.
func (o *original) enter(ctx context.Context, tx pgx.Tx, a *atlas, most int64) error {
	if err := o.hold(ctx, tx); err != nil {
		return err
	}
	var here bool
	err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM manor.marker WHERE tenant_id = $1 AND schema = $2 AND generation = $3)",
		unprepared, o.TenantID, o.Schema, o.Generation).Scan(&here)
	if err == nil && !here {
		err = controlplane.Errorf(controlplane.Conflict, "the home is not where the catalog has it")
	}
	if err != nil {
		return err
	}
	version, err := CurrentVersion(ctx, tx.Conn(), o.Schema)
	if err == nil && version != o.Version {
		err = controlplane.Errorf(controlplane.Conflict, "the home is at version %s, not at %s as the catalog has it", named(version), named(o.Version))
	}
	if err != nil {
		return err
	}
	if err := o.compare(ctx, tx, a); err != nil {
		return err
	}
	var size int64
	err = tx.QueryRow(ctx, `SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c
		WHERE c.relkind IN ('r', 'm') AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)`, unprepared, o.Schema).Scan(&size)
	if err != nil {
		return fmt.Errorf("measure the home: %w", err)
	}
	if size > most {
		return controlplane.Errorf(controlplane.Refused, "the home has %d bytes, and no more than %d are copied", size, most)
	}
	return nil
}

// hold keeps everybody from changing the tables until the transaction ends. It
// waits for nobody who does, and goes before the first query, whose moment is
// the one that is copied.
func (o *original) hold(ctx context.Context, tx pgx.Tx) error {
	sql := "SET LOCAL lock_timeout = '500ms'; SET LOCAL row_security = off; SET LOCAL statement_timeout = '" + ownLimit + "'; SET LOCAL search_path = " + pg.Quote(o.Schema)
	for i, t := range o.tables {
		separator := ", "
		if i == 0 {
			separator = "; LOCK TABLE "
		}
		sql += separator + "ONLY " + pg.Quote(o.Schema) + "." + pg.Quote(t.Name)
	}
	if len(o.tables) > 0 {
		sql += " IN ACCESS SHARE MODE"
	}
	_, err := send(ctx, tx.Conn().PgConn(), sql)
	refused, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case ok && refused.Code == "55P03":
		return controlplane.Errorf(controlplane.Unavailable, "somebody else has locked a table of the home: %s", refused.Message)
	case ok && refused.Code == "42P01":
		return controlplane.Errorf(controlplane.Refused, "the home is not as version %s makes it: %s", named(o.Version), refused.Message)
	}
	return err
}

// compare refuses a home whose objects are not those that its version makes: what
// is seen in the copy would not be what happens to it.
func (o *original) compare(ctx context.Context, tx pgx.Tx, a *atlas) error {
	have, err := pg.Objects(ctx, tx, o.Schema)
	if err != nil {
		return fmt.Errorf("read the objects of the home: %w", err)
	}
	want, err := pg.Objects(ctx, a.conn, a.schema)
	if err != nil {
		return err
	}
	differences := pg.Compare(slices.DeleteFunc(want, pg.Object.IsRight), slices.DeleteFunc(have, pg.Object.IsRight))
	if len(differences) == 0 {
		return nil
	}
	how := map[string]string{controlplane.DifferenceCreate: "it has", controlplane.DifferenceDrop: "it lacks", controlplane.DifferenceChange: "it has another"}
	var told []string
	for _, d := range differences[:min(3, len(differences))] {
		told = append(told, fmt.Sprintf("%s %s %s", how[d.Do], d.Kind, d.Name))
	}
	if more := len(differences) - len(told); more > 0 {
		told = append(told, fmt.Sprintf("and %d more", more))
	}
	return controlplane.Errorf(controlplane.Refused, "the home is not as version %s makes it: %s", named(o.Version), strings.Join(told, ", "))
}

// stream copies the rows, table by table, through this process and not into it.
func (o *original) stream(ctx context.Context, tx pgx.Tx, a *atlas, c *controlplane.Clone) error {
	for i := range o.tables {
		t := &o.tables[i]
		rows, bytes, err := stream(ctx, tx.Conn().PgConn(), t.sql(o.Schema, "TO STDOUT"), a.conn.PgConn(), t.sql(a.schema, "FROM STDIN"))
		if err != nil {
			return fmt.Errorf("copy table %s: %w", t.Name, err)
		}
		c.Tables, c.Rows, c.Bytes = c.Tables+1, c.Rows+rows, c.Bytes+bytes
	}
	return nil
}

// errClosed is what the giving end of a stream gets that nobody takes from.
var errClosed = errors.New("the other end is closed")

// stream has one connection take what another gives.
func stream(ctx context.Context, from *pgconn.PgConn, give string, to *pgconn.PgConn, take string) (rows, bytes int64, err error) {
	r, w := io.Pipe()
	count := &counter{to: w}
	given := make(chan error, 1)
	go func() {
		_, err := from.CopyTo(ctx, count, give)
		_ = w.CloseWithError(err)
		given <- err
	}()
	tag, err := to.CopyFrom(ctx, r, take)
	_ = r.CloseWithError(errClosed)
	if sent := <-given; sent != nil && !errors.Is(sent, errClosed) {
		err = sent // the other end only tells of it
	}
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		refused = redacted(refused)
		if strings.HasPrefix(refused.Code, "22") { // such messages quote the value
			refused.Message = "a value is refused"
		}
		err = refused
	}
	return tag.RowsAffected(), count.bytes, err
}

// counter counts what is written.
type counter struct {
	to    io.Writer
	bytes int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.to.Write(b)
	c.bytes += int64(n)
	return n, err
}
