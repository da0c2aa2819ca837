package rollout

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/fleet"
)

var full = &controlplane.Failure{Message: "the disk is full", SQLState: "53100"}

// flow is one of ceiling 8 whose pace was set so long before noon.
func flow(pace int, since time.Duration) controlplane.Flow {
	changed := noon.Add(-since)
	return controlplane.Flow{Pace: pace, Ceiling: 8, Reason: "as it was", ChangedAt: &changed}
}

// stopped is a flow with an alarm that rests until so long after noon.
func stopped(rest time.Duration, tries int) controlplane.Flow {
	f := flow(0, time.Second)
	f.Alarm = &controlplane.Alarm{Message: full.Message, SQLState: full.SQLState, Since: noon.Add(-time.Minute), Until: noon.Add(rest), Tries: tries}
	return f
}

// set is a flow as it is set at noon.
func set(pace int, reason string) controlplane.Flow {
	return controlplane.Flow{Pace: pace, Ceiling: 8, Reason: reason, ChangedAt: &noon}
}

// alarmedFor is a flow whose alarm is set at noon, and rests so long.
func alarmedFor(rest time.Duration, tries int, since time.Time) controlplane.Flow {
	f := set(0, full.Message)
	f.Alarm = &controlplane.Alarm{Message: full.Message, SQLState: full.SQLState, Since: since, Until: noon.Add(rest), Tries: tries}
	return f
}

