package pg

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/internal/pgtest"
)

func TestNamesAreOpaqueAndOwnedByNobody(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		name := NewName("t_")
		if !regexp.MustCompile(`^t_[a-z2-7]{16}$`).MatchString(name) || seen[name] {
			t.Fatalf("name %q", name)
		}
		seen[name] = true
	}
}

func TestQuotedTextComesBackAsItWas(t *testing.T) {
	t.Parallel()
	f := &fixture{t: t, server: pgtest.Server(t)}
	for _, conforming := range []string{"on", "off"} {
		conn := f.super("postgres")
		exec(t, conn, "SET standard_conforming_strings = "+conforming)
		rapid.Check(t, func(t *rapid.T) {
			text := rapid.StringOfN(rapid.SampledFrom([]rune(`'"\a;-$é`+"\n")), 1, 20, 60).Draw(t, "text")
			results, err := conn.PgConn().Exec(context.Background(), "SELECT "+Literal(text)+" AS "+Quote(text)).ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			if literal, column := string(results[0].Rows[0][0]), results[0].FieldDescriptions[0].Name; literal != text || column != text {
				t.Fatalf("%q came back as %q and %q", text, literal, column)
			}
		})
	}
}

func TestPasswordsAreLongAndVerifiersSalted(t *testing.T) {
	t.Parallel()
	a, b := NewPassword(), NewPassword()
	if len(a.Reveal()) != 43 || a.Reveal() == b.Reveal() {
		t.Error("passwords are short or alike")
	}
	first, err := Verifier(a)
	must(t, err)
	second, err := Verifier(a)
	must(t, err)
	if first == second || !strings.HasPrefix(first, "SCRAM-SHA-256$4096:") {
		t.Errorf("verifiers %s and %s", first, second)
	}
	for _, password := range []string{"", "pässword", "a\x00b"} {
		if _, err := Verifier(controlplane.NewSecret(password)); controlplane.CodeOf(err) != controlplane.Invalid {
			t.Errorf("%q: %v", password, err)
		}
	}
}

func TestRetryRepeatsConflictsOnly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err   error
		tries int
	}{
		"serialization failure":      {&pgconn.PgError{Code: "40001"}, 3},
		"deadlock":                   {&pgconn.PgError{Code: "40P01"}, 3},
		"tuple concurrently updated": {&pgconn.PgError{Code: "XX000", Message: "tuple concurrently updated"}, 3},
		"the role is gone":           {&pgconn.PgError{Code: "XX000", Message: "could not find tuple for role 17453"}, 3},
		"database in use":            {&pgconn.PgError{Code: "55006"}, 3},
		"somebody made it meanwhile": {&pgconn.PgError{Code: "23505", SchemaName: "pg_catalog"}, 3},
		"a bug of the server's":      {&pgconn.PgError{Code: "XX000", Message: "unexpected chunk"}, 1},
		"a tenant's duplicate":       {&pgconn.PgError{Code: "23505", SchemaName: "t_x", ConstraintName: "users_pkey"}, 1},
		"missing right":              {&pgconn.PgError{Code: "42501"}, 1},
		"decided":                    {foreign("role x"), 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tries := 0
			err := Retry(t.Context(), func() error {
				if tries++; tries < 3 {
					return c.err
				}
				return nil
			})
			if tries != c.tries || (err == nil) != (tries == 3) || err != nil && !errors.Is(err, c.err) {
				t.Errorf("%d tries, then %v", tries, err)
			}
		})
	}
}
