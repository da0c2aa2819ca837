package migrator

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// tokenKind is what PostgreSQL's lexer makes of a piece of SQL, as far as it
// matters here.
type tokenKind uint8

const (
	word    tokenKind = iota // a keyword or an identifier without quotes
	quoted                   // an identifier in double quotes
	text                     // a string constant of any kind
	number                   // a number or a parameter
	special                  // one character of anything else
)

// token is a piece of SQL with the byte where it begins.
type token struct {
	kind tokenKind
	text string
	at   int
}

// is reports whether the token is this keyword, given in upper case, or this
// special character.
func (t token) is(s string) bool {
	return t.kind == word && strings.EqualFold(t.text, s) || t.kind == special && t.text == s
}

// name is the identifier that the token stands for, or "".
func (t token) name() string {
	switch t.kind {
	case word:
		return strings.ToLower(t.text)
	case quoted:
		name := strings.ReplaceAll(t.text[strings.IndexByte(t.text, '"')+1:len(t.text)-1], `""`, `"`)
		if t.unicode() {
			return unescape(name)
		}
		return name
	}
	return ""
}

// unicode reports whether the token is an identifier in U&"…".
func (t token) unicode() bool { return t.kind == quoted && t.text[0] != '"' }

// plain reports whether the token is a string constant in one pair of quotes,
// with nothing to decode.
func (t token) plain() bool {
	return t.kind == text && t.text[0] == '\'' && strings.Count(t.text, "'") == 2
}

var escape = regexp.MustCompile(`\\(?:\\|\+([0-9A-Fa-f]{6})|([0-9A-Fa-f]{4}))`)

