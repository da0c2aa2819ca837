package migrator

import (
	"fmt"
	"slices"
	"strings"

	"github.com/manorhq/manor/controlplane"
)

// finding is what a rule says about a statement.
type finding struct {
	code controlplane.WarningCode
	at   int    // byte of the statement
	what string // is done
}

// found makes the findings of a rule that finds one thing.
func found(code controlplane.WarningCode, at int, format string, args ...any) []finding {
	return []finding{{code, at, fmt.Sprintf(format, args...)}}
}

// rules look at one statement each, and at what those before it have made.
var rules = []func(*linter, *statement) []finding{
	indexes, reindexes, alterations, rewrites, drops, truncates, everyRow, enumValues, qualifiedNames,
}

// fresh reports whether what was made is empty when the statement in hand runs:
// it goes out together with it.
func fresh[K comparable](l *linter, made map[K]int, key K) bool {
	file, ok := made[key]
	return ok && file >= l.group
}

func indexes(l *linter, s *statement) []finding {
	ix, ok := s.createdIndex()
	if !ok {
		return nil
	}
	var all []finding
	old := !fresh(l, l.tables, ix.table)
	if old && !ix.only && s.mode != concurrently {
		all = append(all, found(controlplane.WarnIndex, startOf(s.tokens), "CREATE INDEX on %s without CONCURRENTLY", ix.table)...)
	}
	if s.mode == concurrently && ix.existing {
		all = append(all, found(controlplane.WarnIfNotExists, startOf(s.tokens), "CREATE INDEX CONCURRENTLY IF NOT EXISTS on %s", ix.table)...)
	}
	if ix.unique && old && l.repeat(ix.table, ix.columns) {
		all = append(all, found(controlplane.WarnUniqueRows, startOf(s.tokens), "CREATE UNIQUE INDEX on %s", ix.table)...)
	}
	return all
}

// repeat reports whether rows that are there may hold the same values in the
// columns: not where a column was added just now, and is NULL or was filled by
// the same author.
func (l *linter) repeat(table string, columns []string) bool {
	return !slices.ContainsFunc(columns, func(c string) bool {
		column := member{table, c}
		return fresh(l, l.columns, column) && !fresh(l, l.defaults, column)
	})
}

func reindexes(_ *linter, s *statement) []finding {
	if !s.begins("REINDEX") || s.mode == concurrently {
		return nil
	}
	return found(controlplane.WarnIndex, startOf(s.tokens), "%s without CONCURRENTLY", s.what())
}

// actions are the rules for one action of an ALTER TABLE on a table that may hold rows.
var actions = []func(l *linter, table string, action []token) []finding{
	addsColumn, addsConstraint, validates, changesType, setsNotNull, copies, renames, dropsColumn, dropsConstraint,
}

func alterations(l *linter, s *statement) []finding {
	table, list := s.alteration()
	if table == "" || fresh(l, l.tables, table) {
		return nil
	}
	var all []finding
	for _, action := range list {
		for _, rule := range actions {
			all = append(all, rule(l, table, action)...)
		}
	}
	return all
}

func addsColumn(_ *linter, table string, action []token) []finding {
	name, definition, ok := addedColumn(action)
	if !ok {
		return nil
	}
	var all []finding
	say := func(code controlplane.WarningCode, how string) {
		all = append(all, finding{code, startOf(action), "column " + name + " of " + table + " is added " + how})
	}
	why, value, flat := writesEachRow(definition), given(definition), cut(definition, "")[0]
	if why != "" {
		say(controlplane.WarnRewrite, "with "+why)
	}
	if (contains(flat, "NOT", "NULL") || contains(flat, "PRIMARY", "KEY")) && value == nil && why == "" && !contains(flat, "GENERATED") {
		say(controlplane.WarnNotNullNoDefault, "NOT NULL without a default")
	}
	if contains(flat, "CHECK") {
		say(controlplane.WarnScan, "with a CHECK")
	}
	if contains(flat, "REFERENCES") && (contains(flat, "DEFAULT") || why != "") {
		say(controlplane.WarnScan, "with a default and a foreign key")
	}
	if contains(flat, "UNIQUE") || contains(flat, "PRIMARY", "KEY") {
		say(controlplane.WarnUniqueLocks, "with an index")
	}
	return all
}

// given returns the default of a column, nil for none and for NULL.
func given(definition []token) []token {
	s := statement{tokens: definition}
	i := s.find("DEFAULT")
	if i < 0 || starts(definition[i+1:], "NULL") {
		return nil
	}
	return definition[i+1:]
}