func TestPaceOfAClusterFollowsWhatWorkersSee(t *testing.T) {
	t.Parallel()
	locks := map[string]int{waitLocks: 3, waitConnections: 1}
	unset := controlplane.Flow{Pace: 8, Ceiling: 8}
	for name, c := range map[string]struct {
		flow controlplane.Flow
		saw  sight
		want controlplane.Flow // nil time and no reason: as it was
	}{
		"nothing seen, nothing changed":         {flow(4, time.Hour), sight{}, flow(4, time.Hour)},
		"up by one while nothing waits":         {flow(4, time.Second), sight{reached: 9}, set(5, "rising: nothing waits")},
		"at the ceiling there is no reason":     {flow(7, time.Second), sight{reached: 1}, set(8, "")},
		"not above the ceiling":                 {flow(8, time.Hour), sight{reached: 9}, flow(8, time.Hour)},
		"one step up a second":                  {flow(4, riseOnce-1), sight{reached: 9}, flow(4, riseOnce-1)},
		"half when tenants wait":                {flow(8, cutOnce), sight{reached: 9, waited: locks}, set(4, "halved: 3 tenants waited for locks, 1 for connections")},
		"half of an odd pace":                   {flow(5, cutOnce), sight{reached: 9, waited: map[string]int{waitReplicas: 1}}, set(2, "halved: 1 tenant waited for replicas")},
		"half when every tenant is turned away": {flow(8, cutOnce), sight{waited: map[string]int{waitConnections: 4}}, set(4, "halved: 4 tenants waited for connections")},
		"half of a pace that was never changed": {unset, sight{waited: locks}, set(4, "halved: 3 tenants waited for locks, 1 for connections")},
		"halved once, not by each worker":       {flow(4, cutOnce-1), sight{reached: 9, waited: locks}, flow(4, cutOnce-1)},
		"no less than one":                      {flow(1, time.Hour), sight{reached: 9, waited: locks}, flow(1, time.Hour)},
		"a clock put back halves as well":       {flow(8, -time.Hour), sight{reached: 9, waited: locks}, set(4, "halved: 3 tenants waited for locks, 1 for connections")},
		"a clock put back rises as well":        {flow(4, -time.Hour), sight{reached: 9}, set(5, "rising: nothing waits")},
		"trouble stops":                         {flow(8, time.Hour), sight{reached: 9, trouble: full}, alarmedFor(firstRest, 1, noon)},
		"trouble stops at any pace":             {flow(1, 0), sight{trouble: full, waited: locks}, alarmedFor(firstRest, 1, noon)},
		"trouble met again at once is the same": {stopped(time.Second, 1), sight{trouble: full}, stopped(time.Second, 1)},
		"trouble met by a try rests longer":     {stopped(0, 1), sight{trouble: full}, alarmedFor(2*firstRest, 2, noon.Add(-time.Minute))},
		"and longer":                            {stopped(-time.Second, 4), sight{trouble: full}, alarmedFor(16*firstRest, 5, noon.Add(-time.Minute))},
		"but no longer than the longest":        {stopped(0, 60), sight{trouble: full}, alarmedFor(longestRest, 61, noon.Add(-time.Minute))},
		"a try that went well begins with one":  {stopped(0, 3), sight{reached: 1}, set(1, "rising after the trouble since 11:59:00")},
		"old news does not end a rest":          {stopped(time.Second, 3), sight{reached: 5}, stopped(time.Second, 3)},
		"a try that reached nobody says nothing": {
			stopped(0, 3), sight{waited: map[string]int{waitConnections: 1}}, stopped(0, 3)},
		"a rest longer than any is a clock put back, and tried": {
			stopped(longestRest+1, 3), sight{reached: 1}, set(1, "rising after the trouble since 11:59:00")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, adapt(c.flow, c.saw, noon)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAlarmNamesTheTenantThatAloneHasMetIt(t *testing.T) {
	t.Parallel()
	met := func(f controlplane.Flow, by string, now time.Time) controlplane.Flow {
		return adapt(f, sight{trouble: &controlplane.Failure{Message: "full"}, by: by}, now)
	}
	f := met(flow(4, time.Hour), "acme", noon)
	if f = met(f, "acme", f.Alarm.Until); f.Alarm.Tenant != "acme" {
		t.Errorf("met by one twice: %+v", f.Alarm)
	}
	if f = met(f, "globex", noon.Add(firstRest)); f.Alarm.Tenant != "" {
		t.Errorf("met by another during the rest: %+v", f.Alarm)
	}
	if f = met(f, "acme", f.Alarm.Until); f.Alarm.Tenant != "" {
		t.Errorf("met by one again: %+v", f.Alarm)
	}
}

func TestClusterIsWorkedOnAtItsPace(t *testing.T) {
	t.Parallel()
	course := func(state controlplane.ClusterState, f controlplane.Flow) fleet.Course {
		return fleet.Course{Name: "some", State: state, Flow: f}
	}
	for name, c := range map[string]struct {
		course fleet.Course
		want   int
		again  time.Time
	}{
		"active":                    {course(controlplane.ClusterActive, flow(5, 0)), 5, time.Time{}},
		"draining":                  {course(controlplane.ClusterDraining, flow(5, 0)), 5, time.Time{}},
		"offline":                   {course(controlplane.ClusterOffline, flow(5, 0)), 0, time.Time{}},
		"offline, its rest is over": {course(controlplane.ClusterOffline, stopped(0, 1)), 0, time.Time{}},
		"resting":                   {course(controlplane.ClusterActive, stopped(time.Second, 1)), 0, noon.Add(time.Second)},
		"its rest is over":          {course(controlplane.ClusterActive, stopped(0, 1)), 1, time.Time{}},
		"the clock was put back":    {course(controlplane.ClusterActive, stopped(time.Hour, 1)), 1, time.Time{}},
	} {
		if n, again := pace(c.course, noon); n != c.want || !again.Equal(c.again) {
			t.Errorf("%s: %d until %s, not %d until %s", name, n, again, c.want, c.again)
		}
	}
}

// TestPaceKeepsItsBounds plays reports of workers against adapt, under a clock
// that jumps, and checks what each may do to a cluster.
func TestPaceKeepsItsBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ceiling := rapid.IntRange(1, 16).Draw(t, "ceiling")
		f, now := controlplane.Flow{Pace: ceiling, Ceiling: ceiling}, noon
		for range rapid.IntRange(1, 60).Draw(t, "reports") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 300, 1000, 2500, 7000, 130_000, -500, -60_000, -7_200_000}).Draw(t, "ms")) * time.Millisecond)
			saw := sight{reached: rapid.IntRange(0, 3).Draw(t, "reached"), waited: map[string]int{}}
			if rapid.IntRange(0, 3).Draw(t, "waits") == 0 {
				saw.waited[waitLocks] = 1
			}
			if rapid.IntRange(0, 5).Draw(t, "trouble") == 0 {
				saw.trouble = full
			}
			next := adapt(f, saw, now)
			if wrong := stepWrong(f, saw, next, now); wrong != "" {
				t.Fatalf("%s: %+v became %+v after %+v", wrong, f, next, saw)
			}
			f = next
		}
	})
}

