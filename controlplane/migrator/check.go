package migrator

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"ariga.io/atlas/sql/migrate"

	"github.com/manorhq/manor/controlplane"
)

// invalid is an error in a file of a release; line 0 is the file as a whole.
func invalid(name string, line int, format string, args ...any) *controlplane.Error {
	where := name
	if line > 0 {
		where = fmt.Sprintf("%s:%d", name, line)
	}
	return controlplane.Errorf(controlplane.Invalid, "%s: %s", where, fmt.Sprintf(format, args...))
}

// lineOf is the line, from 1, of a byte of content.
func lineOf[T string | []byte](content T, at int) int {
	return 1 + strings.Count(string(content[:at]), "\n")
}

// checkBytes refuses what cannot be sent to PostgreSQL as text.
func checkBytes(name string, content []byte) error {
	if i := bytes.IndexByte(content, 0); i >= 0 {
		return invalid(name, lineOf(content, i), "NUL byte")
	}
	if bytes.HasPrefix(content, []byte("\ufeff")) {
		return invalid(name, 1, "the file begins with a byte order mark").WithHint("save it as UTF-8 without one")
	}
	for i := 0; i < len(content); {
		r, size := utf8.DecodeRune(content[i:])
		if r == utf8.RuneError && size == 1 {
			return invalid(name, lineOf(content, i), "not UTF-8")
		}
		i += size
	}
	return nil
}

var directive = regexp.MustCompile(`(?m)^[ \t]*(?:--|#)[ \t]*atlas:(\w+)(?:[ \t]+([^\r\n]*?))?[ \t]*\r?$`)

// unsupported are Atlas's directives whose effect would silently be missing.
var unsupported = map[string]string{
	"checkpoint": "Manor applies every file: keep the files before the checkpoint instead",
	"txtar":      "pre-migration checks would run as ordinary statements: write them as a DO block that raises",
	"assert":     "pre-migration checks would run as ordinary statements: write them as a DO block that raises",
	"import":     "copy the statements into the file",
}

// readDirectives reads how the file is to be run, and refuses directives that
// Atlas would pass over.
func (f *file) readDirectives(atlas *migrate.LocalFile) error {
	modes := 0
	for _, m := range directive.FindAllSubmatchIndex(atlas.Bytes(), -1) {
		line, content := lineOf(atlas.Bytes(), m[2]), string(atlas.Bytes())
		name := content[m[2]:m[3]]
		if hint, ok := unsupported[name]; ok {
			return invalid(f.name, line, "the directive atlas:%s is not supported", name).WithHint("%s", hint)
		}
		if name != "txmode" {
			continue
		}
		modes++
		if err := f.readTxMode(atlas, line, modes); err != nil {
			return err
		}
	}
	return nil
}

func (f *file) readTxMode(atlas *migrate.LocalFile, line, nth int) error {
	modes := atlas.Directive("txmode")
	switch {
	case len(modes) == 0:
		return invalid(f.name, line, "atlas:txmode is not followed by a blank line, so it would %s", noEffect).
			WithHint("put it at the top of the file and a blank line after it")
	case nth > 1:
		return invalid(f.name, line, "a second atlas:txmode")
	case modes[0] == "none" && f.down:
		return invalid(f.name, line, "a down file runs in a transaction").WithHint("drop indexes without CONCURRENTLY")
	case modes[0] != "none" && modes[0] != "file":
		return invalid(f.name, line, "atlas:txmode %s is neither none nor file", modes[0])
	}
	f.alone = modes[0] == "none"
	return nil
}

// refusal is why a statement may not be part of a release.
type refusal struct {
	at   int // byte of the statement
	what string
	hint string
}

func (r *refusal) Error() string { return r.what }

const (
	oneMessage = "a file runs in a transaction of Manor's, together with the proof of its tenant and the revision"
	tooLate    = "SET TRANSACTION comes too late: the transaction has begun"
	outlives   = "outlives the migration and reaches beyond the tenant's home"
	notOurs    = "use SET LOCAL, or leave it to whoever runs the cluster"

	leadsOut  = "would lead out of the tenant"
	noEffect  = "have no effect"
	needsNone = "cannot run in a transaction"
)

