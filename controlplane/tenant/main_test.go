package tenant_test

import (
	"testing"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
)

func TestMain(m *testing.M) { controlplanetest.Main(m) }

// both runs a test in both isolations.
func both(t *testing.T, f func(t *testing.T, like controlplane.NewTenant)) {
	for _, isolation := range controlplane.Isolations {
		t.Run(string(isolation), func(t *testing.T) {
			t.Parallel()
			f(t, controlplane.NewTenant{Isolation: isolation})
		})
	}
}
