package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/manorhq/manor/cmd/manor/render"
	"github.com/manorhq/manor/controlplane"
)

// followed is what the command that follows a rollout set going.
type followed struct {
	after    string // cursor of before it did
	verb     string // "started"
	stream   bool   // events go out as lines, where the format has them
	rollback bool   // it was asked to take back
	tenant   string // one tenant only
	wave     string // one wave only
	left     int    // tenants that cannot be taken back
	reports  *reports
}

// setGoing calls what sets a rollout going and follows it.
func (a *app) setGoing(ctx context.Context, s *session, wait bool, f followed, call func() (*controlplane.Rollout, error)) error {
	after, err := s.head(ctx, wait)
	if err != nil {
		return err
	}
	f.after = after
	r, err := call()
	if err != nil {
		return err
	}
	return a.follow(ctx, s, r, wait, f)
}

// follow waits until a rollout rests, showing how it fares, and ends with the
// exit code for how it ended. Without waiting it says how to follow.
func (a *app) follow(ctx context.Context, s *session, r *controlplane.Rollout, wait bool, f followed) error {
	if !wait {
		return a.print.RolloutStarted(r, f.verb)
	}
	w := &rolloutWatch{app: a, s: s, now: r, followed: f, seen: map[string]int{}}
	if err := w.run(ctx); err != nil {
		if ctx.Err() != nil {
			w.remark(w.report(ctx))
		}
		return err
	}
	failed, err := w.failed(ctx)
	if err != nil {
		return err
	}
	for i := range failed {
		w.failure(&failed[i]) // what no event told us
	}
	if err := w.finish(failed); err != nil {
		return err
	}
	unwritten := w.report(ctx)
	code, err := w.exitCode(ctx)
	if err != nil || code == exitDone {
		return cmp.Or(err, unwritten)
	}
	w.remark(unwritten)
	return &exit{code: code}
}

// remark says what went wrong beside what the exit code tells.
func (w *rolloutWatch) remark(err error) {
	if err != nil {
		w.print.Remark("Warning: %v", err)
	}
}

// rolloutWatch follows one rollout.
type rolloutWatch struct {
	*app
	s   *session
	now *controlplane.Rollout
	followed
	bar  *render.Progress
	seen map[string]int // attempts of the failed targets that were shown
	view *rolloutView   // nil: not on a terminal
	last time.Time      // look

	told  bool      // the last event said that it rests
	going bool      // it was seen not to
	rests time.Time // since when it has been seen to, and no event said so
}

// lines reports whether the events go out as lines.
func (w *rolloutWatch) lines() bool { return w.stream && w.print.Format != render.Table }

func (w *rolloutWatch) run(ctx context.Context) error {
	label := "Rolling out " + w.now.Release
	if w.rollback {
		label = "Rolling back " + w.now.ID
	}
	on := *w.print
	on.Live = on.Live && !w.lines() // both on one terminal would write over each other
	if on.Live {
		w.view = &rolloutView{}
	}
	w.bar = on.Progress(label)
	defer w.bar.Close()
	w.show(w.now.State, w.now.Counts, w.now.Targets)
	err := await(ctx, w.s, w.after,
		func(e controlplane.Event) (bool, error) { return w.onEvent(ctx, e) },
		func() (bool, error) { return w.lookAgain(ctx) })
	if err != nil && ctx.Err() != nil {
		w.bar.Close()
		return w.interrupted()
	}
	return err
}

// interrupted says how to go on. What is in hand in this process is finished
// when the session closes.
func (w *rolloutWatch) interrupted() error {
	text := fmt.Sprintf("interrupted; rollout %s goes on in the service", w.now.ID)
	if w.s.inProcess {
		text = fmt.Sprintf("interrupted; rollout %s stops after the tenants in hand", w.now.ID)
	}
	return &exit{code: exitInterrupted, message: text, hint: fmt.Sprintf("`manor rollout watch %s` goes on with it, `manor rollout show %s` says where it is", w.now.ID, w.now.ID)}
}

// rolloutEvents are those that somebody who follows a rollout is told of.
var rolloutEvents = []string{controlplane.EventRolloutChanged, controlplane.EventWaveChanged, controlplane.EventBatchFinished}

func (w *rolloutWatch) onEvent(ctx context.Context, e controlplane.Event) (bool, error) {
	if e.Subject != w.now.ID || !slices.Contains(rolloutEvents, e.Kind) {
		return false, nil
	}
	var data controlplane.RolloutEvent
	if err := json.Unmarshal(e.Data, &data); err != nil {
		return false, fmt.Errorf("event %s cannot be read: %w", e.Cursor, err)
	}
	if w.lines() {
		if err := w.print.Line(e); err != nil {
			return false, err
		}
	}
	for i := range data.Failed {
		w.failure(&data.Failed[i])
	}
	w.show(data.State, data.Counts, data.Targets)
	w.told = data.State.Resting()
	switch {
	case w.told:
		return w.look(ctx) // an event tells of then, the rollout of now
	case e.Kind == controlplane.EventWaveChanged:
		return w.lookAgain(ctx)
	}
	return false, nil
}

// failure shows a failed target once per attempt.
func (w *rolloutWatch) failure(t *controlplane.Target) {
	if last, shown := w.seen[t.Tenant]; shown && last >= t.Attempts {
		return
	}
	w.seen[t.Tenant] = t.Attempts
	if w.view != nil && !w.view.first(t) {
		return
	}
	w.bar.Print(w.print.TargetFailure(t))
}

