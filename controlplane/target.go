package controlplane

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// TargetStatus is how one tenant fares in one rollout.
type TargetStatus string

// The target statuses.
const (
	TargetPending        TargetStatus = "pending"
	TargetRunning        TargetStatus = "running"
	TargetDeferred       TargetStatus = "deferred" // comes back by itself
	TargetUnknown        TargetStatus = "unknown"  // the connection was lost at COMMIT: to be read from the tenant
	TargetSucceeded      TargetStatus = "succeeded"
	TargetCurrent        TargetStatus = "current" // was at the version already
	TargetSkipped        TargetStatus = "skipped"
	TargetFailed         TargetStatus = "failed"
	TargetRolledBack     TargetStatus = "rolled_back"
	TargetNeedsAttention TargetStatus = "needs_attention"
)

// TargetStatuses are all of them, in the order they are shown.
var TargetStatuses = []TargetStatus{
	TargetPending, TargetRunning, TargetDeferred, TargetUnknown,
	TargetSucceeded, TargetCurrent, TargetSkipped, TargetFailed, TargetRolledBack, TargetNeedsAttention,
}

// UnfinishedStatuses are those of targets that something more happens to by itself.
var UnfinishedStatuses = []TargetStatus{TargetPending, TargetRunning, TargetDeferred, TargetUnknown}

// Done reports whether nothing more happens to the target by itself.
func (s TargetStatus) Done() bool {
	return !slices.Contains(UnfinishedStatuses, s)
}

// Direction is where a rollout takes a target: there, or back to where it was.
type Direction string

// The directions.
const (
	Up   Direction = "up"
	Down Direction = "down"
)

// targetMoves are the status moves that are legal in each direction. A target
// enters a rollout from "".
var targetMoves = map[Direction]map[TargetStatus][]TargetStatus{
	Up: {
		"":             {TargetPending, TargetDeferred, TargetCurrent, TargetSkipped},
		TargetPending:  {TargetRunning, TargetSkipped, TargetNeedsAttention},
		TargetDeferred: {TargetRunning, TargetSkipped, TargetNeedsAttention},
		TargetUnknown:  {TargetRunning, TargetNeedsAttention},
		TargetRunning: {TargetPending, TargetDeferred, TargetUnknown,
			TargetSucceeded, TargetCurrent, TargetSkipped, TargetFailed, TargetNeedsAttention},
		TargetSucceeded: {TargetNeedsAttention},
		TargetFailed:    {TargetPending, TargetNeedsAttention},
		TargetSkipped:   {TargetPending},
	},
	Down: {
		TargetPending:        {TargetRunning},
		TargetDeferred:       {TargetRunning},
		TargetUnknown:        {TargetRunning},
		TargetRunning:        {TargetPending, TargetDeferred, TargetUnknown, TargetRolledBack, TargetSkipped, TargetNeedsAttention},
		TargetNeedsAttention: {TargetPending},
	},
}

// targetTurns are the moves by which a target on its way up, or there, becomes
// one on its way down.
var targetTurns = map[TargetStatus][]TargetStatus{
	TargetPending:        {TargetPending}, // after a part of the versions
	TargetDeferred:       {TargetPending},
	TargetUnknown:        {TargetUnknown}, // until its revisions have been read
	TargetSucceeded:      {TargetPending},
	TargetFailed:         {TargetPending},
	TargetNeedsAttention: {TargetPending, TargetUnknown}, // the latter if it was unknown when its rollout was aborted
}

// CanBecome reports whether the move is legal in a direction.
func (s TargetStatus) CanBecome(next TargetStatus, d Direction) bool {
	return slices.Contains(targetMoves[d][s], next)
}

// CanTurn reports whether a target on its way up, or there, may be taken back
// from this status, and with which it waits for that.
func (s TargetStatus) CanTurn(next TargetStatus) bool { return slices.Contains(targetTurns[s], next) }

// Target is one tenant in one rollout.
type Target struct {
	Rollout    string       `json:"rollout"`
	Tenant     string       `json:"tenant"` // slug
	TenantID   string       `json:"tenant_id"`
	Cluster    string       `json:"cluster"`
	Wave       string       `json:"wave"`
	Status     TargetStatus `json:"status"`
	From       string       `json:"from"`    // version before; "" is an empty home
	Version    string       `json:"version"` // version now, as far as the catalog knows
	Attempts   int          `json:"attempts"`
	Batch      int          `json:"batch"`
	Failure    *Failure     `json:"failure,omitempty"`
	DurationMS int64        `json:"duration_ms"`
	UpdatedAt  time.Time    `json:"updated_at"`
}

