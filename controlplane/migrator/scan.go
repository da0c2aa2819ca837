package migrator

import (
	"errors"
	"strings"

	"ariga.io/atlas/sql/migrate"

	"github.com/manorhq/manor/controlplane"
)

// scanner splits as Atlas's PostgreSQL driver does.
func scanner() *migrate.Scanner {
	return &migrate.Scanner{ScannerOptions: migrate.ScannerOptions{
		MatchBegin: true, MatchBeginAtomic: true, MatchDollarQuote: true, EscapedStringExt: true,
	}}
}

// place is a statement and where it stands in its file.
type place struct {
	statement
	at      int      // byte of the file
	refused *refusal // why it may not be part of a release
	atlas   *migrate.Stmt
}

// readStatements takes the statements of the file, and refuses it if one of
// them may not be part of a release.
func (f *file) readStatements(content string) error {
	places, err := f.scan(content)
	if err != nil {
		return err
	}
	for _, p := range places {
		if r := p.refused; r != nil {
			e := invalid(f.name, lineOf(content, p.at+r.at), "%s", r.what)
			e.Hint = r.hint
			return e
		}
		f.statements = append(f.statements, p.statement)
	}
	return nil
}

// scan splits the file as Atlas does, since Atlas's revisions count those
// statements, and looks whether PostgreSQL sees the same ones.
func (f *file) scan(content string) ([]place, error) {
	if problem := (*lexError)(nil); errors.As(unlexable(content), &problem) {
		return nil, invalid(f.name, lineOf(content, problem.at), "%s", problem.problem)
	}
	stmts, err := scanner().Scan(content)
	if err != nil {
		return nil, controlplane.Errorf(controlplane.Invalid, "%s:%w", f.name, err) // Atlas begins with line:column
	}
	places := make([]place, 0, len(stmts))
	cursor := 0
	for _, stmt := range stmts {
		at := stmt.Pos
		if at < cursor || at > len(content) || !strings.HasPrefix(content[at:], stmt.Text) {
			at = cursor + max(0, strings.Index(content[cursor:], stmt.Text))
		}
		cursor = at + len(stmt.Text)
		s, err := newStatement(stmt.Text)
		if err == nil {
			err = s.check(f.alone)
		}
		p := place{statement: s, at: at, atlas: stmt}
		p.refused, _ = errors.AsType[*refusal](err)
		places = append(places, p)
	}
	return places, nil
}

func unlexable(content string) error {
	_, err := tokenize(content)
	return err
}
