package migrator

import (
	"slices"
	"strings"
)

// notAdditive says why Atlas's diff cannot be trusted to undo the statement, or
// nothing: it can undo what adds to tables, and comments on them.
func (s *statement) notAdditive() string {
	switch {
	case s.begins("CREATE TABLE"), s.begins("CREATE UNLOGGED TABLE"):
		if s.atTop("AS") {
			return "CREATE TABLE AS fills the table"
		}
		return ""
	case s.begins("CREATE INDEX"), s.begins("CREATE UNIQUE INDEX"),
		s.begins("COMMENT ON TABLE"), s.begins("COMMENT ON COLUMN"):
		return ""
	case s.begins("CREATE TYPE") && s.find("AS", "ENUM") >= 0:
		return ""
	case s.begins("ALTER TABLE"):
		return s.alterNotAdditive()
	}
	return s.what() + " is not additive DDL on tables"
}

// atTop reports whether a keyword stands outside all parentheses.
func (s *statement) atTop(keyword string) bool {
	return slices.ContainsFunc(cut(s.tokens, " "), func(part []token) bool {
		return slices.ContainsFunc(part, func(t token) bool { return t.is(keyword) })
	})
}

// alterNotAdditive looks at the actions of an ALTER TABLE.
func (s *statement) alterNotAdditive() string {
	rest := s.tokens[2:]
	for len(rest) > 0 && (rest[0].is("IF") || rest[0].is("EXISTS") || rest[0].is("ONLY")) {
		rest = rest[1:]
	}
	for len(rest) > 2 && rest[1].is(".") {
		rest = rest[2:]
	}
	if len(rest) < 2 {
		return "ALTER TABLE without an action"
	}
	rest = rest[1:]
	if rest[0].is("*") {
		rest = rest[1:]
	}
	for _, action := range cut(rest, ",") {
		if !additive(action) {
			return "ALTER TABLE " + firstWords(action) + " is not additive"
		}
	}
	return ""
}

func additive(action []token) bool {
	a := statement{tokens: action}
	if a.begins("ADD") || a.begins("VALIDATE CONSTRAINT") {
		return true
	}
	if !a.begins("ALTER") {
		return false
	}
	a.tokens = a.tokens[1:]
	if a.begins("COLUMN") {
		a.tokens = a.tokens[1:]
	}
	if len(a.tokens) > 0 {
		a.tokens = a.tokens[1:] // its name
	}
	return a.begins("SET DEFAULT")
}

// firstWords is an action without the names in it.
func firstWords(action []token) string {
	var words []string
	for _, t := range action {
		if t.kind == word && strings.ToUpper(t.text) == t.text && len(words) < 4 {
			words = append(words, t.text)
		}
	}
	return strings.Join(words, " ")
}

// cut splits tokens at a special character outside parentheses, and leaves out
// what is inside them.
func cut(tokens []token, at string) [][]token {
	parts, depth := [][]token{nil}, 0
	for _, t := range tokens {
		switch {
		case t.is("("):
			depth++
		case t.is(")"):
			depth--
		case depth > 0:
		case t.is(at):
			parts = append(parts, nil)
		default:
			parts[len(parts)-1] = append(parts[len(parts)-1], t)
		}
	}
	return parts
}
