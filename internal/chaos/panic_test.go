package chaos_test

import (
	"testing"

	"github.com/manorhq/manor/controlplane"
)

func TestPanicInAWorkerFailsOneTargetAndTheProcessLives(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, like controlplane.NewTenant) {
		b := newBlock(t, like)
		b.cure()
		d, w := b.up(), b.worker("migrator.send#1=panic", "")
		d.start()
		b.Eventually("the rollout ends", d.ended)
		r, err := b.ShowRollout(t.Context(), b.rollout)
		if err != nil || r.Counts[controlplane.TargetFailed] != 1 || r.Counts[controlplane.TargetSucceeded] != 2 {
			t.Fatalf("one of three tenants should have failed: %s, %v\n%s", r.Counts, err, &w.said)
		}
		if died, err := w.dead(); died || err != nil {
			t.Fatalf("the worker died of the panic: %v", err)
		}
		if _, err := b.RetryRollout(t.Context(), b.rollout); err != nil {
			t.Fatal(err)
		}
		b.Eventually("the rollout ends again", d.ended)
		w.kill()
		b.lapse()
		b.are("after a panic and another try", controlplane.RolloutSucceeded, controlplane.TargetSucceeded, "5")
		b.atRest("after a panic and another try")
	})
}
