package migrator

import (
	"slices"
	"strconv"
	"strings"
)

// What the rules of lint read out of a statement. Where a statement is written
// in a way that is not looked for here, they find nothing.

// object reads [IF [NOT] EXISTS] [ONLY] [schema.]name and returns the name
// without its schema, and what follows.
func object(tokens []token) (name string, rest []token) {
	for len(tokens) > 0 && isAny(tokens[0], "IF", "NOT", "EXISTS", "ONLY") {
		tokens = tokens[1:]
	}
	for len(tokens) > 2 && tokens[1].is(".") {
		tokens = tokens[2:]
	}
	if len(tokens) == 0 {
		return "", nil
	}
	return tokens[0].name(), tokens[1:]
}

func isAny(t token, words ...string) bool { return slices.ContainsFunc(words, t.is) }

// starts reports whether tokens begin with these keywords.
func starts(tokens []token, words string) bool {
	s := statement{tokens: tokens}
	return s.begins(words)
}

// contains reports whether the keywords stand in tokens, one after the other.
func contains(tokens []token, words ...string) bool {
	s := statement{tokens: tokens}
	return s.find(words...) >= 0
}

// separate splits tokens at the commas outside parentheses.
func separate(tokens []token) [][]token {
	var parts [][]token
	depth, start := 0, 0
	for i, t := range tokens {
		switch {
		case t.is("("):
			depth++
		case t.is(")"):
			depth--
		case t.is(",") && depth == 0:
			parts = append(parts, tokens[start:i])
			start = i + 1
		}
	}
	return append(parts, tokens[start:])
}

// enclosed returns what is in the first pair of parentheses, and what follows it.
func enclosed(tokens []token) (inside, rest []token) {
	start, depth := -1, 0
	for i, t := range tokens {
		switch {
		case t.is("("):
			if depth++; depth == 1 {
				start = i + 1
			}
		case t.is(")"):
			if depth--; depth == 0 {
				return tokens[start:i], tokens[i+1:]
			}
		}
	}
	return nil, nil
}

// startOf is the byte of the statement where tokens begin.
func startOf(tokens []token) int {
	if len(tokens) == 0 {
		return 0
	}
	return tokens[0].at
}

// alteration reads an ALTER TABLE: its table and actions.
func (s *statement) alteration() (table string, actions [][]token) {
	if !s.begins("ALTER TABLE") {
		return "", nil
	}
	table, rest := object(s.tokens[2:])
	if len(rest) > 0 && rest[0].is("*") {
		rest = rest[1:]
	}
	return table, separate(rest)
}

// constraints are the words that begin a constraint of a table.
var constraints = []string{"CONSTRAINT", "CHECK", "UNIQUE", "PRIMARY", "FOREIGN", "EXCLUDE"}

// addedColumn reads ADD [COLUMN] name definition.
func addedColumn(action []token) (name string, definition []token, ok bool) {
	if !starts(action, "ADD") || len(action) < 2 || isAny(action[1], constraints...) {
		return "", nil, false
	}
	rest := action[1:]
	if rest[0].is("COLUMN") {
		rest = rest[1:]
	}
	name, definition = object(rest)
	return name, definition, name != ""
}

// addedConstraint reads ADD [CONSTRAINT name] body.
func addedConstraint(action []token) (name string, body []token, ok bool) {
	if !starts(action, "ADD") || len(action) < 2 || !isAny(action[1], constraints...) {
		return "", nil, false
	}
	if action[1].is("CONSTRAINT") {
		name, body = object(action[2:])
		return name, body, true
	}
	return "", action[1:], true
}

// alteredColumn reads ALTER [COLUMN] name change.
func alteredColumn(action []token) (name string, change []token, ok bool) {
	if !starts(action, "ALTER") || len(action) < 3 || starts(action, "ALTER CONSTRAINT") {
		return "", nil, false
	}
	rest := action[1:]
	if rest[0].is("COLUMN") {
		rest = rest[1:]
	}
	name, change = object(rest)
	return name, change, name != ""
}

// newType reads what follows TYPE in a change of a column.
func newType(change []token) (string, bool) {
	switch {
	case starts(change, "SET DATA TYPE"):
		return typeOf(change[3:]), true
	case starts(change, "TYPE"):
		return typeOf(change[1:]), true
	}
	return "", false
}

