package render

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/manorhq/manor/controlplane"
)

// Watched is a rollout as somebody sees it who watches.
type Watched struct {
	Rollout  *controlplane.Rollout
	Deferred []controlplane.Target // some of those that wait, and for what
	Failed   []controlplane.Target // some of those that failed
	Rate     float64               // tenants a second; 0: not known
}

const (
	watchedTenants  = 3  // that are named
	watchedClusters = 4  // the same
	watchedCauses   = 5  // of failure
	waveBar         = 20 // characters
)

// Watch is what a terminal shows of a rollout below its bar.
func (p *Printer) Watch(w *Watched) string {
	on := &Printer{Config: p.Config, style: style{on: p.ErrColor}}
	text := blocks(on.watchedPace(w), on.watchedWaves(w.Rollout), on.watchedWork(w), on.watchedCauses(w))
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(fit(strings.TrimSuffix(line, "\n"), p.Width) + "\n")
	}
	return b.String()
}

// watchedPace is what is done, how fast, and when it may be over.
func (p *Printer) watchedPace(w *Watched) string {
	r := w.Rollout
	f := p.fields()
	f.add("Tenants", p.style.counts(r.Counts))
	f.add("Pace", pace(w))
	if r.Wanted != "" {
		f.add("Wanted", string(r.Wanted)+", once the tenants in hand are done")
	}
	return f.String()
}

// pace is "4.2 tenants/s, 24s of work left, 1h of soaking". What gates, windows
// and locks will take nobody knows.
func pace(w *Watched) string {
	r := w.Rollout
	text := "none was done lately"
	if w.Rate > 0 {
		left := r.Counts.Sum() - r.Counts.Done()
		text = fmt.Sprintf("%.1f tenants/s, %s of work left", w.Rate, span(time.Duration(float64(left)/w.Rate*float64(time.Second))))
	}
	var soaks time.Duration
	for i, wave := range r.Waves {
		if i < len(r.Strategy.Waves) && i < len(r.Waves)-1 && (wave.State == controlplane.WaveWaiting || wave.State == controlplane.WaveRunning) {
			soaks += time.Duration(r.Strategy.Waves[i].Soak)
		}
	}
	if soaks > 0 {
		text += ", then " + span(soaks) + " of soaking"
	}
	return text
}

// watchedWaves is a bar for each wave; none where there is but one.
func (p *Printer) watchedWaves(r *controlplane.Rollout) string {
	if len(r.Waves) < 2 {
		return ""
	}
	text := ""
	g := p.grid("WAVE", "", ">DONE", "STATE")
	for i := range r.Waves {
		w := &r.Waves[i]
		g.row(w.Name, p.style.bar(w.Counts.Done(), w.Targets, waveBar), fmt.Sprintf("%d/%d", w.Counts.Done(), w.Targets), p.style.state(string(w.State)))
		if w.State == controlplane.WaveSoaking || w.State == controlplane.WaveGated {
			text = p.waveWaits(r, w) + "\n"
		}
	}
	return g.String() + text
}

// watchedWork is what is in hand, how the clusters fare, and who waits.
func (p *Printer) watchedWork(w *Watched) string {
	r := w.Rollout
	hand := listed(r.InHand, watchedTenants, len(r.InHand), func(t controlplane.InHand) string { return t.Tenant + " for " + p.age(t.Since) })
	clusters := slices.SortedStableFunc(slices.Values(r.Clusters), func(a, b controlplane.RolloutFlow) int { // those that stand still first
		return cmp.Compare(a.Flow.Pace, b.Flow.Pace)
	})
	f := p.fields()
	f.add("In hand", strings.Join(hand, ", "))
	f.add("Clusters", strings.Join(listed(clusters, watchedClusters, len(clusters), func(c controlplane.RolloutFlow) string { return c.Cluster + ": " + p.flow(c) }), "\n"))
	f.add("Waiting", strings.Join(listed(w.Deferred, watchedTenants, r.Counts[controlplane.TargetDeferred], waitsFor), "\n"))
	return f.String()
}

// waitsFor is "acme on east: held by pid 4711 (t_x_a), in a transaction for 62s".
func waitsFor(t controlplane.Target) string {
	why := failureOf(&t).Message
	if b := failureOf(&t).Blocker; b != nil {
		why = b.String()
	}
	return t.Tenant + " on " + t.Cluster + ": " + why
}

// listed are the texts of the first few, and how many more there are of all.
func listed[T any](items []T, few, all int, text func(T) string) []string {
	var texts []string
	for _, item := range items[:min(few, len(items))] {
		texts = append(texts, text(item))
	}
	if more := all - len(texts); more > 0 && len(texts) > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return texts
}

// watchedCauses are the failures, grouped.
func (p *Printer) watchedCauses(w *Watched) string {
	g := p.grid(">FAILED", "SUCH AS", "CAUSE")
	all := causesOf(w.Failed).sorted()
	for i := range all {
		if i == watchedCauses {
			g.row("", "", fmt.Sprintf("and %s more", plural(len(all)-i, "cause")))
			break
		}
		c := &all[i]
		g.row(p.style.bad(itoa(c.tenants)), c.example.Tenant+" on "+c.example.Cluster, c.why())
	}
	text := g.String()
	r := w.Rollout
	if more := r.Counts[controlplane.TargetFailed] + r.Counts[controlplane.TargetNeedsAttention] - len(w.Failed); more > 0 && len(w.Failed) > 0 {
		text += fmt.Sprintf("%d more failed\n", more)
	}
	return text
}

// WaveChange is a line about a wave that has come further.
func (p *Printer) WaveChange(r *controlplane.Rollout, w *controlplane.WaveStatus) string {
	switch w.State {
	case controlplane.WaveSoaking, controlplane.WaveGated:
		return fmt.Sprintf("%d of %d done; %s", w.Counts.Done(), w.Targets, p.waveWaits(r, w))
	case controlplane.WavePassed:
		return fmt.Sprintf("wave %s is passed: %s", w.Name, w.Counts)
	}
	return fmt.Sprintf("wave %s is %s: %s", w.Name, w.State, plural(w.Targets, "tenant"))
}
