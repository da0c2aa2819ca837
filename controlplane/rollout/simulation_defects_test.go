package rollout

import (
	"slices"
	"testing"

	"github.com/manorhq/manor/controlplane"
)

// defects are what the simulated room can be made to do wrong. Each was wrong
// in the room once, or would be if one of its lines were missing.
var defects = []string{
	"a tenant lets older epochs in",
	"what is unknown is read, and nobody is shut out",
	"what is unknown is tried as if it were known",
	"what a dead worker had in hand counts as not begun",
	"a lost answer counts as not begun",
	"an unknown target starts anew",
	"a home in the making is worked on",
	"a newcomer joins two rollouts",
	"a decision overlooks other rollouts",
	"two decide at a time",
	"a lost batch is handed out unseen",
	"a batch is taken twice",
	"a batch is taken after a failure",
	"a batch is taken on a cluster in trouble",
	"a batch keeps its epoch",
	"a batch is worked on wider than it was handed out",
	"a target is begun after a failure",
	"a lease that has run out is worked on",
	"a result is stored twice",
	"a deferred target waits for a clock that was put back",
	"leases and jobs wait for a clock that was put back",
	"a retry takes what another rollout moved on",
	"a rollback waits for another rollout",
	"a rollback goes to where another tool was met",
	"a rollback forgets what is unknown",
	"a rollback leaves alone what is unknown",
	"a rollback forgets what an abort left unknown",
	"a rollback after an abort takes back what a later rollout did",
	"a rollback begins that was planned long ago",
	"a tenant that ends its workers is tried for ever",
	"gates are not asked",
	"waves do not soak",
	"the last report of a wave is not waited for",
	"a gate that must hold is passed by its first answer",
	"an answer counts that was asked for long ago",
	"a resume does not ask a gate again",
	"a retry goes on after waves that were passed before",
	"a soak waits for a clock that was put back",
	"a window is looked at only when batches are made",
	"a worker does not ask whether a pause is wanted",
	"a pause forgets what is queued",
	"an abort leaves open what is unknown",
	"a budget is used up by one more failure than it has",
	"a breach comes before what somebody wants",
	"a breach takes back the wave that comes next",
	"a wave that failures had taken back ends well",
	"a batch counts those who were taken out of it",
	"a rollback begins with the first wave",
	"a rollback of a wave takes back what others did",
}

// amid are the faults among which a defect shows soon, where it would be long
// in showing among all of them.
var amid = map[string]faults{
	"a batch keeps its epoch":                                       sleepers,
	"a tenant lets older epochs in":                                 sleepers,
	"what is unknown is read, and nobody is shut out":               sleepers,
	"a deferred target waits for a clock that was put back":         {locks: true, clock: true},
	"a result is stored twice":                                      {kills: true, lostAnswers: true, cuts: true, lives: true, operators: true, poison: true},
	"a retry takes what another rollout moved on":                   {operators: true, refusals: true, haste: true},
	"a rollback goes to where another tool was met":                 {locks: true, cuts: true, lives: true, operators: true, tools: true},
	"a rollback waits for another rollout":                          {kills: true, refusals: true, cuts: true, operators: true},
	"a rollback begins that was planned long ago":                   {operators: true, refusals: true, haste: true},
	"a rollback forgets what is unknown":                            {kills: true, lostAnswers: true, cuts: true, operators: true},
	"a rollback forgets what an abort left unknown":                 {kills: true, lostAnswers: true, cuts: true, operators: true},
	"a rollback after an abort takes back what a later rollout did": {kills: true, lostAnswers: true, cuts: true, operators: true},
	"a rollback leaves alone what is unknown":                       {kills: true, lostAnswers: true, cuts: true, operators: true},
	"a lost answer counts as not begun":                             {cuts: true, lostAnswers: true},
	"a lease that has run out is worked on":                         {freezes: true, lostAnswers: true},
	"an answer counts that was asked for long ago":                  {gates: true, operators: true, refusals: true, waves: true},
	"a wave that failures had taken back ends well":                 {refusals: true, haste: true, waves: true},
	"a soak waits for a clock that was put back":                    {clock: true, waves: true},
	"a breach comes before what somebody wants":                     {operators: true, refusals: true, haste: true, waves: true},
}

// sleepers wake up when somebody else has long had their batch.
var sleepers = faults{freezes: true, lostAnswers: true, lostJobs: true, clock: true, tools: true, haste: true}

// TestSimulationFindsEveryDefect shows that the simulation can fail: each
// defect breaks a promise that it checks.
func TestSimulationFindsEveryDefect(t *testing.T) {
	t.Parallel()
	for _, defect := range defects {
		t.Run(defect, func(t *testing.T) {
			t.Parallel()
			h := hunt(20_000, defect)
			if h.wrong == "" {
				t.Fatal("nobody notices")
			}
			t.Logf("%s: seed %d: %s", defect, h.bad, h.wrong)
		})
	}
}

// next is Next, as it is or with a defect in it.
func (w *world) next(r *run) Decision {
	s := w.load(r)
	if w.broken == "a breach comes before what somebody wants" && s.breached() {
		s.Wanted = ""
	}
	for i := range s.Batches {
		switch b := &s.Batches[i]; {
		case w.broken == "the last report of a wave is not waited for" && s.unpassed() != nil && b.live(),
			w.broken == "a pause forgets what is queued" && s.Wanted != "" && b.State == batchQueued:
			b.State = batchWaiting
		}
	}
	d := Next(s)
	switch {
	case w.broken == "a breach takes back the wave that comes next" && d.UndoWave > 0:
		d.UndoWave = s.present()
	case w.broken == "a soak waits for a clock that was put back" && d.End > 0 && !s.Waves[d.End-1].Ended.IsZero():
		return Decision{}
	}
	return d
}

// flawed is a state as a defective room would see it.
func (w *world) flawed(s State) State {
	switch w.broken {
	case "gates are not asked":
		s.Gates = nil
	case "waves do not soak":
		for i := range s.Waves {
			s.Waves[i].Soak = 0
		}
	case "a window is looked at only when batches are made":
		s.Windows = nil
	case "a budget is used up by one more failure than it has":
		if b := s.Budget; b != nil {
			s.Budget = &controlplane.Budget{Failures: b.Failures + 1, Ratio: b.Ratio}
		}
	case "a wave that failures had taken back ends well":
		s.Reason = ""
	case "a rollback begins with the first wave":
		if s.Rollout != controlplane.RolloutRollingBack {
			break
		}
		for i := range s.Waves[min(len(s.Waves), s.firstOpen()):] {
			s.Waves[s.firstOpen()+i].Open = 0
		}
	}
	return s
}

// firstOpen is the number of the first wave that has something to do; 0 if none has.
func (s State) firstOpen() int {
	return 1 + slices.IndexFunc(s.Waves, func(w WaveState) bool { return w.Open > 0 })
}
