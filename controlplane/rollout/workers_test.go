package rollout

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/work"
	"github.com/manorhq/manor/ent"
)

func TestWorkersAreListedWithWhatTheyHoldAndTheSilentOnesAreNamed(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	until := at.Add(leaseTime)
	hand := []controlplane.InHand{{Tenant: "acme", Since: at}}
	process := func(id string, works bool, silence time.Duration) work.Seen {
		return work.Seen{Process: work.Process{ID: id, Version: "v1", Works: works}, StartedAt: at, SeenAt: at, Silence: silence}
	}
	holding := func(worker, rollout string, number int) *ent.Batch {
		return &ent.Batch{Worker: worker, RolloutID: rollout, Number: number, ClusterID: "c_1", LeasedAt: &at, LeaseUntil: &until, Size: 20, Finished: 3, InHand: hand}
	}
	held := func(rollout string, number int) controlplane.WorkerBatch {
		return controlplane.WorkerBatch{Rollout: rollout, Batch: number, Cluster: "east", Since: at, Targets: 20, Done: 3, InHand: hand}
	}
	got := workers(
		[]work.Seen{process("idle", true, 3*time.Second), process("silent", true, 11*time.Second), process("cli", false, 0), process("at work", true, 0)},
		[]*ent.Batch{holding("at work", "r_1", 1), holding("gone", "r_1", 2), holding("at work", "r_2", 7)},
		[]*ent.Tenant{{Slug: "acme", Worker: "idle", TakenAt: &at}, {Slug: "bolt", Worker: "dead", TakenAt: &at}},
		map[string]string{"c_1": "east"})
	none := []controlplane.InHand{}
	want := []controlplane.Worker{
		{ID: "at work", Version: "v1", StartedAt: at, SeenAt: at, Batches: []controlplane.WorkerBatch{held("r_1", 1), held("r_2", 7)}, Homes: none},
		{ID: "gone", StartedAt: at, SeenAt: at, Silent: true, Batches: []controlplane.WorkerBatch{held("r_1", 2)}, Homes: none},
		{ID: "idle", Version: "v1", StartedAt: at, SeenAt: at, Batches: []controlplane.WorkerBatch{}, Homes: hand},
		{ID: "silent", Version: "v1", StartedAt: at, SeenAt: at, Silent: true, Batches: []controlplane.WorkerBatch{}, Homes: none},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
