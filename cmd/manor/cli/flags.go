package cli

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/manorhq/manor/controlplane"
)

// parseLabels reads k=v pairs; several may stand in one value, separated by commas.
func parseLabels(pairs []string) (controlplane.Labels, error) {
	labels := controlplane.Labels{}
	for _, p := range splitPairs(pairs) {
		key, value, ok := strings.Cut(p, "=")
		if !ok || key == "" {
			return nil, controlplane.Errorf(controlplane.Invalid, "label %q is not of the form key=value", p)
		}
		if old, twice := labels[key]; twice && old != value {
			return nil, controlplane.Errorf(controlplane.Invalid, "label %s is given twice, as %q and %q", key, old, value)
		}
		labels[key] = value
	}
	return labels, labels.Validate()
}

// splitPairs cuts "a=1,b=2" into its pairs and leaves "a=1,2" whole.
func splitPairs(values []string) []string {
	var pairs []string
	for _, v := range values {
		parts := strings.Split(v, ",")
		if slices.ContainsFunc(parts, func(s string) bool { return !strings.Contains(s, "=") }) {
			parts = []string{v}
		}
		pairs = append(pairs, parts...)
	}
	return pairs
}

// selection is the flags that choose tenants.
type selection struct {
	expr   string
	labels []string
}

func selectionFlags(cmd *cobra.Command) *selection {
	s := &selection{}
	cmd.Flags().StringVar(&s.expr, "select", "", "tenants for which this CEL `expression` holds, such as 'tenant.tier == \"pro\"'")
	cmd.Flags().StringArrayVarP(&s.labels, "label", "l", nil, "tenants with the label `k=v`; several must all match")
	return s
}

// celKeywords cannot follow a dot in CEL.
var celKeywords = []string{
	"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop",
	"namespace", "null", "package", "return", "true", "var", "void", "while",
}

var celIdentifier = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

// expression is the selection as one CEL expression: "" selects all tenants.
// Package selector is the service's; the text is all that goes over.
func (s *selection) expression() (string, error) {
	labels, err := parseLabels(s.labels)
	if err != nil {
		return "", err
	}
	var terms []string
	if strings.TrimSpace(s.expr) != "" {
		terms = append(terms, s.expr)
	}
	for _, k := range sortedKeys(labels) {
		field := "tenant.labels." + k
		if !celIdentifier.MatchString(k) || slices.Contains(celKeywords, k) {
			field = "tenant.labels[" + strconv.Quote(k) + "]"
		}
		terms = append(terms, field+" == "+strconv.Quote(labels[k]))
	}
	if len(terms) > 1 && strings.TrimSpace(s.expr) != "" {
		terms[0] = enclose(terms[0])
	}
	return strings.Join(terms, " && "), nil
}

// enclose puts an expression in parentheses, which a comment at its end would swallow.
func enclose(expr string) string {
	if strings.Contains(expr, "//") {
		expr += "\n"
	}
	return "(" + expr + ")"
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// changed returns the flag's value if it was given, for changes whose nil
// fields stay.
func changed[T any](cmd *cobra.Command, name string, value T) *T {
	if !cmd.Flags().Changed(name) {
		return nil
	}
	return &value
}

// noneChanged reports whether none of the named flags was given.
func noneChanged(cmd *cobra.Command, names ...string) bool {
	return !slices.ContainsFunc(names, cmd.Flags().Changed)
}
