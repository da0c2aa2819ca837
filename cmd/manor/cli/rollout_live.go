package cli

import (
	"context"
	"time"

	"github.com/manorhq/manor/cmd/manor/render"
	"github.com/manorhq/manor/controlplane"
)

// rolloutView is what a terminal shows of a rollout beside its bar.
type rolloutView struct {
	deferred, failed []controlplane.Target // a page of each, at most
	turn             bool                  // whose page is read next
	shown            map[render.Cause]bool // in full, above the bar
	rate             rate
}

// read reads one page: of those that wait, or of those that failed, in turn
// where there are both.
func (v *rolloutView) read(ctx context.Context, s *session, r *controlplane.Rollout) error {
	waiting, lost := r.Counts[controlplane.TargetDeferred], r.Counts[controlplane.TargetFailed]+r.Counts[controlplane.TargetNeedsAttention]
	if waiting == 0 {
		v.deferred = nil
	}
	if lost == 0 {
		v.failed = nil
	}
	if waiting+lost == 0 {
		return nil
	}
	v.turn = lost == 0 || waiting > 0 && !v.turn
	if v.turn {
		page, err := s.Targets(ctx, r.ID, controlplane.TargetQuery{Status: controlplane.TargetDeferred, Limit: 20})
		v.deferred = page.Items
		return err
	}
	status := controlplane.TargetFailed
	if r.Counts[status] == 0 {
		status = controlplane.TargetNeedsAttention
	}
	page, err := s.Targets(ctx, r.ID, controlplane.TargetQuery{Status: status, Limit: most})
	v.failed = page.Items
	return err
}

// first reports whether a failure is the first of its cause: the others are
// counted, or they would flood the screen.
func (v *rolloutView) first(t *controlplane.Target) bool {
	cause := render.CauseOf(t)
	if v.shown[cause] {
		return false
	}
	if v.shown == nil {
		v.shown = map[render.Cause]bool{}
	}
	v.shown[cause] = true
	return true
}

// rateOver is the time over which a rate is taken.
const rateOver = 30 * time.Second

// rate is how many targets are done a second.
type rate struct {
	samples []sample
}

type sample struct {
	at   time.Time
	done int
}

// note takes down how many are done now, and returns the rate; 0: not known yet.
func (r *rate) note(now time.Time, done int) float64 {
	if n := len(r.samples); n > 0 && done < r.samples[n-1].done { // it has turned round
		r.samples = nil
	}
	r.samples = append(r.samples, sample{now, done})
	for len(r.samples) > 2 && now.Sub(r.samples[1].at) >= rateOver {
		r.samples = r.samples[1:]
	}
	first := r.samples[0]
	if took := now.Sub(first.at); took >= time.Second {
		return float64(done-first.done) / took.Seconds()
	}
	return 0
}
