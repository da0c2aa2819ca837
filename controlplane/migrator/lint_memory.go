package migrator

import (
	"maps"
	"strings"
)

// member is a column, constraint or index of a table.
type member struct{ table, name string }

// memory is what the statements before the one that is looked at have made,
// each by the number of the file that did.
type memory struct {
	tables      map[string]int
	objects     map[string]int // "VIEW name" and the like
	columns     map[member]int
	types       map[member]string
	defaults    map[member]int    // columns added with a default
	filled      map[member]int    // columns set by an UPDATE
	constraints map[member]int    // by name
	unproved    map[member]string // constraints NOT VALID: the column that the CHECK says IS NOT NULL, or ""
	never       map[member]bool   // columns of which a valid CHECK says that they are never NULL
	values      map[string]added  // of enums, as written
}

// added is where a value was added to an enum.
type added struct {
	file int
	enum string
}

func newMemory() memory {
	return memory{
		tables: map[string]int{}, objects: map[string]int{}, columns: map[member]int{}, types: map[member]string{},
		defaults: map[member]int{}, filled: map[member]int{}, constraints: map[member]int{}, unproved: map[member]string{}, never: map[member]bool{},
		values: map[string]added{},
	}
}

// remember takes in what the statement of a file makes.
func (m *memory) remember(s *statement, file int) {
	if table, elements, ok := s.createdTable(); ok {
		m.tables[table] = file
		m.rememberElements(table, elements)
	}
	if kind, name, ok := s.createdObject(); ok {
		m.objects[kind+" "+name] = file
		if kind == "MATERIALIZED VIEW" {
			m.tables[name] = file // it takes indexes
		}
	}
	if table, columns := s.assigned(); table != "" {
		for _, c := range columns {
			m.filled[member{table, c}] = file
		}
	}
	if s.begins("ALTER TYPE") {
		m.rememberValue(s, file)
	}
	table, actions := s.alteration()
	for _, a := range actions {
		m.rememberAction(table, a, file)
	}
}

// rememberElements takes in the columns of a new table.
func (m *memory) rememberElements(table string, elements [][]token) {
	for _, e := range elements {
		if len(e) > 1 && !isAny(e[0], constraints...) && !e[0].is("LIKE") {
			m.types[member{table, e[0].name()}] = typeOf(e[1:])
		}
	}
}

func (m *memory) rememberValue(s *statement, file int) {
	enum, rest := object(s.tokens[2:])
	if !starts(rest, "ADD VALUE") {
		return
	}
	for _, t := range rest {
		if t.kind == text {
			m.values[t.text] = added{file, enum}
			return
		}
	}
}

func (m *memory) rememberAction(table string, action []token, file int) {
	if name, definition, ok := addedColumn(action); ok {
		m.columns[member{table, name}], m.types[member{table, name}] = file, typeOf(definition)
		if given(definition) != nil {
			m.defaults[member{table, name}] = file
		}
	}
	if name, body, ok := addedConstraint(action); ok {
		m.constraints[member{table, name}] = file
		switch column := neverNull(body); {
		case contains(body, "NOT", "VALID"):
			m.unproved[member{table, name}] = column
		case column != "":
			m.never[member{table, column}] = true
		}
	}
	if starts(action, "VALIDATE CONSTRAINT") {
		name, _ := object(action[2:])
		if column := m.unproved[member{table, name}]; column != "" {
			m.never[member{table, column}] = true
		}
	}
	if name, change, ok := alteredColumn(action); ok {
		if t, ok := newType(change); ok {
			m.types[member{table, name}] = t
		}
	}
	if starts(action, "RENAME TO") {
		m.rename(table, nameOf(action[2:]))
	}
}

// rename lets a table that was made keep what is known of it.
func (m *memory) rename(from, to string) {
	if file, ok := m.tables[from]; ok {
		m.tables[to] = file
	}
	for column, t := range maps.Clone(m.types) {
		if column.table == from {
			m.types[member{to, column.name}] = t
		}
	}
	for column, file := range maps.Clone(m.columns) {
		if column.table == from {
			m.columns[member{to, column.name}] = file
		}
	}
}

// neverNull reads CHECK (column IS NOT NULL).
func neverNull(body []token) string {
	if !starts(body, "CHECK") {
		return ""
	}
	inside, _ := enclosed(body)
	if len(inside) == 4 && starts(inside[1:], "IS NOT NULL") {
		return inside[0].name()
	}
	return ""
}

func nameOf(tokens []token) string {
	name, _ := object(tokens)
	return name
}

// kinds are objects that are no tables, by the words that follow CREATE and DROP.
var kinds = []string{"VIEW", "MATERIALIZED VIEW", "FUNCTION", "PROCEDURE", "AGGREGATE", "SEQUENCE", "TYPE", "DOMAIN"}

// createdObject reads CREATE [OR REPLACE] kind name.
func (s *statement) createdObject() (kind, name string, ok bool) {
	if !s.begins("CREATE") {
		return "", "", false
	}
	rest := s.tokens[1:]
	for len(rest) > 0 && isAny(rest[0], "OR", "REPLACE", "RECURSIVE") {
		rest = rest[1:]
	}
	for _, kind := range kinds {
		if starts(rest, kind) {
			name := nameOf(rest[1+strings.Count(kind, " "):])
			return kind, name, name != ""
		}
	}
	return "", "", false
}
