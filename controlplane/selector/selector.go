package selector

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"

	"github.com/manorhq/manor/controlplane"
)

const (
	maxLength = 4096    // characters of an expression
	maxCost   = 100_000 // of one evaluation, in CEL's units; a comparison is about one
)

// Selector is a compiled expression. Safe for concurrent use.
type Selector struct {
	expr    string
	program cel.Program // nil selects all
}

var environment = sync.OnceValues(func() (*cel.Env, error) {
	base, err := cel.NewEnv()
	if err != nil {
		return nil, err
	}
	return base.Extend(
		cel.CustomTypeProvider(tenantTypes{base.CELTypeProvider()}),
		cel.Variable("tenant", tenantType),
		cel.ParserExpressionSizeLimit(maxLength),
		cel.ASTValidators(cel.ValidateRegexLiterals()),
	)
})

// Compile checks an expression, types included. "" selects all tenants. The
// error is Invalid, says where in the expression, and names the fields there
// are when one is unknown.
func Compile(expr string) (*Selector, error) {
	if strings.TrimSpace(expr) == "" {
		return &Selector{}, nil
	}
	program, err := compile(expr, cel.BoolType, "a condition that is true or false", `compare it with something, as in tenant.region == "eu"`)
	if err != nil {
		return nil, err
	}
	return &Selector{expr, program}, nil
}

// compile checks an expression that is to give a value of a type, wanted in words.
func compile(expr string, gives *cel.Type, wanted, hint string) (cel.Program, error) {
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("preparing CEL: %w", err)
	}
	if len(expr) > maxLength {
		return nil, invalid("it is longer than %d characters", maxLength)
	}
	ast, issues := env.Compile(expr)
	if err := explain(expr, issues); err != nil {
		return nil, err
	}
	if t := ast.OutputType(); !t.IsExactType(gives) {
		return nil, invalid("it is a %s, not %s", t, wanted).WithHint("%s", hint)
	}
	program, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost))
	if err != nil {
		return nil, invalid("%w", err)
	}
	return program, nil
}

// String is the expression.
func (s *Selector) String() string { return s.expr }

// Matches reports whether the expression is true of t. A tenant that lacks a
// label the answer hangs on does not match, whatever it is compared with;
// has(tenant.labels.ring) asks for the label itself.
func (s *Selector) Matches(t *controlplane.Tenant) (bool, error) {
	if s.program == nil {
		return true, nil
	}
	value, _, err := s.program.Eval(map[string]any{"tenant": t})
	if err != nil {
		if strings.HasPrefix(err.Error(), "no such key: ") {
			return false, nil
		}
		return false, controlplane.Errorf(controlplane.Invalid, "the selector %q fails on tenant %s: %w", s.expr, t.Slug, err)
	}
	match, ok := value.Value().(bool)
	if !ok {
		return false, controlplane.Errorf(controlplane.Internal, "the selector %q answered %v on tenant %s", s.expr, value, t.Slug)
	}
	return match, nil
}

func invalid(format string, args ...any) *controlplane.Error {
	return controlplane.Errorf(controlplane.Invalid, "the selector is not valid: "+format, args...)
}

var (
	unknownName    = regexp.MustCompile(`^(undefined field|undeclared reference)`)
	loneEqualsSign = regexp.MustCompile(`token recognition error at: '= ?'`)
	badOperands    = regexp.MustCompile(`^found no matching overload for '_(\S+)_' applied to '\((.+), (.+)\)'$`)
)

// explain turns CEL's issues into one error that shows where each is.
func explain(expr string, issues *cel.Issues) error {
	if issues.Err() == nil {
		return nil
	}
	source := common.NewStringSource(expr, "selector")
	var places []string
	hint := `for example: tenant.tier == "pro" && tenant.labels.ring == "canary"`
	for _, issue := range issues.Errors() {
		places = append(places, place(source, issue))
		switch {
		case unknownName.MatchString(issue.Message):
			hint = "fields: " + strings.Join(fieldNames(), ", ")
		case loneEqualsSign.MatchString(issue.Message):
			hint = "== compares"
		}
	}
	return controlplane.Errorf(controlplane.Invalid, "the selector is not valid: %w", errors.New(strings.Join(places, "\n"))).WithHint("%s", hint)
}

// plain says in words what CEL says in its own.
func plain(message string) string {
	message = strings.ReplaceAll(message, " (in container '')", "")
	return badOperands.ReplaceAllString(message, "$1 does not go with $2 and $3")
}

// place is the message with the line it is about and a caret below the column.
func place(source common.Source, issue *cel.Error) string {
	line, column := issue.Location.Line(), issue.Location.Column()
	message := plain(issue.Message)
	text, ok := source.Snippet(line)
	if !ok || column < 0 {
		return message
	}
	text = strings.ReplaceAll(text, "\t", " ")
	return fmt.Sprintf("line %d, column %d: %s\n  %s\n  %s^", line, column+1, message, text, strings.Repeat(" ", column))
}