// afterType are the words that end the type in the definition of a column.
var afterType = []string{
	"CONSTRAINT", "NOT", "NULL", "DEFAULT", "PRIMARY", "UNIQUE", "REFERENCES", "CHECK", "GENERATED", "COLLATE", "USING",
	"COMPRESSION", "STORAGE",
}

// typeOf is the type that a definition begins with, in one spelling.
func typeOf(definition []token) string {
	var b strings.Builder
	for _, t := range definition {
		if isAny(t, afterType...) {
			break
		}
		if t.kind == word && b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strings.ToLower(t.text))
	}
	return spellings.Replace(b.String())
}

var spellings = strings.NewReplacer("character varying", "varchar", "decimal", "numeric", "timestamp with time zone", "timestamptz")

// sameBytes reports whether rows of one type are rows of the other as they
// stand, so that ALTER COLUMN TYPE writes and checks none.
func sameBytes(from, to string) bool {
	fromName, fromSize := modified(from)
	toName, toSize := modified(to)
	switch {
	case from == "":
		return false
	case from == to:
		return true
	case isString(fromName) && isString(toName):
		return toSize == nil || fromSize != nil && fromSize[0] <= toSize[0]
	case fromName == "numeric" && toName == "numeric":
		return toSize == nil || len(fromSize) == 2 && len(toSize) == 2 && fromSize[0] <= toSize[0] && fromSize[1] == toSize[1]
	}
	return false
}

func isString(name string) bool { return name == "text" || name == "varchar" }

// modified takes numeric(10,2) apart.
func modified(t string) (name string, sizes []int) {
	name, rest, ok := strings.Cut(t, "(")
	if !ok {
		return name, nil
	}
	for size := range strings.SplitSeq(strings.TrimSuffix(rest, ")"), ",") {
		n, err := strconv.Atoi(strings.TrimSpace(size))
		if err != nil {
			return t, nil
		}
		sizes = append(sizes, n)
	}
	return name, sizes
}

// createdTable reads CREATE TABLE name (elements).
func (s *statement) createdTable() (name string, elements [][]token, ok bool) {
	if !s.begins("CREATE") || len(s.tokens) < 3 {
		return "", nil, false
	}
	i := s.find("TABLE")
	if i < 1 || i > 3 || contains(s.tokens[:i], "FOREIGN") {
		return "", nil, false
	}
	name, rest := object(s.tokens[i+1:])
	if len(rest) == 0 || !rest[0].is("(") {
		return name, nil, name != ""
	}
	inside, _ := enclosed(rest)
	return name, separate(inside), name != ""
}

// index is what a CREATE INDEX makes.
type index struct {
	table    string
	columns  []string // "" for an expression
	unique   bool
	only     bool // ON ONLY a partitioned table: builds nothing
	existing bool // IF NOT EXISTS
}

func (s *statement) createdIndex() (index, bool) {
	ix := index{unique: s.begins("CREATE UNIQUE INDEX")}
	on := s.find("ON")
	if !ix.unique && !s.begins("CREATE INDEX") || on < 0 || on+1 == len(s.tokens) {
		return ix, false
	}
	ix.only, ix.existing = s.tokens[on+1].is("ONLY"), contains(s.tokens[:on], "IF", "NOT", "EXISTS")
	table, rest := object(s.tokens[on+1:])
	inside, _ := enclosed(rest)
	ix.table, ix.columns = table, columnsIn(inside)
	return ix, table != ""
}

// columnsIn reads a list of columns and expressions.
func columnsIn(list []token) []string {
	var names []string
	for _, e := range separate(list) {
		switch {
		case len(e) == 0:
		case len(e) > 1 && isAny(e[1], "(", ".", ":"), e[0].is("("):
			names = append(names, "")
		default:
			names = append(names, e[0].name())
		}
	}
	return names
}

// objects reads the names of DROP … [IF EXISTS] a, b [CASCADE].
func objects(tokens []token) []string {
	var names []string
	for _, part := range separate(tokens) {
		if name, _ := object(part); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// assigned reads UPDATE table SET a = …, b = …: the table and the columns.
func (s *statement) assigned() (table string, columns []string) {
	set := s.find("SET")
	if !s.begins("UPDATE") || set < 0 {
		return "", nil
	}
	table, _ = object(s.tokens[1:])
	for _, part := range separate(s.tokens[set+1:]) {
		if len(part) > 1 && part[1].is("=") {
			columns = append(columns, part[0].name())
		} else if starts(part, "(") {
			inside, _ := enclosed(part)
			columns = append(columns, columnsIn(inside)...)
		}
	}
	return table, columns
}
