package rollout

import (
	"cmp"
	"math/rand/v2"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/ent"
)

// What holds where a strategy says nothing of it.
const (
	maxAttempts = controlplane.DefaultAttempts
	firstPause  = time.Duration(controlplane.DefaultBackoff)
	maxPause    = time.Duration(controlplane.DefaultMaxBackoff)
)

// retry is how a target comes back that had to wait.
type retry struct {
	attempts    int // how often it comes back before it counts as failed
	first, most time.Duration
}

func retryOf(row *ent.Rollout) retry {
	r := row.Strategy.Retry
	return retry{cmp.Or(r.Attempts, maxAttempts), cmp.Or(time.Duration(r.Backoff), firstPause), cmp.Or(time.Duration(r.Max), maxPause)}
}

// pause is how long a target waits after so many attempts, with jitter: the
// first pause doubles with every attempt.
func (r retry) pause(attempts int) time.Duration {
	pause := r.most
	if doubled := r.first << min(attempts, 20); doubled > 0 && doubled < r.most {
		pause = doubled
	}
	return pause/2 + rand.N(pause)
}

// longest is what no pause is longer than.
func (r retry) longest() time.Duration { return r.most * 3 / 2 }

// limitsOf bound what a rollout may do to a tenant's users: nobody waits longer
// than Lock behind us, and no statement holds a lock longer than Statement.
func limitsOf(row *ent.Rollout) migrator.Limits {
	t := row.Strategy.Timeouts
	return migrator.Limits{Lock: time.Duration(cmp.Or(t.Lock, controlplane.DefaultLockTimeout)),
		Statement: time.Duration(cmp.Or(t.Statement, controlplane.DefaultStatementTimeout))}
}
