package daemon_test

import (
	"testing"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/pgtest"
)

// TestRequirement02AColumnReachesAThousandSchemasInHalfAMinute, by one worker,
// with the check of each: in an ordinary run a tenth of them, on a machine that
// does other things.
func TestRequirement02AColumnReachesAThousandSchemasInHalfAMinute(t *testing.T) {
	t.Parallel()
	n := sized(100, 1000)
	p := controlplanetest.Open(t, controlplanetest.Options{Idle: true})
	server := pgtest.NewServer(t, devpg.Config{})
	p.AddServer("one", server)
	p.Working(func() { p.Like(server, p.Create(controlplane.NewTenant{}, "acme")[0], n-1) })
	p.Push("v1", controlplanetest.First())
	files := controlplanetest.First()
	files["3_column.sql"] = "ALTER TABLE notes ADD COLUMN pinned bool;\n"
	p.Push("v2", files)
	p.Working(func() {
		all := controlplane.Counts{controlplane.TargetSucceeded: n}
		ends(t, p.Rollout(controlplane.NewRollout{Release: "v1"}), controlplane.RolloutSucceeded, all)
		began := time.Now()
		ends(t, p.Rollout(controlplane.NewRollout{Release: "v2"}), controlplane.RolloutSucceeded, all)
		took := time.Since(began)
		t.Logf("%d tenants took %s", n, took.Round(10*time.Millisecond))
		if took > 30*time.Second {
			t.Errorf("%d tenants took %s", n, took)
		}
	})
}
