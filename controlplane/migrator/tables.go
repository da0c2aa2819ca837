package migrator

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/manorhq/manor/controlplane/pg"
)

// table is what has to be known of a table to make up rows for it.
type table struct {
	name    string
	oid     uint32
	empty   bool
	columns []*column
	foreign []foreignKey
	checks  map[string][]string // columns of each CHECK constraint
	word    string              // for the texts of a row
}

type foreignKey struct {
	columns []string
	table   string
	keys    []string // columns of that table
}

// column is a column of a table, with the base type where a domain is its type.
type column struct {
	name     string
	num      int
	declared string // type, as DDL has it
	base     string // name of the base type in pg_type, of the elements in an array
	size     []int  // in the parentheses of the type
	array    bool
	domain   string
	labels   []string // of an enum
	notNull  bool
	auto     bool     // identity, generated, or from a sequence
	fallback bool     // has a default
	unique   bool     // part of a unique index
	hints    []string // definitions of the CHECKs that it has a part in
	pick     int      // which candidate is in use
	level    bool     // its values are those of the columns beside it, as a CHECK may want
}

// apart keeps the values of a row apart, so that none can stand for another.
func (c *column) apart() int {
	if c.level {
		return 0
	}
	return 17 * c.num
}

// shape tells whether rows that were made up say something about a table still.
func (t *table) shape() string {
	var b strings.Builder
	fmt.Fprint(&b, t.oid)
	for _, c := range t.columns {
		fmt.Fprintf(&b, "\n%d %s %s %t %v", c.num, c.name, c.declared, c.notNull, c.labels)
	}
	return b.String()
}

// tablesSQL describes the tables of the schema, partitions only as what they
// are parts of, as JSON.
const tablesSQL = `
WITH RECURSIVE own AS (SELECT c.oid, c.relname FROM pg_class c
  WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> 'atlas_schema_revisions'
    AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)),
typ AS (SELECT t.oid, t.oid AS base, NULL::int AS mod, t.typtype, t.typbasetype, t.typnotnull, CASE WHEN t.typtype = 'd' THEN t.typname END AS domain, t.typtypmod FROM pg_type t
    WHERE t.oid IN (SELECT atttypid FROM pg_attribute JOIN own ON own.oid = attrelid)
  UNION ALL SELECT d.oid, t.oid, CASE WHEN d.typtypmod >= 0 THEN d.typtypmod ELSE d.mod END, t.typtype, t.typbasetype, d.typnotnull OR t.typnotnull, d.domain, t.typtypmod
    FROM typ d JOIN pg_type t ON d.typtype = 'd' AND t.oid = d.typbasetype),
col AS (SELECT own.oid, own.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod) AS declared,
    format_type(typ.base, coalesce(typ.mod, a.atttypmod)) AS sized, coalesce(e.typname, b.typname) AS base, e.oid IS NOT NULL AS is_array, typ.domain,
    a.attnotnull OR typ.typnotnull AS not_null, a.atthasdef AS fallback,
    a.attidentity <> '' OR a.attgenerated <> '' OR coalesce(pg_get_expr(def.adbin, def.adrelid), '') LIKE 'nextval(%' AS auto,
    EXISTS (SELECT FROM pg_index i WHERE i.indrelid = own.oid AND i.indisunique AND a.attnum = ANY (i.indkey)) AS is_unique,
    (SELECT json_agg(l.enumlabel ORDER BY l.enumsortorder) FROM pg_enum l WHERE l.enumtypid = coalesce(e.oid, b.oid)) AS labels,
    (SELECT json_agg(pg_get_constraintdef(k.oid)) FROM pg_constraint k WHERE k.contype = 'c'
      AND (k.conrelid = own.oid AND a.attnum = ANY (k.conkey) OR a.atttypid <> typ.base AND k.contypid = a.atttypid)) AS hints
  FROM own JOIN pg_attribute a ON a.attrelid = own.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN typ ON typ.oid = a.atttypid AND typ.typtype <> 'd' JOIN pg_type b ON b.oid = typ.base
  LEFT JOIN pg_type e ON b.typcategory = 'A' AND e.oid = b.typelem
  LEFT JOIN pg_attrdef def ON def.adrelid = a.attrelid AND def.adnum = a.attnum),
names AS (SELECT k.oid, json_agg(a.attname ORDER BY u.n) AS own, json_agg(f.attname ORDER BY u.n) AS referred
  FROM pg_constraint k CROSS JOIN LATERAL unnest(k.conkey, coalesce(k.confkey, k.conkey)) WITH ORDINALITY u(num, fnum, n)
  JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num
  LEFT JOIN pg_attribute f ON f.attrelid = k.confrelid AND f.attnum = u.fnum
  WHERE k.conrelid IN (SELECT oid FROM own) GROUP BY k.oid)
SELECT own.relname::text, own.oid, coalesce((SELECT json_agg(json_build_object('name', attname, 'num', attnum, 'declared', declared, 'sized', sized, 'base', base,
    'array', is_array, 'domain', domain, 'not_null', not_null, 'fallback', fallback, 'auto', auto, 'unique', is_unique, 'labels', labels, 'hints', hints) ORDER BY attnum)
    FROM col WHERE col.oid = own.oid), '[]'),
  coalesce((SELECT json_agg(json_build_object('kind', k.contype, 'name', k.conname, 'columns', names.own, 'table', (SELECT relname FROM pg_class WHERE oid = k.confrelid),
    'keys', names.referred) ORDER BY k.conname)
    FROM pg_constraint k JOIN names USING (oid) WHERE k.conrelid = own.oid AND k.contype IN ('c', 'f')), '[]')
FROM own ORDER BY own.relname`

