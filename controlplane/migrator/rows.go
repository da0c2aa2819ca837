package migrator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/pg"
)

// rowKinds say which rows a table is filled with.
type rowKinds uint8

const (
	noRows   rowKinds = iota
	tameRows          // distinct, without NULL, with small positive numbers
	allRows           // and such as migrations stumble over, where the table takes them
)

// rowKind is one kind of row.
type rowKind uint8

const (
	tame   rowKind = iota
	nulls          // NULL where it may be
	low            // negative, empty, long ago
	high           // large, long
	twin           // like the first tame row, where that need not be unique
	worded         // with the words of the file that comes next
)

const (
	tameLeast   = 4   // rows a filling adds to a table
	tameMost    = 12  // the same, where there is an enum of so many labels
	mostWords   = 8   // rows with words of the next file
	mostTries   = 400 // of values for a row until it satisfies all CHECKs
	firstNumber = 1   // of a row; the numbers of a rehearsal never repeat
)

// filler fills tables with rows it makes up. It adds rows to a table that is
// empty or has other columns than when it was filled.
type filler struct {
	*atlas
	next     int               // row
	filled   map[string]string // table → its shape then
	unfilled map[string]string // table → why
	oids     map[string]uint32
	words    []string // string constants by which the next file finds rows
}

func newFiller(a *atlas) *filler {
	f := &filler{atlas: a, next: firstNumber}
	f.forget()
	return f
}

// forget is told that the schema was made anew.
func (f *filler) forget() {
	f.filled, f.unfilled, f.oids = map[string]string{}, map[string]string{}, map[string]uint32{}
}

// expect prepares for a file that looks for rows: its tables get more, with the
// words that it uses.
func (f *filler) expect(next *file) {
	f.words = nil
	for i := range next.statements {
		s := &next.statements[i]
		if s.begins("INSERT") && s.find("SELECT") < 0 || !s.writes(nil) && s.mode != ending {
			continue
		}
		tokens := slices.Concat(s.tokens, s.inner())
		for _, t := range tokens {
			if word := strings.Trim(t.text, "'"); t.plain() && word != "" && len(f.words) < mostWords && !slices.Contains(f.words, word) {
				f.words = append(f.words, word)
			}
		}
		maps.DeleteFunc(f.filled, func(name, _ string) bool { return (&statement{tokens: tokens}).names(name) })
	}
}

// inner are the tokens of the dollar-quoted body of a DO, as far as they can be read.
func (s *statement) inner() (tokens []token) {
	for _, t := range s.tokens {
		if s.mode != ending || t.kind != text || t.text[0] != '$' {
			continue
		}
		tag := strings.IndexByte(t.text[1:], '$') + 2
		body, err := tokenize(t.text[tag : len(t.text)-tag])
		if err == nil {
			tokens = append(tokens, body...)
		}
	}
	return tokens
}

// wanted lets the next filling add rows to tables that look as they did but
// may hold others now, given by their strongest locks: their rows were written,
// or the table altered. The locks between are those of indexes, triggers, and
// foreign keys to a table.
func (f *filler) wanted(touched map[uint32]int) {
	maps.DeleteFunc(f.filled, func(name, _ string) bool {
		mode := touched[f.oids[name]]
		return mode == 1+strength("ROW EXCLUSIVE") || mode >= 1+strength("EXCLUSIVE")
	})
}

func (f *filler) unfilledTables() []controlplane.UnfilledTable {
	tables := []controlplane.UnfilledTable{}
	for _, name := range slices.Sorted(maps.Keys(f.unfilled)) {
		tables = append(tables, controlplane.UnfilledTable{Table: name, Why: f.unfilled[name]})
	}
	return tables
}

// fill adds rows where they are wanted. Tables that refer to others come after
// them; what cannot be filled is remembered with the reason.
func (f *filler) fill(ctx context.Context, kinds rowKinds) error {
	tables, err := f.tables(ctx)
	if err != nil {
		return err
	}
	clear(f.oids)
	for _, t := range tables {
		f.oids[t.name] = t.oid
	}
	maps.DeleteFunc(f.unfilled, func(name, _ string) bool { return f.oids[name] == 0 })
	if kinds == noRows {
		return nil
	}
	todo := slices.DeleteFunc(tables, func(t *table) bool { return !t.empty && f.filled[t.name] == t.shape() })
	for progress := true; progress && len(todo) > 0; { // once, unless they refer to each other
		progress = false
		var rest []*table
		for _, t := range referredFirst(todo) {
			why, err := f.fillTable(ctx, t, kinds)
			if err != nil {
				return fmt.Errorf("fill table %s: %w", t.name, err)
			}
			if f.unfilled[t.name] = why; why != "" {
				rest = append(rest, t)
				continue
			}
			delete(f.unfilled, t.name)
			f.filled[t.name], progress = t.shape(), true
		}
		todo = rest
	}
	return nil
}

// referredFirst sorts tables so that those come first to which others refer,
// as far as they do not do so in a circle.
func referredFirst(tables []*table) []*table {
	byName, done := map[string]*table{}, map[string]bool{}
	for _, t := range tables {
		byName[t.name] = t
	}
	var sorted []*table
	var visit func(*table)
	visit = func(t *table) {
		if t == nil || done[t.name] {
			return
		}
		done[t.name] = true
		for _, k := range t.foreign {
			visit(byName[k.table])
		}
		sorted = append(sorted, t)
	}
	for _, t := range tables {
		visit(t)
	}
	return sorted
}

