package tenant_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/manorhq/manor/controlplane"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// both runs a test in both isolations.
func both(t *testing.T, f func(t *testing.T, like controlplane.NewTenant)) {
	for _, isolation := range controlplane.Isolations {
		t.Run(string(isolation), func(t *testing.T) {
			t.Parallel()
			f(t, controlplane.NewTenant{Isolation: isolation})
		})
	}
}