// forbidden are statements that would break out of the transaction, of the
// tenant or of the session, by their first words.
var forbidden = []struct{ words, what, hint string }{
	{"COMMIT", "COMMIT would end the transaction", oneMessage},
	{"END", "END would end the transaction", oneMessage},
	{"ROLLBACK", "ROLLBACK would end the transaction", oneMessage},
	{"ABORT", "ABORT would end the transaction", oneMessage},
	{"BEGIN", "BEGIN would begin a transaction of its own", oneMessage},
	{"START", "START TRANSACTION would begin a transaction of its own", oneMessage},
	{"SAVEPOINT", "SAVEPOINT is transaction control", oneMessage},
	{"RELEASE", "RELEASE is transaction control", oneMessage},
	{"PREPARE", "PREPARE outlives the transaction", oneMessage},
	{"EXECUTE", "EXECUTE needs a prepared statement of the session", oneMessage},
	{"DEALLOCATE", "DEALLOCATE changes the session", oneMessage},
	{"SET TRANSACTION", tooLate, oneMessage},
	{"SET LOCAL TRANSACTION", tooLate, oneMessage},
	{"DISCARD", "DISCARD changes the session", oneMessage},
	{"LISTEN", "LISTEN outlives the transaction", oneMessage},
	{"UNLISTEN", "UNLISTEN changes the session", oneMessage},
	{"LOAD", "LOAD outlives the transaction", oneMessage},
	{"RESET", "RESET changes the session", "use SET LOCAL"},
	{"ALTER SYSTEM", "ALTER SYSTEM " + outlives, notOurs},
}

// check refuses the statement where it would break out of its message.
func (s *statement) check(alone bool) error {
	for _, f := range forbidden {
		if s.begins(f.words) {
			return &refusal{s.tokens[0].at, f.what, f.hint}
		}
	}
	for _, check := range []func() *refusal{
		s.checkNames, s.checkSet, s.checkSetConfig, s.checkSettings, s.checkAlterSet, s.checkManor,
		s.checkCopy, s.checkCursor, s.checkMeta, s.checkConcurrently,
	} {
		if r := check(); r != nil {
			return r
		}
	}
	if !alone && (s.mode == concurrently || s.mode == outside) {
		return &refusal{s.tokens[0].at, s.what() + " " + needsNone,
			"begin the file with the line `-- atlas:txmode none` and a blank line"}
	}
	return nil
}

// targets are the settings that say whose data a statement reaches, encodings
// those that say how PostgreSQL's lexer reads what follows.
var (
	targets   = []string{"search_path", "schema", "role", "session_authorization", "session"}
	encodings = []string{"client_encoding", "names", "standard_conforming_strings"}
)

// fixed says why a migration may not change the setting, or nothing.
func fixed(setting string) (why, hint string) {
	same := func(s string) bool { return strings.EqualFold(s, setting) }
	switch {
	case slices.ContainsFunc(targets, same):
		return leadsOut, "name no schema: every statement runs in the tenant's own"
	case slices.ContainsFunc(encodings, same):
		return "would change how the rest of the message is read", "write the file in UTF-8, and backslashes in E'…'"
	}
	return "", ""
}

// checkNames refuses a name that is spelt so that we could not read it.
func (s *statement) checkNames() *refusal {
	for i, t := range s.tokens[1:] {
		if before := s.tokens[i]; t.is("UESCAPE") && before.kind == quoted {
			return &refusal{before.at, "UESCAPE hides a name", "write the name out"}
		}
	}
	return nil
}

// checkSet allows SET LOCAL of what is not fixed, and SET CONSTRAINTS.
func (s *statement) checkSet() *refusal {
	if !s.begins("SET") || s.begins("SET CONSTRAINTS") {
		return nil
	}
	at, rest := s.tokens[0].at, s.tokens[1:]
	if slices.ContainsFunc(rest, token.unicode) {
		return &refusal{at, `SET of a name in U&"…" hides the setting`, "write the name out"}
	}
	local := len(rest) > 0 && rest[0].is("LOCAL")
	if len(rest) > 0 && (local || rest[0].is("SESSION")) {
		rest = rest[1:]
	}
	if len(rest) > 0 {
		if why, hint := fixed(rest[0].name()); why != "" {
			return &refusal{at, fmt.Sprintf("SET %s %s", strings.ToUpper(rest[0].name()), why), hint}
		}
	}
	if !local {
		return &refusal{at, "SET outlives the transaction", "use SET LOCAL"}
	}
	return nil
}

