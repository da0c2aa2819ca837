package render

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/manorhq/manor/controlplane"
)

// Strategies lists strategies.
func (p *Printer) Strategies(strategies []controlplane.Strategy) error {
	return p.print(list(strategies), func() string {
		if len(strategies) == 0 {
			return "No strategies yet. `manor strategy apply NAME -f FILE` keeps one.\n"
		}
		g := p.grid("NAME", "WAVES", "BUDGET", ">GATES", ">WINDOWS")
		for _, s := range strategies {
			var names []string
			s = s.Filled()
			for _, w := range s.Waves {
				names = append(names, w.Name)
			}
			g.row(s.Name, strings.Join(names, ", "), budget(s), len(s.Gates), len(s.Windows))
		}
		return g.String()
	})
}

// Strategy shows one strategy with its defaults.
func (p *Printer) Strategy(s *controlplane.Strategy) error {
	return p.print(s, func() string {
		f := p.fields()
		f.add("Strategy", s.Name)
		filled := s.Filled()
		p.rules(f, filled)
		g := p.grid("WAVE", "TENANTS", "ORDER", "SOAK")
		for _, w := range filled.Waves {
			g.row(w.Name, whichOf(w), strings.Join(w.OrderBy, ", "), soak(w.Soak))
		}
		return blocks(f.String(), g.String())
	})
}

// rules are the parts of a strategy that hold for all its waves, as far as it
// says something of them.
func (p *Printer) rules(f *fields, s controlplane.Strategy) {
	f.add("Budget", budget(s))
	var gates, windows []string
	for _, g := range s.Gates {
		gates = append(gates, g.String())
	}
	for _, w := range s.Windows {
		text := w.String()
		if w.Match != "" {
			text += " for " + w.Match
		}
		windows = append(windows, text)
	}
	f.add("Gates", strings.Join(gates, "\n"))
	f.add("Windows", strings.Join(windows, "\n"))
	if s.Timeouts.Lock != 0 {
		text := fmt.Sprintf("%s for a lock, %s for a statement", s.Timeouts.Lock, s.Timeouts.Statement)
		if s.Timeouts.Tenant != 0 {
			text += fmt.Sprintf(", %s for a tenant", s.Timeouts.Tenant)
		}
		f.add("Timeouts", text)
	}
	if s.Check == controlplane.CheckNone {
		f.add("Check", "none: a tenant has arrived when its revisions say so")
	}
	if s.Snapshot != nil {
		kept := s.Filled().Snapshot
		f.add("Snapshot", fmt.Sprintf("kept for %s, taken within %s", kept.Keep, kept.Timeout))
	}
	if s.Retry.Attempts != 0 {
		f.add("Retry", fmt.Sprintf("%d times, after %s and up to %s", s.Retry.Attempts, s.Retry.Backoff, s.Retry.Max))
	}
}

// budget is "5 failures or 1 % of the tenants, then pause".
func budget(s controlplane.Strategy) string {
	if s.Budget == nil {
		return ""
	}
	return s.Budget.String() + ", then " + words(s.OnBreach)
}

// onError is "continue" or "pause after 5 failures".
func onError(r *controlplane.Rollout) string {
	text := words(r.OnError)
	if r.Strategy.Budget != nil {
		text += " after " + r.Strategy.Budget.String()
	}
	return text
}

func whichOf(w controlplane.Wave) string {
	text := w.Match
	if w.Percent > 0 {
		text = strings.TrimPrefix(fmt.Sprintf("%s, at most %g %% of all", text, w.Percent), ", ")
	}
	if text == "" {
		return "the rest"
	}
	return text
}

func soak(d controlplane.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

// plannedWaves are the waves of a plan; none where there is but one.
func (p *Printer) plannedWaves(plan *controlplane.RolloutPlan) string {
	if len(plan.Waves) < 2 {
		return ""
	}
	g := p.grid("WAVE", ">TENANTS", ">TAKES ABOUT", "CLUSTERS", "SOAK", "FIRST")
	for _, w := range plan.Waves {
		first := strings.Join(w.First, ", ")
		if w.Tenants > len(w.First) {
			first += ", …"
		}
		takes := ""
		if w.TakesMS > 0 {
			takes = took(time.Duration(w.TakesMS) * time.Millisecond)
		}
		g.row(w.Name, w.Tenants, takes, strings.Join(slices.Sorted(maps.Keys(w.Clusters)), ", "), soak(w.Soak), first)
	}
	return g.String()
}

// waves are the waves of a rollout and how each fares; none where there is but one.
func (p *Printer) waves(r *controlplane.Rollout) string {
	if len(r.Waves) < 2 {
		return ""
	}
	g := p.grid("WAVE", "STATE", ">DONE", "TARGETS", "")
	for i := range r.Waves {
		w := &r.Waves[i]
		note, state := "", p.style.state(string(w.State))
		if r.State.Resting() && r.State != controlplane.RolloutPaused && w.State != controlplane.WavePassed {
			state = "" // it never came to that
		}
		if !r.State.Resting() && (w.State == controlplane.WaveSoaking || w.State == controlplane.WaveGated) {
			note = p.waveWaits(r, w)
		}
		g.row(w.Name, state, fmt.Sprintf("%d/%d", w.Counts.Done(), w.Targets), p.style.counts(w.Counts), note)
	}
	return g.String()
}

// waveWaits says what a wave that has ended waits for.
func (p *Printer) waveWaits(r *controlplane.Rollout, w *controlplane.WaveStatus) string {
	if w.State == controlplane.WaveSoaking {
		return fmt.Sprintf("wave %s soaks for another %s", w.Name, span(w.SoaksTo.Sub(p.Now())))
	}
	for i, gate := range r.Strategy.Gates {
		if i < len(w.Gates) && w.Gates[i].Passed() {
			continue
		}
		if gate.Approval {
			return fmt.Sprintf("after wave %s it waits for approval: manor rollout approve %s", w.Name, r.ID)
		}
		text := fmt.Sprintf("after wave %s: %s", w.Name, gate)
		if i < len(w.Gates) && w.Gates[i].Failure != "" {
			text += ": " + w.Gates[i].Failure
		} else if i < len(w.Gates) && w.Gates[i].SoSince != nil {
			text += ", so for " + p.age(*w.Gates[i].SoSince)
		}
		return text
	}
	return "wave " + w.Name + " has ended"
}