// Failure says what PostgreSQL refused and where. DETAIL of the server stays
// out of it: it may hold tenants' data.
type Failure struct {
	Message   string `json:"message"`
	SQLState  string `json:"sqlstate,omitempty"`
	Version   string `json:"version,omitempty"` // migration that failed
	File      string `json:"file,omitempty"`
	Statement int    `json:"statement,omitempty"` // 1 is the first of the file
	Position  int    `json:"position,omitempty"`  // character within the statement, from 1; 0: PostgreSQL gave none
	SQL       string `json:"sql,omitempty"`       // the statement as the file has it
	Hint      string `json:"hint,omitempty"`

	Unknown   bool   `json:"unknown,omitempty"`    // nobody knew how far the tenant had come: a rollback reads it first
	SkippedBy string `json:"skipped_by,omitempty"` // who took the tenant out of the rollout: a retry leaves it out, too

	Blocker *Blocker `json:"blocker,omitempty"` // who held the lock that was waited for
}

// Blocker is a session that somebody waited for.
type Blocker struct {
	PID   int    `json:"pid"`
	Login string `json:"login,omitempty"`
	AgeMS int64  `json:"age_ms,omitempty"` // of its transaction
	Query string `json:"query,omitempty"`  // its last, shortened, without the values in it
}

// String is one line: file, statement, position, SQLSTATE and message.
func (f *Failure) String() string {
	if f == nil {
		return ""
	}
	var b strings.Builder
	if f.File != "" {
		b.WriteString(f.File)
		if f.Statement > 0 {
			fmt.Fprintf(&b, " statement %d", f.Statement)
		}
		if f.Position > 0 {
			fmt.Fprintf(&b, " position %d", f.Position)
		}
		b.WriteString(": ")
	}
	b.WriteString(f.Message)
	if f.SQLState != "" && !strings.Contains(f.Message, f.SQLState) {
		fmt.Fprintf(&b, " (SQLSTATE %s)", f.SQLState)
	}
	if f.Blocker != nil {
		b.WriteString("; " + f.Blocker.String())
	}
	return b.String()
}

// String is "held by pid 4711 (t_x_a), in a transaction for 62s: UPDATE notes …".
func (b *Blocker) String() string {
	text := fmt.Sprintf("held by pid %d", b.PID)
	if b.Login != "" {
		text += " (" + b.Login + ")"
	}
	if b.AgeMS > 0 {
		text += fmt.Sprintf(", in a transaction for %s", (time.Duration(b.AgeMS) * time.Millisecond).Round(time.Second))
	}
	if b.Query != "" {
		text += ": " + b.Query
	}
	return text
}

// Counts are the targets of a rollout by status. They always sum to the
// tenants selected.
type Counts map[TargetStatus]int

// Sum is how many targets there are.
func (c Counts) Sum() int {
	n := 0
	for _, v := range c {
		n += v
	}
	return n
}

// Done is how many of them are done.
func (c Counts) Done() int {
	n := 0
	for s, v := range c {
		if s.Done() {
			n += v
		}
	}
	return n
}

// String lists the statuses that occur, in their order: "219 succeeded, 1 failed".
func (c Counts) String() string {
	var parts []string
	for _, s := range TargetStatuses {
		if c[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c[s], strings.ReplaceAll(string(s), "_", " ")))
		}
	}
	return strings.Join(parts, ", ")
}

// TargetQuery narrows the targets of a rollout.
type TargetQuery struct {
	Status TargetStatus `json:"status,omitempty"`
	Cursor string       `json:"cursor,omitempty"`
	Limit  int          `json:"limit,omitempty"` // 0: 100; at most 1000
}

// Validate names the field that cannot be meant.
func (q TargetQuery) Validate() error {
	if q.Status != "" && !slices.Contains(TargetStatuses, q.Status) {
		return Errorf(Invalid, "target status %q does not exist", q.Status).WithHint("statuses: %v", TargetStatuses)
	}
	return nil
}
