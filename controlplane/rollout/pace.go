package rollout

import (
	"fmt"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/fleet"
)

const (
	// cutOnce lets a pace that was halved show its effect before it is halved again.
	cutOnce = 2 * time.Second
	// riseOnce is the least time between two steps up.
	riseOnce = time.Second
	// firstRest is how long a cluster in trouble is left alone; it doubles up to longestRest.
	firstRest   = 5 * time.Second
	longestRest = 2 * time.Minute
)

// sight is what a worker saw on a cluster since it last reported.
type sight struct {
	reached int                   // tenants that answered
	waited  map[string]int        // tenants that had to wait, by what for
	trouble *controlplane.Failure // what keeps the cluster from working at all
	by      string                // the tenant that met the trouble; empty: several did
}

// What tenants wait for that fewer of them at a time make shorter.
const (
	waitLocks       = "locks"
	waitConnections = "connections"
	waitReplicas    = "replicas"
)

// pace is how many tenants may be worked on at a time on a cluster and, if none
// may, when to look again. A cluster with an alarm is tried with one.
func pace(c fleet.Course, now time.Time) (n int, again time.Time) {
	switch alarm := c.Flow.Alarm; {
	case c.Name == "": // it was removed: whose home was there is for the worker to find gone
		return 1, time.Time{}
	case c.State == controlplane.ClusterOffline:
		return 0, time.Time{}
	case alarm == nil:
		return c.Flow.Pace, time.Time{}
	case resting(alarm, now):
		return 0, alarm.Until
	}
	return 1, time.Time{}
}

// resting reports whether a cluster with an alarm is left alone for now. A rest
// longer than any can only be a clock that was put back.
func resting(alarm *controlplane.Alarm, now time.Time) bool {
	return now.Before(alarm.Until) && alarm.Until.Sub(now) <= longestRest
}

// adapt is the flow of a cluster after a worker has told what it saw: additive
// increase, multiplicative decrease. It is a pure function.
func adapt(f controlplane.Flow, saw sight, now time.Time) controlplane.Flow {
	switch {
	case saw.trouble != nil:
		return alarmed(f, saw, now)
	case f.Alarm != nil && (saw.reached == 0 || resting(f.Alarm, now)): // nobody has tried it since
		return f
	case f.Alarm != nil:
		since := f.Alarm.Since
		f.Alarm = nil
		return paced(f, 1, now, fmt.Sprintf("rising after the trouble since %s", since.UTC().Format(time.TimeOnly)))
	case len(saw.waited) > 0:
		return slower(f, saw.waited, now)
	case saw.reached > 0 && f.Pace < f.Ceiling && elapsed(f, now) >= riseOnce:
		return faster(f, now)
	}
	return f
}

// alarmed stops a cluster. Trouble that several workers meet at once, or that
// one reports late, is one trouble.
func alarmed(f controlplane.Flow, saw sight, now time.Time) controlplane.Flow {
	alarm := controlplane.Alarm{Since: now, Tenant: saw.by}
	if f.Alarm != nil {
		alarm = *f.Alarm
		if alarm.Tenant != saw.by {
			alarm.Tenant = ""
		}
		switch {
		case resting(f.Alarm, now) && alarm == *f.Alarm:
			return f
		case resting(f.Alarm, now):
			f.Alarm = &alarm
			return f
		}
	}
	trouble := saw.trouble
	rest := min(firstRest<<min(alarm.Tries, 10), longestRest)
	alarm.Message, alarm.SQLState, alarm.Until = trouble.Message, trouble.SQLState, now.Add(rest)
	alarm.Tries++
	f.Alarm = &alarm
	return paced(f, 0, now, trouble.Message)
}

func slower(f controlplane.Flow, waited map[string]int, now time.Time) controlplane.Flow {
	if f.Pace <= 1 || elapsed(f, now) < cutOnce {
		return f
	}
	return paced(f, f.Pace/2, now, "halved: "+describeWaits(waited))
}

func faster(f controlplane.Flow, now time.Time) controlplane.Flow {
	if f.Pace+1 == f.Ceiling {
		return paced(f, f.Ceiling, now, "")
	}
	return paced(f, f.Pace+1, now, "rising: nothing waits")
}

func paced(f controlplane.Flow, pace int, now time.Time, reason string) controlplane.Flow {
	f.Pace, f.Reason, f.ChangedAt = pace, reason, &now
	return f
}

// elapsed is how long the pace has been what it is; long, if the clock was put back.
func elapsed(f controlplane.Flow, now time.Time) time.Duration {
	if f.ChangedAt == nil || now.Before(*f.ChangedAt) {
		return longestRest
	}
	return now.Sub(*f.ChangedAt)
}

// describeWaits is "3 tenants waited for locks, 1 for connections".
func describeWaits(waited map[string]int) string {
	text := ""
	for _, what := range []string{waitLocks, waitConnections, waitReplicas} {
		switch n := waited[what]; {
		case n == 0:
		case text != "":
			text += fmt.Sprintf(", %d for %s", n, what)
		case n == 1:
			text = "1 tenant waited for " + what
		default:
			text = fmt.Sprintf("%d tenants waited for %s", n, what)
		}
	}
	return text
}
