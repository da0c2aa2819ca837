package failpoint

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEnvironmentSaysWhatHappensWhere(t *testing.T) {
	t.Parallel()
	got, err := parse("rollout.lease.commit#2=kill, cluster.write#7=stop,a=panic,b#1=sleep:1s")
	want := map[moment]death{
		{"rollout.lease.commit", 2}: {act: kill},
		{"cluster.write", 7}:        {act: stop},
		{"a", 1}:                    {act: panics},
		{"b", 1}:                    {act: sleep, sleep: time.Second},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(moment{}, death{})); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestADeathThatCannotBeMeantIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"a", "a#1", "a#0=kill", "a#x=kill", "a#1=die", "a#1=sleep", "a#1=sleep:long"} {
		if got, err := parse(text); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q gives %v, %v", text, got, err)
		}
	}
}

func TestADeathComesTheTimeItIsMeantForAndNoOther(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	c := newCounter(map[moment]death{{"a", 2}: {act: kill}})
	c.log = &log
	var got []act
	for _, point := range []string{"a", "b", "b", "a", "a"} {
		got = append(got, c.reach(point).act)
	}
	if diff := cmp.Diff([]act{"", "", "", kill, ""}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("a#1\nb#1\nb#2\na#2\na#3\n", log.String()); diff != "" {
		t.Errorf("the log (-want +got):\n%s", diff)
	}
}

func TestPlacesAreNamedAsPeopleNameFunctions(t *testing.T) {
	t.Parallel()
	const house = "github.com/manorhq/manor/controlplane/"
	for function, want := range map[string]string{
		house + "rollout.(*Service).Sweep":         "rollout.Sweep",
		house + "rollout.(*Service).Sweep.func1":   "rollout.Sweep",
		house + "rollout.(*Service).Sweep.func2.1": "rollout.Sweep",
		house + "rollout.Counts.Sum":               "rollout.Counts.Sum",
		house + "rollout.settle":                   "rollout.settle",
		house + "work.(*handler[...]).Work":        "work.Work",
		house + "rollout.(*Service).each-range1":   "rollout.each",
	} {
		if got := short(function); got != want {
			t.Errorf("%s is %q, want %q", function, got, want)
		}
	}
}