// checkCopy refuses COPY with the client, which would wait for it forever.
func (s *statement) checkCopy() *refusal {
	if !s.begins("COPY") {
		return nil
	}
	depth := 0
	for i, t := range s.tokens[:len(s.tokens)-1] {
		next := s.tokens[i+1]
		switch {
		case t.is("("):
			depth++
		case t.is(")"):
			depth--
		case depth == 0 && (t.is("FROM") || t.is("TO")) && (next.is("STDIN") || next.is("STDOUT")):
			return &refusal{s.tokens[0].at, fmt.Sprintf("COPY %s %s needs a client that sends or takes rows",
				strings.ToUpper(t.text), strings.ToUpper(next.text)), "use INSERT"}
		}
	}
	return nil
}

func (s *statement) checkCursor() *refusal {
	if s.begins("DECLARE") && s.find("WITH", "HOLD") >= 0 {
		return &refusal{s.tokens[0].at, "a cursor WITH HOLD outlives the transaction", oneMessage}
	}
	return nil
}

// checkSetConfig allows the function that does what SET does, as pg_dump writes
// it, where we can read that it does what SET LOCAL may do.
func (s *statement) checkSetConfig() *refusal {
	for i, t := range s.tokens {
		if t.name() != "set_config" {
			continue
		}
		args := s.tokens[i+1:]
		if len(args) > 1 && args[1].plain() {
			setting := strings.ToLower(strings.Trim(args[1].text, "'"))
			if why, hint := fixed(setting); why != "" {
				return &refusal{t.at, fmt.Sprintf("set_config of %s %s", setting, why), hint}
			}
		}
		if !plainArguments(args) {
			return &refusal{t.at, "set_config takes only plain arguments here: ('setting', 'value', true)", "use SET LOCAL"}
		}
	}
	return nil
}

// plainArguments reports whether tokens begin with ('setting', 'value', true).
func plainArguments(args []token) bool {
	return len(args) > 6 && args[0].is("(") && args[1].plain() && args[2].is(",") &&
		args[3].plain() && args[4].is(",") && args[5].is("TRUE") && args[6].is(")")
}

// checkSettings refuses to update the view whose rule calls set_config.
func (s *statement) checkSettings() *refusal {
	for i, t := range s.tokens {
		if !t.is("UPDATE") {
			continue
		}
		for _, named := range s.tokens[i+1:] {
			if named.name() == "pg_settings" {
				return &refusal{t.at, "UPDATE of pg_settings changes the session", "use SET LOCAL"}
			}
			if !named.is("ONLY") && !named.is("(") && !named.is(".") && named.name() != "pg_catalog" {
				break
			}
		}
	}
	return nil
}

// checkAlterSet refuses settings that later sessions would begin with.
func (s *statement) checkAlterSet() *refusal {
	if !s.begins("ALTER ROLE") && !s.begins("ALTER USER") && !s.begins("ALTER DATABASE") {
		return nil
	}
	for _, verb := range []string{"SET", "RESET"} {
		if s.atTop(verb) {
			what := fmt.Sprintf("ALTER %s … %s %s", strings.ToUpper(s.tokens[1].text), verb, outlives)
			return &refusal{s.tokens[0].at, what, notOurs}
		}
	}
	return nil
}

// checkManor refuses what names the schema of the proofs and stamps.
func (s *statement) checkManor() *refusal {
	ddl := slices.ContainsFunc([]string{"CREATE", "DROP", "ALTER", "GRANT", "REVOKE", "COMMENT", "IMPORT", "SECURITY"}, s.begins)
	renames := s.begins("ALTER SCHEMA")
	depth := 0
	for i, t := range s.tokens {
		rest := s.tokens[i+1:]
		switch {
		case t.is("("):
			depth++
		case t.is(")"):
			depth--
		case t.name() == "manor" && len(rest) > 0 && rest[0].is("."),
			ddl && depth == 0 && t.is("SCHEMA") && listsManor(rest),
			renames && t.is("RENAME") && len(rest) > 1 && rest[1].name() == "manor":
			return &refusal{t.at, "schema manor is Manor's own", "leave it alone, and call no table or alias manor"}
		}
	}
	return nil
}

// listsManor reports whether the schemas that follow the word SCHEMA include manor.
func listsManor(list []token) bool {
	for len(list) > 0 && slices.ContainsFunc([]string{"IF", "NOT", "EXISTS", "AUTHORIZATION"}, list[0].is) {
		list = list[1:]
	}
	for len(list) > 2 && list[1].is(",") && list[0].name() != "manor" {
		list = list[2:]
	}
	return len(list) > 0 && list[0].name() == "manor"
}

func (s *statement) checkMeta() *refusal {
	for _, t := range s.tokens {
		if t.is(`\`) {
			return &refusal{t.at, "a backslash begins a command of psql's, not SQL", "write it as SQL"}
		}
	}
	return nil
}
