package migrator

import (
	"strings"

	"github.com/manorhq/manor/controlplane/pg"
)

// mode is how a statement may run.
type mode uint8

const (
	inside       mode = iota // in any transaction
	ending                   // in a transaction, unless it ends transactions itself: DO, CALL
	concurrently             // in no transaction because of the word CONCURRENTLY
	outside                  // in no transaction: VACUUM and such
)

// statement is one statement of a migration file.
type statement struct {
	sql    string // as the file has it, with its semicolon
	tokens []token
	ended  bool // has its semicolon
	mode   mode
	within int // byte of the word CONCURRENTLY
}

// newStatement reads one statement as Atlas cut it out. Where PostgreSQL would
// see none in it, or several, numbers of statements would mean nothing.
func newStatement(sql string) (statement, error) {
	tokens, err := tokenize(sql)
	if err != nil {
		problem := err.(*lexError)
		return statement{}, &refusal{problem.at, problem.problem + ", as Atlas splits the file", "separate statements by atlas:delimiter"}
	}
	parts, err := split(tokens)
	if err != nil {
		problem := err.(*lexError)
		return statement{}, &refusal{problem.at, problem.problem, ""}
	}
	switch {
	case len(parts) == 0 && len(tokens) == 0:
		return statement{}, &refusal{0, "Atlas takes the comment for a statement", "end the last line with a newline"}
	case len(parts) == 0:
		return statement{}, &refusal{0, "empty statement", "remove the semicolon"}
	case len(parts) > 1:
		return statement{}, &refusal{parts[1][0].at, "Atlas takes this and the statement before it for one", "separate statements by a semicolon or atlas:delimiter"}
	case parts[0][0].kind != word && !parts[0][0].is("("):
		return statement{}, &refusal{parts[0][0].at, "a statement cannot begin like this", "comments in /* */ must not hold others"}
	}
	s := statement{sql: sql, tokens: parts[0], ended: tokens[len(tokens)-1].is(";")}
	s.classify()
	return s, nil
}

// begins reports whether the statement begins with these keywords.
func (s *statement) begins(words string) bool {
	i := 0
	for keyword := range strings.FieldsSeq(words) {
		if i == len(s.tokens) || !s.tokens[i].is(keyword) {
			return false
		}
		i++
	}
	return true
}

// find returns the index of the first run of these keywords, or -1.
func (s *statement) find(keywords ...string) int {
	for i := 0; i+len(keywords) <= len(s.tokens); i++ {
		found := true
		for k, keyword := range keywords {
			found = found && s.tokens[i+k].is(keyword)
		}
		if found {
			return i
		}
	}
	return -1
}

// never are the statements that PostgreSQL runs in no transaction, by their
// first words.
var never = []string{
	"VACUUM", "ALTER SYSTEM",
	"CREATE DATABASE", "DROP DATABASE", "CREATE TABLESPACE", "DROP TABLESPACE",
	"CREATE SUBSCRIPTION", "DROP SUBSCRIPTION",
	"REINDEX DATABASE", "REINDEX SYSTEM", "REINDEX SCHEMA",
}

func (s *statement) classify() {
	s.mode = inside
	for _, words := range never {
		if s.begins(words) {
			s.mode = outside
		}
	}
	if s.begins("DO") || s.begins("CALL") {
		s.mode = ending
	}
	if i := s.find("CONCURRENTLY"); i >= 0 && s.takesConcurrently(i) {
		s.mode, s.within = concurrently, s.tokens[i].at
	}
}

// takesConcurrently reports whether the word at i is PostgreSQL's keyword and
// forbids a transaction: REFRESH MATERIALIZED VIEW's does not.
func (s *statement) takesConcurrently(i int) bool {
	switch {
	case s.begins("CREATE INDEX"), s.begins("DROP INDEX"):
		return i == 2
	case s.begins("CREATE UNIQUE INDEX"):
		return i == 3
	case s.begins("REINDEX"):
		return true
	case s.begins("ALTER TABLE"):
		return s.find("DETACH", "PARTITION") >= 0
	}
	return false
}

// what names the statement to a human, by its first words as the file has them.
func (s *statement) what() string {
	most := 3
	if s.mode == outside {
		most = 2
	}
	var words []string
	for _, t := range s.tokens[:min(len(s.tokens), most)] {
		if t.kind != word || t.is("CONCURRENTLY") {
			break
		}
		words = append(words, t.text)
	}
	if s.mode == concurrently {
		words = append(words, "CONCURRENTLY")
	}
	return strings.Join(words, " ")
}

// joins reports whether the statement can run in a transaction. In a fresh home
// it can where CONCURRENTLY is all that keeps it from one.
func (s *statement) joins(fresh bool) bool {
	return s.mode == inside || fresh && s.mode == concurrently && !s.begins("REINDEX")
}

// plain is the statement without CONCURRENTLY, for an empty home. Blanks stand
// in for the word, so that positions stay.
func (s *statement) plain() string {
	if s.mode != concurrently {
		return s.sql
	}
	return s.sql[:s.within] + strings.Repeat(" ", len("CONCURRENTLY")) + s.sql[s.within+len("CONCURRENTLY"):]
}

// index returns the name of the index that CREATE or DROP INDEX CONCURRENTLY is
// about, as SQL, for PostgreSQL to fold and truncate; "" where there is none or several.
func (s *statement) index() (name string, drop bool) {
	if s.mode != concurrently || s.find("INDEX") < 0 || s.begins("REINDEX") {
		return "", false
	}
	drop = s.begins("DROP")
	i := s.find("CONCURRENTLY") + 1
	switch i {
	case s.find("IF", "NOT", "EXISTS"):
		i += 3
	case s.find("IF", "EXISTS"):
		i += 2
	}
	if i >= len(s.tokens) || s.tokens[i].is("ON") || drop && s.find(",") >= 0 {
		return "", drop
	}
	if s.tokens[i].unicode() {
		return pg.Quote(s.tokens[i].name()), drop
	}
	return s.tokens[i].text, drop
}

// checkConcurrently refuses what could not be told from an index of somebody
// else's, or not at all, when its process died before it was recorded.
func (s *statement) checkConcurrently() *refusal {
	if s.mode != concurrently {
		return nil
	}
	at := s.tokens[0].at
	if s.begins("ALTER TABLE") {
		return &refusal{at, "DETACH PARTITION CONCURRENTLY cannot be taken up again once it was interrupted",
			"leave out CONCURRENTLY: a plain DETACH PARTITION is short"}
	}
	if name, drop := s.index(); name == "" && !drop && !s.begins("REINDEX") {
		return &refusal{at, s.what() + " without a name: what an interrupted build leaves could not be found", "give the index a name"}
	}
	for _, t := range s.tokens[s.find("CONCURRENTLY"):] {
		if t.is("(") {
			break
		}
		if t.is(".") {
			return &refusal{t.at, s.what() + " names a schema", "name none: every statement runs in the tenant's own"}
		}
	}
	return nil
}
