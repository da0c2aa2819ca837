package daemon_test

import (
	"testing"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/faultproxy"
	"github.com/manorhq/manor/internal/pgtest"
)

// happened reports whether an event has come.
func happened(event <-chan struct{}) bool {
	select {
	case <-event:
		return true
	default:
		return false
	}
}

func TestConnectionCutAtAnyCommitLosesNothingAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	forEachIsolation(t, func(t *testing.T, like controlplane.NewTenant) {
		for _, when := range faultproxy.Moments {
			t.Run(when.String(), func(t *testing.T) {
				t.Parallel()
				server := controlplanetest.Proxy(t, pgtest.Server(t))
				f := newFleet(t, controlplanetest.Options{}, server, like, 3)
				f.Working(func() {
					for n := 1; ; n++ {
						struck := server.Proxy.Arm(faultproxy.Strike{On: "COMMIT", Nth: n, When: when})
						f.thereAndBack(f.begin(controlplane.NewRollout{BatchSize: len(f.tenants)}), n)
						if !happened(struck) {
							t.Logf("%d commits, up and down", n-1)
							return
						}
					}
				})
			})
		}
	})
}

// wrapped is the second of ledgers.
func wrapped() map[string]string {
	_, files := ledgers()
	return files
}

// unwrapped is the same with a version that has no transaction.
func unwrapped() map[string]string {
	files := wrapped()
	files["4_tags.sql"] = "-- atlas:txmode none\n\nCREATE INDEX CONCURRENTLY notes_body ON notes (body);\nINSERT INTO ledger VALUES ('up 4');\n"
	files["down/4_tags.sql"] = "DROP INDEX notes_body;\nINSERT INTO ledger VALUES ('down 4');\n"
	return files
}

func TestConnectionCutAtAnyMessageOfAFileWithoutTransaction(t *testing.T) {
	t.Parallel()
	forEachIsolation(t, func(t *testing.T, like controlplane.NewTenant) {
		for _, when := range faultproxy.Moments {
			t.Run(when.String(), func(t *testing.T) {
				t.Parallel()
				server := controlplanetest.Proxy(t, pgtest.Server(t))
				f := newFleetFor(t, unwrapped(), controlplanetest.Options{}, server, like, 1)
				f.Working(func() {
					for n := 1; ; n++ {
						struck := server.Proxy.Arm(faultproxy.Strike{On: ";", Nth: n, When: when}) // any but pings
						f.thereAndBack(f.begin(controlplane.NewRollout{BatchSize: len(f.tenants)}), n)
						if !happened(struck) {
							t.Logf("%d messages, up and down", n-1)
							return
						}
					}
				})
			})
		}
	})
}
