package pg

import (
	"crypto/rand"
	"encoding/base32"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
)

var base32Name = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewName returns prefix and 16 random characters of [a-z2-7]: 80 bits, so that
// a name is never used twice.
func NewName(prefix string) string {
	var b [10]byte
	rand.Read(b[:]) // never fails
	return prefix + base32Name.EncodeToString(b[:])
}

// Quote writes an identifier as SQL wants it, whatever is in it.
func Quote(ident string) string { return pgx.Identifier{ident}.Sanitize() }

// Literal writes a string constant as SQL wants it. It does not depend on
// standard_conforming_strings.
func Literal(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\x00", ""), "'", "''")
	if strings.Contains(s, `\`) {
		return ` E'` + strings.ReplaceAll(s, `\`, `\\`) + `'`
	}
	return "'" + s + "'"
}

// physicalName is what the names of things that Manor makes look like. Names
// that people chose never become identifiers.
var physicalName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// checkNames refuses names that Manor cannot have made, before they get near SQL.
func checkNames(names ...string) error {
	for _, name := range names {
		if !physicalName.MatchString(name) || strings.HasPrefix(name, "pg_") {
			return controlplane.Errorf(controlplane.Internal, "%q is not a name that Manor gives to a database, schema or role", name)
		}
	}
	return nil
}

// quoteList quotes identifiers and separates them with commas.
func quoteList(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = Quote(name)
	}
	return strings.Join(quoted, ", ")
}
