package chaos_test

import (
	"fmt"
	"strings"
	"sync/atomic"
)

// sum is what all tests of the process did together.
var sum tally

// tally counts what was tried and what was looked at.
type tally struct {
	points   atomic.Int64 // at which a process was killed, and every one ended right
	missed   atomic.Int64 // that were not reached the second time
	deaths   atomic.Int64 // by SIGKILL, those at random included
	starts   atomic.Int64 // of worker processes
	stops    atomic.Int64 // SIGSTOP, and SIGCONT later
	tenants  atomic.Int64 // made
	rollouts atomic.Int64 // started, or taken back
	checks   atomic.Int64 // of a tenant, by its own revisions
	effects  atomic.Int64 // lines of ledgers that were looked at
}

func (s *tally) String() string {
	var b strings.Builder
	for _, one := range []struct {
		what string
		n    *atomic.Int64
	}{
		{"kill points", &s.points}, {"not reached again", &s.missed}, {"SIGKILLs", &s.deaths}, {"workers started", &s.starts},
		{"SIGSTOPs", &s.stops}, {"tenants made", &s.tenants}, {"rollouts up and down", &s.rollouts},
		{"tenants checked", &s.checks}, {"effects checked", &s.effects},
	} {
		fmt.Fprintf(&b, "%d %s, ", one.n.Load(), one.what)
	}
	return "chaos: " + strings.TrimSuffix(b.String(), ", ")
}
