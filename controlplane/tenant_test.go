package controlplane_test

import (
	"strings"
	"testing"

	"github.com/manorhq/manor/controlplane"
)

func TestExternalIDsAreTextInOneLine(t *testing.T) {
	for id, ok := range map[string]bool{
		"": true, "4711": true, "Größe / 7": true, "a\u00a0b": true,
		"a\nb": false, "a\x00": false, "\x1b[31mred": false, "a\tb": false, "\x7f": false, "\u0085": false, "\xff": false,
		strings.Repeat("a", 256): false,
	} {
		n := controlplane.NewTenant{Slug: "acme", ExternalID: id}
		change := controlplane.TenantChange{ExternalID: &id}
		for what, err := range map[string]error{"create": n.Validate(), "set": change.Validate("acme")} {
			if (err == nil) != ok || err != nil && controlplane.CodeOf(err) != controlplane.Invalid {
				t.Errorf("%s with external id %q: %v", what, id, err)
			}
		}
	}
}
