package daemon_test

import (
	"testing"

	"github.com/manorhq/manor/controlplane/controlplanetest"
)

func TestMain(m *testing.M) { controlplanetest.Main(m) }
