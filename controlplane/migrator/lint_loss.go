package migrator

import (
	"slices"
	"strings"

	"github.com/manorhq/manor/controlplane"
)

// later are the statements of the file after the one in hand.
func (l *linter) later() []place { return l.sources[l.at].places[l.n+1:] }

// renames finds new names for which the file leaves nothing under the old one.
func renames(l *linter, table string, action []token) []finding {
	if !starts(action, "RENAME") || starts(action, "RENAME CONSTRAINT") {
		return nil
	}
	if starts(action, "RENAME TO") {
		if l.comesBack("VIEW", table) {
			return nil
		}
		return found(controlplane.WarnRenameTable, startOf(action), "table %s becomes %s", table, nameOf(action[2:]))
	}
	rest := action[1:]
	if starts(rest, "COLUMN") {
		rest = rest[1:]
	}
	old, rest := object(rest)
	if fresh(l, l.columns, member{table, old}) || l.addsBack(table, old) {
		return nil
	}
	return found(controlplane.WarnRenameColumn, startOf(action), "column %s of %s becomes %s", old, table, nameOf(rest[min(1, len(rest)):]))
}

// comesBack reports whether a later statement of the file creates such an object.
func (l *linter) comesBack(kind, name string) bool {
	return slices.ContainsFunc(l.later(), func(p place) bool {
		k, n, ok := p.createdObject()
		return ok && k == kind && n == name
	})
}

// addsBack reports whether a later statement of the file adds such a column.
func (l *linter) addsBack(table, column string) bool {
	return slices.ContainsFunc(l.later(), func(p place) bool {
		t, list := p.alteration()
		return t == table && slices.ContainsFunc(list, func(a []token) bool {
			name, _, ok := addedColumn(a)
			return ok && name == column
		})
	})
}

func dropsColumn(l *linter, table string, action []token) []finding {
	if !starts(action, "DROP") || starts(action, "DROP CONSTRAINT") {
		return nil
	}
	rest := action[1:]
	if starts(rest, "COLUMN") {
		rest = rest[1:]
	}
	name := nameOf(rest)
	if name == "" || fresh(l, l.columns, member{table, name}) {
		return nil
	}
	return found(controlplane.WarnDropColumn, startOf(action), "column %s of %s is dropped", name, table)
}

// dropsConstraint passes over a constraint that the file gives another form.
func dropsConstraint(l *linter, table string, action []token) []finding {
	if !starts(action, "DROP CONSTRAINT") {
		return nil
	}
	name := nameOf(action[2:])
	here := l.sources[l.at].places[l.n:]
	again := slices.ContainsFunc(here, func(p place) bool {
		t, list := p.alteration()
		return t == table && slices.ContainsFunc(list, func(a []token) bool {
			added, _, ok := addedConstraint(a)
			return ok && added == name
		})
	})
	if again || fresh(l, l.constraints, member{table, name}) {
		return nil
	}
	return found(controlplane.WarnDropConstraint, startOf(action), "constraint %s of %s is dropped", name, table)
}

func drops(l *linter, s *statement) []finding {
	switch {
	case s.begins("DROP TABLE"):
		return dropped(s, controlplane.WarnDropTable, "TABLE", func(name string) bool { return fresh(l, l.tables, name) })
	case s.begins("DROP SCHEMA"):
		return dropped(s, controlplane.WarnDropSchema, "SCHEMA", func(string) bool { return false })
	}
	for _, kind := range kinds {
		if s.begins("DROP " + kind) {
			return dropped(s, controlplane.WarnDropObject, kind, func(name string) bool {
				return fresh(l, l.objects, kind+" "+name) || l.comesBack(kind, name)
			})
		}
	}
	return nil
}

// dropped tells of the objects that a DROP names, but for those that are passed over.
func dropped(s *statement, code controlplane.WarningCode, kind string, passed func(name string) bool) []finding {
	var all []finding
	for _, name := range objects(s.tokens[1+len(strings.Fields(kind)):]) {
		if !passed(name) {
			all = append(all, found(code, startOf(s.tokens), "%s %s is dropped", strings.ToLower(kind), name)...)
		}
	}
	return all
}