// steady are functions whose value is the same for all rows of a statement, so
// that a default by them is computed once.
var steady = []string{
	"now", "transaction_timestamp", "statement_timestamp", "localtimestamp", "current_timestamp", "localtime", "current_time",
	"current_setting", "timezone", "date_trunc", "to_timestamp", "to_date", "to_char", "make_interval", "make_date", "extract",
	"lower", "upper", "md5", "sha256", "encode", "decode", "repeat", "left", "right", "replace", "concat", "length",
	"round", "floor", "ceil", "trunc", "abs", "coalesce", "nullif", "greatest", "least", "cast", "row", "array",
	"jsonb_build_object", "jsonb_build_array", "json_build_object", "json_build_array", "to_jsonb", "to_json", "to_tsvector",
	// types with a size, as in '…'::varchar(3)
	"varchar", "char", "numeric", "decimal", "timestamp", "timestamptz", "time", "timetz", "interval", "bit", "varbit",
}

// writesEachRow says what makes each row get a value of its own, or nothing.
func writesEachRow(definition []token) string {
	switch kind := typeOf(definition); {
	case strings.HasSuffix(kind, "serial"):
		return "type " + kind
	case contains(definition, "AS", "IDENTITY"):
		return "an identity"
	case contains(definition, "STORED"):
		return "a generated value that is stored"
	}
	value := given(definition)
	for i, t := range value {
		if isAny(t, afterType...) {
			break
		}
		if i+1 < len(value) && value[i+1].is("(") && t.name() != "" && !slices.Contains(steady, t.name()) {
			return "default " + t.name() + "()"
		}
	}
	return ""
}

func addsConstraint(l *linter, table string, action []token) []finding {
	name, body, ok := addedConstraint(action)
	if !ok {
		return nil
	}
	what := "constraint " + name + " on " + table
	if name == "" {
		what = "a constraint on " + table
	}
	var all []finding
	say := func(code controlplane.WarningCode, how string) {
		all = append(all, finding{code, startOf(action), what + " is added " + how})
	}
	switch {
	case contains(body, "NOT", "VALID"), contains(body, "USING", "INDEX") && !starts(body, "EXCLUDE"):
	case starts(body, "CHECK"), starts(body, "FOREIGN KEY"):
		say(controlplane.WarnScan, "without NOT VALID")
	case starts(body, "NOT NULL"):
		say(controlplane.WarnSetNotNull, "without NOT VALID")
	case starts(body, "EXCLUDE"):
		say(controlplane.WarnUniqueLocks, "(EXCLUDE knows no CONCURRENTLY)")
	case starts(body, "UNIQUE"), starts(body, "PRIMARY KEY"):
		say(controlplane.WarnUniqueLocks, "without USING INDEX")
		if inside, _ := enclosed(body); l.repeat(table, columnsIn(inside)) {
			say(controlplane.WarnUniqueRows, "to rows that are there")
		}
	}
	return all
}

func validates(l *linter, table string, action []token) []finding {
	if !starts(action, "VALIDATE CONSTRAINT") || l.sources[l.at].alone {
		return nil
	}
	name := nameOf(action[2:])
	if file, ok := l.constraints[member{table, name}]; !ok || file != l.at {
		return nil
	}
	return found(controlplane.WarnValidate, startOf(action), "constraint %s of %s is added and validated in one transaction", name, table)
}

func changesType(l *linter, table string, action []token) []finding {
	name, change, ok := alteredColumn(action)
	to, typed := newType(change)
	if !ok || !typed || sameBytes(l.types[member{table, name}], to) && !contains(change, "USING") {
		return nil
	}
	from := ""
	if had := l.types[member{table, name}]; had != "" {
		from = "from " + had + " "
	}
	return found(controlplane.WarnRewrite, startOf(action), "column %s of %s changes %sto %s", name, table, from, to)
}

func setsNotNull(l *linter, table string, action []token) []finding {
	name, change, ok := alteredColumn(action)
	column := member{table, name}
	if !ok || !starts(change, "SET NOT NULL") || l.never[column] {
		return nil
	}
	what := "SET NOT NULL of column " + name + " of " + table
	all := found(controlplane.WarnSetNotNull, startOf(action), "%s", what)
	if !fresh(l, l.filled, column) && !fresh(l, l.defaults, column) {
		all = append(all, finding{controlplane.WarnNotNullRows, startOf(action), what})
	}
	return all
}

// copies finds the actions that copy a table as a whole.
func copies(_ *linter, table string, action []token) []finding {
	for _, words := range []string{"SET LOGGED", "SET UNLOGGED", "SET ACCESS METHOD", "SET TABLESPACE"} {
		if starts(action, words) {
			return found(controlplane.WarnRewrite, startOf(action), "%s of %s", words, table)
		}
	}
	return nil
}

// rewrites finds the statements that copy a table as a whole.
func rewrites(_ *linter, s *statement) []finding {
	switch {
	case s.begins("CLUSTER"), s.begins("VACUUM") && s.find("FULL") >= 0:
		return found(controlplane.WarnRewrite, startOf(s.tokens), "%s", strings.ToUpper(s.tokens[0].text))
	case s.begins("REFRESH MATERIALIZED VIEW") && s.find("CONCURRENTLY") < 0 && s.find("NO", "DATA") < 0:
		return found(controlplane.WarnRewrite, startOf(s.tokens), "REFRESH MATERIALIZED VIEW without CONCURRENTLY")
	}
	return nil
}
