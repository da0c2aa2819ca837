package selector

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/manorhq/manor/controlplane"
)

// FromLabels is the expression that several -l key=value stand for: all of them.
func FromLabels(labels []string) (string, error) {
	var expr string
	for _, label := range labels {
		key, value, ok := strings.Cut(label, "=")
		if !ok || value == "" || !utf8.ValidString(value) {
			return "", controlplane.Errorf(controlplane.Invalid, "label %q is not key=value", label).
				WithHint("for example -l ring=canary")
		}
		if err := (controlplane.Labels{key: value}).Validate(); err != nil {
			return "", err
		}
		expr = And(expr, "tenant.labels["+strconv.Quote(key)+"] == "+strconv.Quote(value))
	}
	return expr, nil
}

// And is the expression that selects what both select.
func And(a, b string) string {
	switch {
	case strings.TrimSpace(a) == "":
		return b
	case strings.TrimSpace(b) == "":
		return a
	}
	return enclose(a) + " && " + enclose(b)
}

// enclose puts an expression in parentheses, which a comment at its end would swallow.
func enclose(expr string) string {
	if strings.Contains(expr, "//") {
		expr += "\n"
	}
	return "(" + expr + ")"
}
