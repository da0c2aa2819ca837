package doctor

import (
	"context"
	"slices"
	"time"

	"github.com/manorhq/manor/controlplane"
)

// examination is one look at everything.
type examination struct {
	*known    // after it
	found     *found
	findings  []controlplane.Finding
	unreached []controlplane.Unreached
}

// Examine looks for what is not as it should be, and mends what is safe if fix
// says so: it never drops data.
func (s *Service) Examine(ctx context.Context, by controlplane.Actor, fix bool) (*controlplane.Checkup, error) {
	if err := s.guard.See(by, "doctor.examine", ""); err != nil {
		return nil, err
	}
	began := time.Now()
	x, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(x.findings, fleeting) {
		first := x.findings
		if x, err = s.look(ctx); err != nil {
			return nil, err
		}
		x.findings = again(first, x.findings)
	}
	if fix {
		s.fix(ctx, by, x)
	}
	return &controlplane.Checkup{Clusters: len(x.found.clusters), Databases: len(x.found.databases), Tenants: len(x.residents),
		Findings: x.findings, Unreached: x.unreached, Fix: fix, DurationMS: time.Since(began).Milliseconds()}, nil
}

// lasting are findings in the catalog itself, which was read in one snapshot.
var lasting = []controlplane.FindingKind{
	controlplane.FindingAlarm, controlplane.FindingHardening, controlplane.FindingExpiredLease, controlplane.FindingSilentWorker,
	controlplane.FindingUnsettledTenant, controlplane.FindingStuckTenant,
}

// fleeting findings are looked at twice: somebody may just have been at it.
func fleeting(f controlplane.Finding) bool { return !slices.Contains(lasting, f.Kind) }

func (s *Service) look(ctx context.Context) (*examination, error) {
	before, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	x := &examination{}
	found, missed, err := s.inventory(ctx, before)
	if err != nil {
		return nil, err
	}
	if x.known, err = s.read(ctx); err != nil {
		return nil, err
	}
	c := newComparison(before, x.known, found)
	x.found, x.findings, x.unreached = found, c.compare(), unreached(c.stillMissed(missed))
	return x, nil
}