// fillTable adds rows of all kinds wanted, and says why not even a tame one
// can be had, if so.
func (f *filler) fillTable(ctx context.Context, t *table, kinds rowKinds) (why string, err error) {
	got, first := 0, f.next
	for range t.tameRows() {
		refused, err := f.insert(ctx, t, tame, first)
		if err != nil {
			return "", err
		}
		if refused == nil {
			got++
		} else if why = whyRefused(refused); got == 0 && refused.Code != "23505" && refused.Code != "23P01" {
			return why, nil // the next ones would fare no better
		}
	}
	if got == 0 && t.empty {
		return why, nil
	}
	if kinds == allRows {
		for _, kind := range []rowKind{nulls, low, high, twin} {
			if _, err := f.insert(ctx, t, kind, first); err != nil {
				return "", err
			}
		}
		for _, word := range f.words {
			t.word = word
			if _, err := f.insert(ctx, t, worded, first); err != nil {
				return "", err
			}
		}
	}
	return "", nil
}

// tameRows is how many it takes to meet every label of an enum.
func (t *table) tameRows() int {
	n := tameLeast
	for _, c := range t.columns {
		n = max(n, min(len(c.labels), tameMost))
	}
	return n
}

func whyRefused(refused *pgconn.PgError) string {
	return fmt.Sprintf("%s (SQLSTATE %s)", refused.Message, refused.Code)
}

// insert adds one row. It tries other values for the columns of a CHECK that
// refuses it, and answers with what refused the row in the end.
func (f *filler) insert(ctx context.Context, t *table, kind rowKind, first int) (refused *pgconn.PgError, err error) {
	n := f.next
	f.next++
	var blamed []string
	meek := map[string]bool{} // columns that have a tame value in spite of the row's kind
	for range mostTries {
		_, err := send(ctx, f.conn.PgConn(), t.insertSQL(kind, n, first, meek))
		if err == nil {
			return nil, nil
		}
		var ok bool
		if refused, ok = errors.AsType[*pgconn.PgError](err); !ok || outcomeOf(refused, 0, time.Hour) != Failed {
			return nil, err
		}
		if refused.Code == "23514" {
			blamed = t.blamed(refused)
		} else if !strings.HasPrefix(refused.Code, "22") { // what a candidate may be no value of its type
			break
		}
		if !t.yield(blamed, kind, meek) {
			break
		}
	}
	return refused, nil
}

// blamed are the columns of the CHECK that refused a row.
func (t *table) blamed(refused *pgconn.PgError) []string {
	columns := t.checks[refused.ConstraintName]
	for _, c := range t.columns {
		if columns == nil && refused.DataTypeName != "" && c.domain == refused.DataTypeName {
			return []string{c.name}
		}
	}
	return columns
}

// yield gives other values to columns, and reports whether there are any: tame
// ones in a row of another kind, else the next candidates.
func (t *table) yield(columns []string, kind rowKind, meek map[string]bool) bool {
	if kind != tame {
		before := len(meek)
		for _, name := range columns {
			meek[name] = true
		}
		if len(meek) > before {
			return true
		}
	}
	levelled := false
	for _, c := range t.columns {
		if slices.Contains(columns, c.name) && !c.level {
			c.level, levelled = true, true
		}
	}
	if levelled {
		return true
	}
	for _, c := range t.columns { // an odometer over the columns of the CHECK
		if !slices.Contains(columns, c.name) || c.auto || t.refers(c.name) {
			continue
		}
		if c.pick++; c.pick < c.candidates() {
			return true
		}
		c.pick = 0
	}
	return false
}

// insertSQL is the statement that adds a row. A column that PostgreSQL fills by
// itself is left to it.
func (t *table) insertSQL(kind rowKind, n, first int, meek map[string]bool) string {
	var columns, values []string
	for _, c := range t.columns {
		if c.auto {
			continue
		}
		k, number := kind, n
		if meek[c.name] {
			k = tame
		}
		if k == twin {
			if k = tame; !c.unique {
				number = first
			}
		}
		value := t.reference(c, number)
		switch {
		case k == nulls && !c.notNull:
			value = "NULL"
		case value == "" && k == worded && c.isText():
			value = c.wrap(c.fit(t.word, number))
		case value == "":
			value = c.value(k, number+c.apart())
		}
		columns, values = append(columns, pg.Quote(c.name)), append(values, value)
	}
	if columns == nil {
		return "INSERT INTO " + pg.Quote(t.name) + " DEFAULT VALUES"
	}
	return fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", pg.Quote(t.name), strings.Join(columns, ", "), strings.Join(values, ", "))
}

// reference picks the value of a foreign key's column: that of the nth row of
// the table it refers to, round and round. "" for a column of none.
func (t *table) reference(c *column, n int) string {
	for _, k := range t.foreign {
		i := slices.Index(k.columns, c.name)
		if i < 0 {
			continue
		}
		keys := make([]string, len(k.keys))
		for j := range k.keys {
			keys[j] = pg.Quote(k.keys[j])
		}
		from := pg.Quote(k.table)
		return fmt.Sprintf("(SELECT %s FROM %s ORDER BY %s OFFSET %d %% (SELECT greatest(count(*), 1) FROM %s) LIMIT 1)",
			keys[i], from, strings.Join(keys, ", "), n, from)
	}
	return ""
}

func (t *table) refers(column string) bool {
	return slices.ContainsFunc(t.foreign, func(k foreignKey) bool { return slices.Contains(k.columns, column) })
}