// unescape decodes what stands in U&"…". What PostgreSQL would not take stays.
func unescape(name string) string {
	return escape.ReplaceAllStringFunc(name, func(e string) string {
		if e == `\\` {
			return `\`
		}
		code, err := strconv.ParseUint(strings.TrimPrefix(e[1:], "+"), 16, 32)
		if err != nil || code > utf8.MaxRune {
			return e
		}
		return string(rune(code))
	})
}

// lexError says what is wrong at a byte of the SQL.
type lexError struct {
	at      int
	problem string
}

func (e *lexError) Error() string { return fmt.Sprintf("%s at byte %d", e.problem, e.at) }

// tokenize reads SQL as PostgreSQL's lexer does with standard_conforming_strings
// on (src/backend/parser/scan.l). Comments and white space are left out.
func tokenize(sql string) ([]token, error) {
	l := lexer{sql: sql}
	var tokens []token
	for {
		t, ok, err := l.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			return tokens, nil
		}
		tokens = append(tokens, t)
	}
}

type lexer struct {
	sql string
	pos int
}

func (l *lexer) next() (t token, ok bool, err error) {
	if err := l.skipBlank(); err != nil || l.pos == len(l.sql) {
		return token{}, false, err
	}
	start := l.pos
	kind, end, err := l.scan()
	if err != nil {
		return token{}, false, err
	}
	l.pos = end
	return token{kind, l.sql[start:end], start}, true, nil
}

// scan finds the kind and the end of the token at l.pos.
func (l *lexer) scan() (tokenKind, int, error) {
	switch c := l.sql[l.pos]; {
	case c == '\'':
		end, err := l.quote(l.pos, '\'', false)
		return text, end, err
	case c == '"':
		end, err := l.quote(l.pos, '"', false)
		return quoted, end, err
	case c == '$':
		return l.dollar()
	case startsWord(c):
		return l.word()
	case isDigit(c), c == '.' && l.pos+1 < len(l.sql) && isDigit(l.sql[l.pos+1]):
		return number, l.number(), nil
	}
	_, size := utf8.DecodeRuneInString(l.sql[l.pos:])
	return special, l.pos + size, nil
}

func (l *lexer) skipBlank() error {
	for l.pos < len(l.sql) {
		rest := l.sql[l.pos:]
		switch {
		case strings.IndexByte(" \t\n\r\f\v", rest[0]) >= 0:
			l.pos++
		case strings.HasPrefix(rest, "--"):
			end := strings.IndexAny(rest, "\n\r")
			if end < 0 {
				end = len(rest)
			}
			l.pos += end
		case strings.HasPrefix(rest, "/*"):
			if err := l.skipComment(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

// skipComment steps over a comment in /* */, which may hold others.
func (l *lexer) skipComment() error {
	start, depth := l.pos, 0
	for l.pos < len(l.sql) {
		switch rest := l.sql[l.pos:]; {
		case strings.HasPrefix(rest, "/*"):
			depth++
			l.pos += 2
		case strings.HasPrefix(rest, "*/"):
			depth--
			l.pos += 2
		default:
			l.pos++
		}
		if depth == 0 {
			return nil
		}
	}
	return &lexError{start, "unterminated comment"}
}

// quote returns the end of what begins with a quote at start. A doubled quote
// stands for one; a backslash escapes in E” only.
func (l *lexer) quote(start int, mark byte, escapes bool) (int, error) {
	for i := start + 1; i < len(l.sql); i++ {
		switch {
		case escapes && l.sql[i] == '\\':
			i++
		case l.sql[i] != mark:
		case i+1 < len(l.sql) && l.sql[i+1] == mark:
			i++
		case mark == '\'' && l.continued(i+1) > 0:
			i = l.continued(i + 1)
		default:
			return i + 1, nil
		}
	}
	if mark == '"' {
		return 0, &lexError{l.pos, "unterminated quoted identifier"}
	}
	return 0, &lexError{l.pos, "unterminated string"}
}

// continued returns where a string goes on that was closed just before byte at,
// which it does after white space with a newline in it; else 0.
func (l *lexer) continued(at int) int {
	newline := false
	for i := at; i < len(l.sql); i++ {
		switch c := l.sql[i]; {
		case c == '\n' || c == '\r':
			newline = true
		case strings.IndexByte(" \t\f\v", c) >= 0:
		case strings.HasPrefix(l.sql[i:], "--"):
			end := strings.IndexAny(l.sql[i:], "\n\r")
			if end < 0 {
				return 0
			}
			i += end - 1
		case c == '\'' && newline:
			return i
		default:
			return 0
		}
	}
	return 0
}

// dollar reads $tag$…$tag$, a parameter, or a single $.
func (l *lexer) dollar() (tokenKind, int, error) {
	end := l.pos + 1
	if end < len(l.sql) && isDigit(l.sql[end]) {
		return number, l.number(), nil
	}
	for end < len(l.sql) && (startsWord(l.sql[end]) || isDigit(l.sql[end])) {
		end++
	}
	if end == len(l.sql) || l.sql[end] != '$' {
		return special, l.pos + 1, nil
	}
	tag := l.sql[l.pos : end+1]
	length := strings.Index(l.sql[end+1:], tag)
	if length < 0 {
		return 0, 0, &lexError{l.pos, "unterminated dollar-quoted string"}
	}
	return text, end + 1 + length + len(tag), nil
}

// word reads an identifier, or a string or quoted identifier with a prefix.
func (l *lexer) word() (tokenKind, int, error) {
	rest := l.sql[l.pos:]
	if len(rest) > 1 && rest[1] == '\'' && strings.IndexByte("eEbBxXnN", rest[0]) >= 0 {
		end, err := l.quote(l.pos+1, '\'', rest[0]|0x20 == 'e')
		return text, end, err
	}
	if len(rest) > 2 && rest[0]|0x20 == 'u' && rest[1] == '&' && (rest[2] == '\'' || rest[2] == '"') {
		end, err := l.quote(l.pos+2, rest[2], false)
		if rest[2] == '"' {
			return quoted, end, err
		}
		return text, end, err
	}
	end := l.pos + 1
	for end < len(l.sql) && (startsWord(l.sql[end]) || isDigit(l.sql[end]) || l.sql[end] == '$') {
		end++
	}
	return word, end, nil
}

// number reads a number or a parameter, and any letters that stick to it.
func (l *lexer) number() int {
	end := l.pos + 1
	for end < len(l.sql) && (isDigit(l.sql[end]) || startsWord(l.sql[end]) || l.sql[end] == '.') {
		end++
	}
	return end
}

func startsWord(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c >= 0x80
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// split cuts tokens into statements at the semicolons that end one for
// PostgreSQL: not in parentheses, not in BEGIN ATOMIC … END. The semicolons are
// left out, and so are statements without a token.
func split(tokens []token) ([][]token, error) {
	var statements [][]token
	var parens, blocks, start int
	for i, t := range tokens {
		switch {
		case t.is("("):
			parens++
		case t.is(")"):
			parens--
		case t.is("BEGIN") && i+1 < len(tokens) && tokens[i+1].is("ATOMIC") && i > start,
			t.is("CASE") && blocks > 0:
			blocks++
		case t.is("END") && blocks > 0:
			blocks--
		case t.is(";") && parens <= 0 && blocks == 0:
			if i > start {
				statements = append(statements, tokens[start:i])
			}
			start, parens = i+1, 0
		}
	}
	if start < len(tokens) {
		statements = append(statements, tokens[start:])
	}
	if blocks > 0 {
		return nil, &lexError{tokens[start].at, "BEGIN ATOMIC without END"}
	}
	return statements, nil
}
