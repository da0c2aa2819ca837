package daemon_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
)

// waiting is a release whose next version a tenant can be held up in.
func waiting() map[string]string {
	return release(map[string]string{"3_wait.sql": waits + "ALTER TABLE notes ADD COLUMN pinned bool;\n"})
}

// TestSlowTenantsDoNotHoldUpTheOthersOfTheirBatch: as many as the batch has
// lanes, at its head.
func TestSlowTenantsDoNotHoldUpTheOthersOfTheirBatch(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, controlplanetest.Slugs("acme", 20)...)
	p.Push("v2", waiting())
	var goOn []func()
	for _, slug := range controlplanetest.Slugs("acme", 4) {
		goOn = append(goOn, wait(p, slug))
	}
	id := begin(t, p, controlplane.NewRollout{Release: "v2", BatchSize: 20, Concurrency: 8, PerDatabase: 8})
	until(t, p, id, "the others are done", func(r *controlplane.Rollout) bool { return r.Counts[controlplane.TargetSucceeded] == 16 })
	r, err := p.ShowRollout(t.Context(), id)
	if err != nil || r.Counts[controlplane.TargetRunning] != 4 {
		t.Errorf("the slow ones are not at work: %+v, %v", r.Counts, err)
	}
	for _, f := range goOn {
		f()
	}
	ends(t, p.Rested(id), controlplane.RolloutSucceeded, controlplane.Counts{controlplane.TargetSucceeded: 20})
}

// listens follows the events of a rollout until it rests.
func listens(t *testing.T, p *controlplanetest.Plane) (heard func() []controlplane.Event) {
	t.Helper()
	after, err := p.EventsHead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var events []controlplane.Event
	var listening sync.WaitGroup
	listening.Go(func() {
		_ = p.Events(ctx, after, func(e controlplane.Event) error {
			events = append(events, e)
			var data controlplane.RolloutEvent
			if e.Kind == controlplane.EventRolloutChanged && json.Unmarshal(e.Data, &data) == nil && data.State.Resting() {
				return context.Canceled
			}
			return nil
		})
	})
	t.Cleanup(func() { cancel(); listening.Wait() })
	return func() []controlplane.Event { listening.Wait(); return events }
}

// TestResultsOfALongBatchReachTheCatalogWhileItRuns, as does who is in hand.
func TestResultsOfALongBatchReachTheCatalogWhileItRuns(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, controlplanetest.Slugs("acme", 10)...)
	p.Push("v2", waiting())
	goOn := wait(p, "acme-005")
	heard := listens(t, p)
	id := begin(t, p, controlplane.NewRollout{Release: "v2", BatchSize: 10, PerDatabase: 2})
	until(t, p, id, "nine tenants are stored and the tenth is named", func(r *controlplane.Rollout) bool {
		return r.Counts[controlplane.TargetSucceeded] == 9 && len(r.InHand) == 1 && r.InHand[0].Tenant == "acme-005"
	})
	status, err := p.Status(t.Context())
	if err != nil || len(status.Versions) != 2 {
		t.Errorf("status %+v, %v", status, err)
	}
	goOn()
	p.Rested(id)
	var kinds []string
	for _, e := range heard() {
		if e.Subject != id {
			continue
		}
		var data controlplane.RolloutEvent
		if err := json.Unmarshal(e.Data, &data); err != nil || data.Counts.Sum() != 10 {
			t.Errorf("%s tells of %+v, %v", e.Kind, data, err)
		}
		if kinds = append(kinds, e.Kind); e.Kind == controlplane.EventBatchProgress {
			kinds[len(kinds)-1] = fmt.Sprintf("%s %d", e.Kind, data.Counts[controlplane.TargetSucceeded])
		}
	}
	text := strings.Join(kinds, ", ")
	if progress, finished := strings.Index(text, "batch.progress 9"), strings.Index(text, "batch.finished"); progress < 0 || finished < progress {
		t.Errorf("heard %s", text)
	}
}
