package render

import (
	"fmt"
	"slices"
	"strings"

	"github.com/manorhq/manor/controlplane"
)

// Workers lists the processes that work, a line per batch in hand and
// one for the homes.
func (p *Printer) Workers(workers []controlplane.Worker) error {
	return p.print(list(workers), func() string {
		if len(workers) == 0 {
			return "Nobody works on this catalog. `manor worker` and `manor serve` do.\n"
		}
		g := p.grid("WORKER", "STATE", "VERSION", "UP", "SEEN", "ROLLOUT", ">BATCH", "CLUSTER", "FOR", ">DONE", "IN HAND")
		for _, w := range workers {
			p.workerRows(g, w)
		}
		return blocks(g.String(), p.silence(workers))
	})
}

func (p *Printer) workerRows(g *grid, w controlplane.Worker) {
	who := []any{w.ID, p.workerState(w), w.Version, p.age(w.StartedAt), p.age(w.SeenAt) + " ago"}
	if len(w.Batches)+len(w.Homes) == 0 {
		g.row(append(who, "", "", "", "", "", "")...)
	}
	for _, b := range w.Batches {
		g.row(append(who, b.Rollout, b.Batch, b.Cluster, p.age(b.Since), fmt.Sprintf("%d of %d", b.Done, b.Targets), p.inHand(b.InHand))...)
	}
	if len(w.Homes) > 0 {
		g.row(append(who, "homes", "", "", "", "", p.inHand(w.Homes))...)
	}
}

func (p *Printer) workerState(w controlplane.Worker) string {
	switch {
	case w.Silent:
		return p.style.bad("silent")
	case len(w.Batches)+len(w.Homes) > 0:
		return p.style.state("running")
	}
	return p.style.state("idle")
}

// inHand names the tenants that take longest first.
func (p *Printer) inHand(tenants []controlplane.InHand) string {
	const most = 3
	longest := slices.SortedFunc(slices.Values(tenants), func(a, b controlplane.InHand) int { return a.Since.Compare(b.Since) })
	var parts []string
	for i, t := range longest {
		if i == most {
			parts = append(parts, fmt.Sprintf("%d more", len(tenants)-most))
			break
		}
		parts = append(parts, t.Tenant+" for "+p.age(t.Since))
	}
	return strings.Join(parts, ", ")
}

// silence says what becomes of what a silent worker holds.
func (p *Printer) silence(workers []controlplane.Worker) string {
	silent := 0
	for _, w := range workers {
		if w.Silent {
			silent++
		}
	}
	if silent == 0 {
		return ""
	}
	return p.style.bad(plural(silent, "worker")+" silent for more than "+span(controlplane.WorkerSilence)) +
		": stuck, cut off from the catalog, or dead. The others take over what it held.\n"
}