func truncates(l *linter, s *statement) []finding {
	list := s.tokens[1:]
	switch {
	case s.begins("TRUNCATE"):
		if starts(list, "TABLE") {
			list = list[1:]
		}
	case s.begins("DELETE FROM") && !s.atTop("WHERE"):
		list = list[1:]
	default:
		return nil
	}
	var all []finding
	for _, name := range objects(list) {
		if !fresh(l, l.tables, name) {
			all = append(all, found(controlplane.WarnDeleteAll, startOf(s.tokens), "%s of %s", strings.ToUpper(s.tokens[0].text), name)...)
		}
	}
	return all
}

// everyRow finds writes to all rows in a transaction that holds locks of DDL.
func everyRow(l *linter, s *statement) []finding {
	if !s.begins("UPDATE") && !s.begins("DELETE FROM") || s.atTop("WHERE") || l.sources[l.at].alone {
		return nil
	}
	table := nameOf(s.tokens[1:])
	if s.begins("DELETE") {
		table = nameOf(s.tokens[2:])
	}
	ddl := slices.ContainsFunc(l.sources[l.at].places, func(p place) bool {
		return p.begins("ALTER TABLE") || p.begins("CREATE INDEX") || p.begins("CREATE UNIQUE INDEX") || p.begins("DROP")
	})
	if !ddl || fresh(l, l.tables, table) {
		return nil
	}
	return found(controlplane.WarnAllRowsWithDDL, startOf(s.tokens), "%s of all rows of %s beside DDL", strings.ToUpper(s.tokens[0].text), table)
}

// enumValues finds values of enums that are used in the file that adds them. A
// statement that compares text, by ::text, may name one.
func enumValues(l *linter, s *statement) []finding {
	if s.begins("ALTER TYPE") || s.begins("COMMENT") || s.find(":", ":", "TEXT") >= 0 {
		return nil
	}
	for _, t := range s.tokens {
		value, ok := l.values[t.text]
		if t.kind != text || !ok || value.file != l.at {
			continue
		}
		if made, ok := l.objects["TYPE "+value.enum]; !ok || made != l.at {
			return found(controlplane.WarnEnumValue, t.at, "value %s of %s is used in the file that adds it", t.text, value.enum)
		}
	}
	return nil
}

// shared are schemas that every tenant may name.
var shared = []string{"pg_catalog", "information_schema", "pg_temp", "extensions"}

// notFrom are functions whose arguments have a FROM of their own.
var notFrom = []string{"EXTRACT", "SUBSTRING", "TRIM", "OVERLAY", "POSITION"}

// qualifiedNames finds the first name of a table or the like that names its
// schema, by the keyword before it. Bodies of functions in quotes are not read.
func qualifiedNames(_ *linter, s *statement) []finding {
	var opened []token // the token before each open parenthesis
	for i, t := range s.tokens {
		switch {
		case t.is("("):
			opened = append(opened, s.tokens[max(0, i-1)])
		case t.is(")"):
			opened = opened[:max(0, len(opened)-1)]
		case t.is("FROM") && (i > 0 && s.tokens[i-1].is("DISTINCT") || len(opened) > 0 && isAny(opened[len(opened)-1], notFrom...)):
		case s.namesAfter(i):
			if name, schema := qualified(s.tokens[i+1:]); schema != "" && !slices.Contains(shared, schema) {
				return found(controlplane.WarnQualifiedName, t.at, "%s.%s", schema, name)
			}
		}
	}
	return nil
}

// namesAfter reports whether a name of an object follows the token at i.
func (s *statement) namesAfter(i int) bool {
	if s.tokens[i].is("ON") {
		return s.begins("CREATE") && s.createsOn() && i == s.find("ON") // a later one is of a JOIN
	}
	return isAny(s.tokens[i], "FROM", "JOIN", "INTO", "UPDATE", "REFERENCES", "TABLE", "VIEW", "SEQUENCE", "FUNCTION", "PROCEDURE", "INDEX", "TYPE")
}

// createsOn reports whether the statement creates something on a table.
func (s *statement) createsOn() bool {
	return slices.ContainsFunc(s.tokens[:min(4, len(s.tokens))], func(t token) bool { return isAny(t, "INDEX", "TRIGGER", "POLICY") })
}

// qualified reads schema.name, "" for a name without a schema.
func qualified(tokens []token) (name, schema string) {
	for len(tokens) > 0 && isAny(tokens[0], "IF", "NOT", "EXISTS", "ONLY", "CONCURRENTLY") {
		tokens = tokens[1:]
	}
	if len(tokens) < 3 || !tokens[1].is(".") {
		return "", ""
	}
	return tokens[2].name(), tokens[0].name()
}