func (w *rolloutWatch) show(state controlplane.RolloutState, counts controlplane.Counts, targets int) {
	done := counts.Done()
	if state == controlplane.RolloutRollingBack {
		done = counts[controlplane.TargetRolledBack] + counts[controlplane.TargetNeedsAttention]
	}
	if w.view == nil {
		w.bar.Update(done, targets, w.print.Counts(counts)+w.print.Waits(w.now))
		return
	}
	if wave := w.now.Now(); wave != nil && (wave.State == controlplane.WaveSoaking || wave.State == controlplane.WaveGated) {
		w.view.rate = rate{} // nothing is done then, and that says nothing about the next wave
	}
	now := *w.now
	now.State, now.Counts = state, counts
	w.bar.Update(done, targets, "")
	w.bar.Below(w.print.Watch(&render.Watched{Rollout: &now, Deferred: w.view.deferred, Failed: w.view.failed, Rate: w.view.rate.note(time.Now(), done)}))
}

// lookAgain looks, unless it has within the last second: many may be watching.
func (w *rolloutWatch) lookAgain(ctx context.Context) (bool, error) {
	if time.Since(w.last) < time.Second {
		return false, nil
	}
	return w.look(ctx)
}

func (w *rolloutWatch) look(ctx context.Context) (bool, error) {
	r, err := w.s.ShowRollout(ctx, w.now.ID)
	if err != nil {
		return false, err
	}
	if w.view == nil {
		w.waves(r)
	} else if err := w.view.read(ctx, w.s, r); err != nil {
		return false, err
	}
	w.now, w.last = r, time.Now()
	w.show(r.State, r.Counts, r.Targets)
	return w.over(), nil
}

// lateEvents is how long the event that says that a rollout rests may take.
const lateEvents = 5 * time.Second

// over reports whether there is nothing more to wait for. Where events are
// lines, those that lead to the end come first.
func (w *rolloutWatch) over() bool {
	switch {
	case !w.now.State.Resting():
		w.going, w.rests = true, time.Time{}
		return false
	case !w.lines() || !w.going || w.told:
		return true
	case w.rests.IsZero():
		w.rests = time.Now()
	}
	return time.Since(w.rests) > lateEvents
}

// waves says of each wave that has come further since the last look where it is.
func (w *rolloutWatch) waves(r *controlplane.Rollout) {
	if len(r.Waves) < 2 || len(r.Waves) != len(w.now.Waves) {
		return
	}
	for i := range r.Waves {
		if r.Waves[i].State != w.now.Waves[i].State {
			w.bar.Print(w.print.WaveChange(r, &r.Waves[i]))
		}
	}
}

// failuresShown is how many failed targets the final table shows.
const failuresShown = 20

// failed are the targets the final table shows.
func (w *rolloutWatch) failed(ctx context.Context) ([]controlplane.Target, error) {
	var all []controlplane.Target
	for _, status := range []controlplane.TargetStatus{controlplane.TargetFailed, controlplane.TargetNeedsAttention} {
		if w.now.Counts[status] == 0 {
			continue
		}
		page, err := listTargets(ctx, w.s, w.now.ID, controlplane.TargetQuery{Status: status}, listFlags{limit: failuresShown})
		if err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
	}
	return all[:min(failuresShown, len(all))], nil
}

func (w *rolloutWatch) finish(failed []controlplane.Target) error {
	if w.lines() {
		return w.print.Line(w.now)
	}
	more := w.now.Counts[controlplane.TargetFailed] + w.now.Counts[controlplane.TargetNeedsAttention] - len(failed)
	return w.print.RolloutResult(w.now, failed, more)
}

func (w *rolloutWatch) exitCode(ctx context.Context) (int, error) {
	if w.rollback && w.tenant != "" {
		back, err := w.tookBack(ctx)
		if err != nil || back {
			return exitDone, err
		}
		return exitSomeFailed, nil
	}
	if w.rollback && w.wave != "" {
		i := slices.IndexFunc(w.now.Waves, func(wave controlplane.WaveStatus) bool { return wave.Name == w.wave })
		if i < 0 || w.left > 0 || w.now.Waves[i].Counts[controlplane.TargetNeedsAttention] > 0 {
			return exitSomeFailed, nil
		}
		return exitDone, nil
	}
	return rolloutExit(w.now, w.rollback, w.left), nil
}

// tookBack reports whether the one tenant asked for was taken back.
func (w *rolloutWatch) tookBack(ctx context.Context) (bool, error) {
	page, err := listTargets(ctx, w.s, w.now.ID, controlplane.TargetQuery{Status: controlplane.TargetRolledBack}, listFlags{})
	for i := range page.Items {
		if page.Items[i].Tenant == w.tenant {
			return true, err
		}
	}
	return false, err
}

// rolloutExit is the exit code for how a rollout rests. asked says that it was
// to be taken back, left how many of its tenants could not be.
func rolloutExit(r *controlplane.Rollout, asked bool, left int) int {
	stuck := r.Counts[controlplane.TargetNeedsAttention] + left
	switch r.State {
	case controlplane.RolloutSucceeded:
		return exitDone
	case controlplane.RolloutPaused:
		return exitPaused
	case controlplane.RolloutRolledBack:
		switch {
		case asked && stuck == 0:
			return exitDone
		case asked:
			return exitSomeFailed
		}
		return exitRolledBack
	case controlplane.RolloutFailed:
		return exitSomeFailed
	}
	return exitError
}
