package selector

import (
	"strings"

	"cel.dev/cel-go/cel"

	"github.com/manorhq/manor/controlplane"
)

// Order sorts tenants by texts, ascending. Safe for concurrent use.
type Order struct {
	exprs    []string
	programs []cel.Program
}

// CompileOrder checks expressions that each give a text, the first of which
// goes before the second. The error is as that of [Compile].
func CompileOrder(exprs []string) (*Order, error) {
	o := &Order{exprs: exprs}
	for _, expr := range exprs {
		program, err := compile(expr, cel.StringType, "a text to order by", "for example tenant.region or tenant.labels.ring")
		if err != nil {
			return nil, err
		}
		o.programs = append(o.programs, program)
	}
	return o, nil
}

// Key is what a tenant is ordered by. A label that it lacks counts as empty.
func (o *Order) Key(t *controlplane.Tenant) ([]string, error) {
	key := make([]string, len(o.programs))
	for i, program := range o.programs {
		value, _, err := program.Eval(map[string]any{"tenant": t})
		switch {
		case err == nil:
			key[i], _ = value.Value().(string)
		case !strings.HasPrefix(err.Error(), "no such key: "):
			return nil, controlplane.Errorf(controlplane.Invalid, "ordering by %q fails on tenant %s: %w", o.exprs[i], t.Slug, err)
		}
	}
	return key, nil
}
