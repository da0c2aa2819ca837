package migrator

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane/pg"
)

// contents are the rows of the scratch schema as checksums, by table.
type contents map[string]*tableContents

type tableContents struct {
	oid     uint32
	rows    int64
	sum     string // of all rows, whatever their order and that of the columns
	columns map[string]columnContents
}

type columnContents struct {
	num     int16
	counted bool // filled from a sequence: made anew it may look the same by chance
	sum     string
	varies  bool // it has more than one value
}

// contents reads all rows. Partitions count, what they are parts of does not.
func (a *atlas) contents(ctx context.Context) (contents, error) {
	c, err := a.emptyContents(ctx)
	if err != nil || len(c) == 0 {
		return c, err
	}
	names := slices.Sorted(maps.Keys(c))
	var selects []string
	for _, name := range names {
		selects = append(selects, checksumSQL(name, c[name].sorted()))
	}
	rows, err := a.conn.Query(ctx, strings.Join(selects, " UNION ALL "), unprepared)
	if err != nil {
		return nil, fmt.Errorf("read the rows of %s: %w", a.schema, err)
	}
	var name, sum string
	var count int64
	var sums []string
	var vary []bool
	_, err = pgx.ForEachRow(rows, []any{&name, &count, &sum, &sums, &vary}, func() error {
		t := c[name]
		t.rows, t.sum = count, sum
		for i, column := range t.sorted() {
			t.columns[column] = columnContents{t.columns[column].num, t.columns[column].counted, sums[i], vary[i]}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the rows of %s: %w", a.schema, err)
	}
	return c, nil
}

// emptyContents are the tables and columns without their rows.
func (a *atlas) emptyContents(ctx context.Context) (contents, error) {
	rows, err := a.conn.Query(ctx, `SELECT c.oid, c.relname::text, coalesce(a.attnum, 0), coalesce(a.attname::text, ''),
			coalesce(a.attidentity <> '' OR pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%', false)
		FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
		WHERE c.relkind = 'r' AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)`, unprepared, a.schema)
	if err != nil {
		return nil, fmt.Errorf("read the tables of %s: %w", a.schema, err)
	}
	c := contents{}
	var oid uint32
	var table, column string
	var num int16
	var counted bool
	_, err = pgx.ForEachRow(rows, []any{&oid, &table, &num, &column, &counted}, func() error {
		if c[table] == nil {
			c[table] = &tableContents{oid: oid, columns: map[string]columnContents{}}
		}
		if num > 0 {
			c[table].columns[column] = columnContents{num: num, counted: counted}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the tables of %s: %w", a.schema, err)
	}
	return c, nil
}

// sorted are the columns by name.
func (t *tableContents) sorted() []string { return slices.Sorted(maps.Keys(t.columns)) }

// checksumSQL selects the checksums of one table: sums of hashes, which need
// no order.
func checksumSQL(table string, columns []string) string {
	var hashes, aliases, sums, vary []string
	for i, c := range columns {
		alias := fmt.Sprintf("c%d", i)
		hashes = append(hashes, fmt.Sprintf(`hashtextextended(coalesce('v' || %s::text, '-') COLLATE "C", 0)::numeric AS %s`, pg.Quote(c), alias))
		aliases = append(aliases, alias)
		sums = append(sums, "coalesce(sum("+alias+")::text, '')")
		vary = append(vary, "coalesce(sum("+alias+") <> min("+alias+") * count(*), false)")
	}
	// OFFSET 0 keeps the hashes from being computed anew for each aggregate.
	return fmt.Sprintf(`(SELECT %s::text, count(*), coalesce(sum(hashtextextended(ROW(%s)::text COLLATE "C", 0))::text, ''),
		ARRAY[%s]::text[], ARRAY[%s]::bool[] FROM (SELECT %s FROM ONLY %s OFFSET 0) t)`,
		pg.Literal(table), strings.Join(aliases, ", "), strings.Join(sums, ", "), strings.Join(vary, ", "), strings.Join(hashes, ", "), pg.Quote(table))
}

// lost names the data of before that is not there again in after, by way of
// mid. What is a table or column anew counts as lost where its rows could not
// tell: they were none, or all the same.
func lost(before, mid, after contents) []string {
	alive := map[uint32]*tableContents{}
	for _, t := range mid {
		alive[t.oid] = t
	}
	names := []string{}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		t, again, between := before[name], after[name], alive[before[name].oid]
		switch {
		case again == nil, between == nil && (again.sum != t.sum || t.rows == 0):
			names = append(names, "table "+name)
		case between != nil:
			names = append(names, t.lost(name, between, again)...)
		}
	}
	return names
}

// as are the contents under the names that the same tables and columns have in
// before.
func (c contents) as(before contents) contents {
	byOID := map[uint32]*tableContents{}
	for _, t := range c {
		byOID[t.oid] = t
	}
	renamed := contents{}
	for name, was := range before {
		t, ok := byOID[was.oid]
		if !ok {
			continue
		}
		byNum := map[int16]columnContents{}
		for _, column := range t.columns {
			byNum[column.num] = column
		}
		renamed[name] = &tableContents{oid: t.oid, rows: t.rows, sum: was.sum, columns: map[string]columnContents{}}
		for column, had := range was.columns {
			if is, ok := byNum[had.num]; ok {
				renamed[name].columns[column] = is
			}
		}
	}
	return renamed
}

// lost names what of a table is not there again.
func (t *tableContents) lost(name string, between, again *tableContents) []string {
	alive := map[int16]bool{}
	for _, c := range between.columns {
		alive[c.num] = true
	}
	var names []string
	for _, column := range t.sorted() {
		c := t.columns[column]
		is, ok := again.columns[column]
		same := ok && is.sum == c.sum
		switch {
		case !alive[c.num] && (!same || !c.varies || c.counted), !ok:
			names = append(names, "column "+name+"."+column)
		case !same && t.rows == again.rows:
			names = append(names, "values of "+name+"."+column)
		}
	}
	if t.rows != again.rows || names == nil && t.sum != again.sum {
		names = append(names, "rows of "+name)
	}
	return names
}
