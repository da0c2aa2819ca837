package migrator

import "strings"

// maskedLength is how much of a query people are shown, in characters.
const maskedLength = 200

// masked is a query without the values in it, which may be a tenant's data, and
// without comments, in one line and shortened. It stops where it can no longer
// tell what is a value: where the server cut the query, or where a string would
// end elsewhere with standard_conforming_strings off.
func masked(query string) string {
	l := lexer{sql: query}
	var b strings.Builder
	for {
		before := l.pos
		t, ok, err := l.next()
		if !ok && err == nil {
			return shortened(b.String())
		}
		if b.Len() > 0 && (err != nil || t.at > before) {
			b.WriteByte(' ')
		}
		if err != nil {
			return shortened(b.String() + "…")
		}
		b.WriteString(t.masked())
		if t.kind == text && t.text[0] == '\'' && strings.Contains(t.text, `\`) {
			return shortened(b.String() + " …")
		}
	}
}

// masked is the token, or a question mark in place of a value.
func (t token) masked() string {
	if t.kind == text || t.kind == number && t.text[0] != '$' {
		return "?"
	}
	return t.text
}

func shortened(s string) string {
	if runes := []rune(s); len(runes) > maskedLength {
		return string(runes[:maskedLength-1]) + "…"
	}
	return s
}