// tables reads what has to be known of the tables.
func (f *filler) tables(ctx context.Context) ([]*table, error) {
	rows, err := f.conn.Query(ctx, tablesSQL, unprepared, f.schema)
	if err != nil {
		return nil, fmt.Errorf("read the tables of %s: %w", f.schema, err)
	}
	defer rows.Close()
	var tables []*table
	for rows.Next() {
		t := &table{checks: map[string][]string{}}
		var columns, constraints []byte
		if err := rows.Scan(&t.name, &t.oid, &columns, &constraints); err != nil {
			return nil, fmt.Errorf("read the tables of %s: %w", f.schema, err)
		}
		if err := t.decode(columns, constraints); err != nil {
			return nil, fmt.Errorf("decode table %s: %w", t.name, err)
		}
		tables = append(tables, t)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the tables of %s: %w", f.schema, err)
	}
	return tables, f.markEmpty(ctx, tables)
}

func (t *table) decode(columns, constraints []byte) error {
	var cs []struct {
		Name, Declared, Sized, Base, Domain string
		Num                                 int
		Array, Fallback, Auto, Unique       bool
		NotNull                             bool `json:"not_null"`
		Labels, Hints                       []string
	}
	var ks []struct {
		Kind, Name, Table string
		Columns, Keys     []string
	}
	if err := json.Unmarshal(columns, &cs); err != nil {
		return err
	}
	if err := json.Unmarshal(constraints, &ks); err != nil {
		return err
	}
	for _, c := range cs {
		t.columns = append(t.columns, &column{name: c.Name, num: c.Num, declared: c.Declared, base: c.Base, size: sizeOf(c.Sized), array: c.Array,
			domain: c.Domain, labels: c.Labels, notNull: c.NotNull, auto: c.Auto, fallback: c.Fallback, unique: c.Unique, hints: c.Hints})
	}
	for _, k := range ks {
		if k.Kind == "c" {
			t.checks[k.Name] = k.Columns
		} else {
			t.foreign = append(t.foreign, foreignKey{k.Columns, k.Table, k.Keys})
		}
	}
	return nil
}

// sizeOf reads the numbers in the parentheses of a type: numeric(10,2).
func sizeOf(declared string) (size []int) {
	_, rest, _ := strings.Cut(declared, "(")
	inner, _, _ := strings.Cut(rest, ")")
	for part := range strings.SplitSeq(inner, ",") {
		var n int
		if _, err := fmt.Sscan(part, &n); err == nil {
			size = append(size, n)
		}
	}
	return size
}

// markEmpty finds out which of the tables hold no row.
func (f *filler) markEmpty(ctx context.Context, tables []*table) error {
	if len(tables) == 0 {
		return nil
	}
	exists := make([]string, len(tables))
	for i, t := range tables {
		exists[i] = "NOT EXISTS (SELECT FROM " + pg.Quote(t.name) + ")"
	}
	var empty []bool
	if err := f.conn.QueryRow(ctx, "SELECT ARRAY["+strings.Join(exists, ", ")+"]", unprepared).Scan(&empty); err != nil {
		return fmt.Errorf("find the empty tables of %s: %w", f.schema, err)
	}
	for i, t := range tables {
		t.empty = empty[i]
	}
	return nil
}