// stepWrong says what is wrong with a step of a cluster's flow.
func stepWrong(was controlplane.Flow, saw sight, is controlplane.Flow, now time.Time) string {
	n, again := pace(fleet.Course{Name: "some", State: controlplane.ClusterActive, Flow: is}, now)
	changed := was.Alarm == nil && is.Alarm == nil && is.Pace != was.Pace
	switch {
	case is.Alarm == nil && (is.Pace < 1 || is.Pace > is.Ceiling):
		return "the pace is out of its bounds"
	case is.Alarm != nil && (is.Pace != 0 || n > 1):
		return "a cluster with an alarm is worked on"
	case is.Alarm != nil && (is.Alarm.Since.IsZero() || is.Alarm.Tries < 1 || n == 0 && again.Sub(now) > longestRest):
		return "an alarm rests longer than the longest rest"
	case (saw.trouble == nil) && is.Alarm != nil && was.Alarm == nil, saw.trouble != nil && is.Alarm == nil:
		return "an alarm without trouble, or trouble without an alarm"
	case was.Alarm != nil && resting(was.Alarm, now) && (is.Alarm == nil || is.Alarm.Tries != was.Alarm.Tries || !is.Alarm.Until.Equal(was.Alarm.Until)):
		return "one trouble counted twice, or a rest ended by old news"
	case was.Alarm != nil && is.Alarm == nil && is.Pace != 1:
		return "after an alarm the pace is not one"
	case changed && is.Pace > was.Pace && (is.Pace != was.Pace+1 || len(saw.waited) > 0 || saw.reached == 0 || since(was, now) < riseOnce):
		return "a wrong step up"
	case changed && is.Pace < was.Pace && (is.Pace != was.Pace/2 || len(saw.waited) == 0 || since(was, now) < cutOnce):
		return "a wrong step down"
	case is.Pace != was.Pace && (is.ChangedAt == nil || !is.ChangedAt.Equal(now)):
		return "a step without its time"
	}
	return ""
}

// since is how long ago the pace was changed; for ever, if the clock says that
// it will be.
func since(f controlplane.Flow, now time.Time) time.Duration {
	if f.ChangedAt == nil || f.ChangedAt.After(now) {
		return time.Hour
	}
	return now.Sub(*f.ChangedAt)
}

// TestRestsDoubleUpToTheLongest is the way of a cluster whose trouble lasts.
func TestRestsDoubleUpToTheLongest(t *testing.T) {
	t.Parallel()
	f, now := flow(8, time.Hour), noon
	var rests []string
	for range 7 {
		f = adapt(f, sight{trouble: full}, now)
		again := adapt(adapt(f, sight{trouble: full}, now.Add(time.Millisecond)), sight{reached: 1, trouble: full}, f.Alarm.Until.Add(-1))
		if diff := cmp.Diff(f, again); diff != "" {
			t.Errorf("one trouble that three report at once: %s", diff)
		}
		rests = append(rests, fmt.Sprint(f.Alarm.Until.Sub(now)))
		now = f.Alarm.Until
	}
	if diff := cmp.Diff([]string{"5s", "10s", "20s", "40s", "1m20s", "2m0s", "2m0s"}, rests); diff != "" {
		t.Error(diff)
	}
	if !f.Alarm.Since.Equal(noon) {
		t.Errorf("the trouble began at %s", f.Alarm.Since)
	}
}

// TestSightOfAReport says what a report tells of its cluster: only who was asked, or
// had to wait, counts.
func TestSightOfAReport(t *testing.T) {
	t.Parallel()
	got := (&lease{}).sight([]result{
		{Status: controlplane.TargetSucceeded, Tried: true, answered: true},
		{Status: controlplane.TargetDeferred, Tried: true, answered: true, waited: waitLocks},
		{Status: controlplane.TargetDeferred, waited: waitConnections},
		{Status: controlplane.TargetDeferred, Tried: true}, // its home is being made
		{Status: controlplane.TargetPending},               // given back
		{Status: controlplane.TargetSkipped},
		{Status: controlplane.TargetDeferred, trouble: true, Failure: full},
	})
	want := sight{reached: 2, waited: map[string]int{waitLocks: 1, waitConnections: 1}, trouble: full}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(sight{})); diff != "" {
		t.Error(diff)
	}
}
