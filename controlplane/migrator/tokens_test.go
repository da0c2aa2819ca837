package migrator

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/manorhq/manor/controlplane"
)

func TestTokensAreThoseOfPostgreSQL(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"a B_1$ ü \"q\"\"q\"":           "a|B_1$|ü|\"q\"\"q\"",
		"'it''s' E'\\'' e'\\\\' x'1f'":  "'it''s'|E'\\''|e'\\\\'|x'1f'",
		"'\\' ; 'a'":                    "'\\'|;|'a'",
		"$$;$$ $a$ $$ $b$ $a$ $1 a$b$c": "$$;$$|$a$ $$ $b$ $a$|$1|a$b$c",
		"1.5e3 .5 1$$;$$ a.b":           "1.5e3|.5|1|$$;$$|a|.|b",
		"a--b;\n/*;/*;*/;*/c":           "a|c",
		"'a'\n 'b;' 'c' 'd'":            "'a'\n 'b;'|'c'|'d'",
		"E'a' -- x\n '\\'b' c":          "E'a' -- x\n '\\'b'|c",
		"U&'\\0061' U&\"\\0061\" u & b": "U&'\\0061'|U&\"\\0061\"|u|&|b",
		"$ü$ $u$ $ü$":                   "$ü$ $u$ $ü$",
	} {
		tokens, err := tokenize(sql)
		var got []string
		for _, t := range tokens {
			got = append(got, t.text)
		}
		if diff := cmp.Diff(want, strings.Join(got, "|")); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", sql, err, diff)
		}
	}
}

// FuzzTokens: tokens lie in their order in the SQL, nothing between them but
// blanks and comments, and a token read alone is the same token.
func FuzzTokens(f *testing.F) {
	for _, sql := range []string{
		"SELECT 'a', E'\\'', $$x$$, \"q\" -- c\n;", "/* /* */ */ U&'x' 1.5e3 $1", "CREATE FUNCTION f() BEGIN ATOMIC SELECT CASE WHEN a THEN 1 END; END;",
		"'a'\n'b'", "$a$ $b$ $a$", "$", "E'", "é\"ü\"",
	} {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		tokens, err := tokenize(sql)
		if err != nil {
			if problem := err.(*lexError); problem.at < 0 || problem.at > len(sql) {
				t.Fatalf("problem at %d of %d", problem.at, len(sql))
			}
			return
		}
		end := 0
		for _, tok := range tokens {
			if tok.at < end || !strings.HasPrefix(sql[tok.at:], tok.text) || tok.text == "" {
				t.Fatalf("token %q at %d after %d", tok.text, tok.at, end)
			}
			if between, err := tokenize(sql[end:tok.at]); err != nil || len(between) > 0 {
				t.Fatalf("lost %q before %q", sql[end:tok.at], tok.text)
			}
			again, err := tokenize(tok.text)
			if err != nil || len(again) != 1 || again[0].kind != tok.kind {
				t.Fatalf("%q alone is %v, %v", tok.text, again, err)
			}
			end = tok.at + len(tok.text)
		}
		if _, err := split(tokens); err != nil {
			_ = err.(*lexError)
		}
	})
}

// FuzzParse: no file makes Parse panic, and each statement of a file that is
// taken is one statement to PostgreSQL's lexer.
func FuzzParse(f *testing.F) {
	for _, sql := range []string{"SELECT 1;\n-- x\nSELECT 2", "-- atlas:txmode none\n\nVACUUM;", "-- atlas:delimiter x\n\nSELECT 1x", "DELIMITER //\nSELECT 1//", "BEGIN ATOMIC END;", "/*"} {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		file, err := parseFile("1_x.sql", []byte(sql))
		if err != nil {
			if controlplane.CodeOf(err) != controlplane.Invalid {
				t.Fatalf("%v", err)
			}
			return
		}
		for _, s := range file.statements {
			tokens, err := tokenize(s.sql)
			if err != nil {
				t.Fatalf("%q: %v", s.sql, err)
			}
			parts, err := split(tokens)
			if err != nil || len(parts) != 1 {
				t.Fatalf("%q: %d statements, %v", s.sql, len(parts), err)
			}
			if len(s.plain()) != len(s.sql) {
				t.Fatalf("%q is longer or shorter without CONCURRENTLY", s.sql)
			}
		}
	})
}

func TestNamesAreThoseOfPostgreSQL(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"Set_Config":               "set_config",
		"\"Set\"\"Config\"":        "Set\"Config",
		"U&\"set\\005fconfig\"":    "set_config",
		"u&\"s\\+00005Fc\"":        "s_c",
		"U&\"a\\\\0061\"\"b\"":     "a\\0061\"b",
		"U&\"\\00zz\\\"":           "\\00zz\\",
		"U&\"m\\00e9nage\\1F600\"": "ménageὠ0",
		"'text'":                   "",
	} {
		tokens, err := tokenize(sql)
		if err != nil || len(tokens) != 1 || tokens[0].name() != want {
			t.Errorf("%s: %v, %v, want %q", sql, tokens, err, want)
		}
	}
}

func TestStatementIsNamedAsTheFileHasIt(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"DROP TABLE comments;": "DROP TABLE comments", "update Users SET a = 1;": "update Users SET", "VACUUM t;": "VACUUM t",
		"CREATE INDEX CONCURRENTLY i ON t (a);": "CREATE INDEX CONCURRENTLY",
	} {
		s, err := newStatement(sql)
		if err != nil || s.what() != want {
			t.Errorf("%s: %s, %v", sql, s.what(), err)
		}
	}
}
