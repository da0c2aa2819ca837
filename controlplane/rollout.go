package controlplane

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// RolloutState is where a rollout is.
type RolloutState string

// The rollout states.
const (
	RolloutPlanned     RolloutState = "planned"
	RolloutRunning     RolloutState = "running"
	RolloutPaused      RolloutState = "paused"
	RolloutSucceeded   RolloutState = "succeeded"
	RolloutFailed      RolloutState = "failed"
	RolloutAborted     RolloutState = "aborted"
	RolloutRollingBack RolloutState = "rolling_back"
	RolloutRolledBack  RolloutState = "rolled_back"
)

// RolloutStates are all of them.
var RolloutStates = []RolloutState{RolloutPlanned, RolloutRunning, RolloutPaused, RolloutSucceeded, RolloutFailed, RolloutAborted, RolloutRollingBack, RolloutRolledBack}

// rolloutMoves are the state moves that are legal.
var rolloutMoves = map[RolloutState][]RolloutState{
	RolloutPlanned:     {RolloutRunning, RolloutAborted},
	RolloutRunning:     {RolloutPaused, RolloutSucceeded, RolloutFailed, RolloutAborted, RolloutRollingBack},
	RolloutPaused:      {RolloutRunning, RolloutAborted, RolloutRollingBack},
	RolloutSucceeded:   {RolloutRollingBack},
	RolloutFailed:      {RolloutRunning, RolloutRollingBack},
	RolloutAborted:     {RolloutRollingBack},
	RolloutRollingBack: {RolloutRolledBack, RolloutFailed, RolloutSucceeded, RolloutPaused},
	RolloutRolledBack:  {RolloutRollingBack},
}

// CanBecome reports whether the move is legal.
func (s RolloutState) CanBecome(next RolloutState) bool {
	return slices.Contains(rolloutMoves[s], next)
}

// Resting reports whether nothing more happens without an operator.
func (s RolloutState) Resting() bool {
	return s != RolloutPlanned && s != RolloutRunning && s != RolloutRollingBack
}

// OnError says what a failing target does to the rest of its rollout.
type OnError string

// What may be chosen on error.
const (
	OnErrorContinue     OnError = "continue"
	OnErrorPause        OnError = "pause"
	OnErrorRollback     OnError = "rollback"
	OnErrorRollbackWave OnError = "rollback_wave" // only what the present wave changed
)

// OnErrors are all of them.
var OnErrors = []OnError{OnErrorContinue, OnErrorPause, OnErrorRollback, OnErrorRollbackWave}

// Rollout is one run that takes a selection of tenants from the versions they
// are at to one version.
type Rollout struct {
	ID          string       `json:"id"` // short, as people type it: r_…
	State       RolloutState `json:"state"`
	Release     string       `json:"release"` // name
	ReleaseID   string       `json:"release_id"`
	Version     string       `json:"version"` // the one it goes to
	Select      string       `json:"select"`
	BatchSize   int          `json:"batch_size"`
	Concurrency int          `json:"concurrency"`  // tenants at a time, of all rollouts together
	PerCluster  int          `json:"per_cluster"`  // the same on one cluster; 0: as its flow says
	PerDatabase int          `json:"per_database"` // the same in one database; 1 if an index is built concurrently
	OnError     OnError      `json:"on_error"`
	Strategy    Strategy     `json:"strategy,omitzero"`
	Wanted      RolloutState `json:"wanted,omitempty"` // paused or aborted, as soon as nothing is in hand
	Targets     int          `json:"targets"`          // frozen at start, late ones included
	Counts      Counts       `json:"counts"`
	Reason      string       `json:"reason,omitempty"` // why it is paused or failed
	CreatedBy   string       `json:"created_by"`
	CreatedAt   time.Time    `json:"created_at"`
	FinishedAt  *time.Time   `json:"finished_at,omitempty"`
	// Of an unfinished rollout that was asked for by its id:
	Clusters []RolloutFlow `json:"clusters,omitempty"`
	InHand   []InHand      `json:"in_hand,omitempty"` // the tenants worked on for longest
	// Of one that was asked for by its id:
	Waves     []WaveStatus   `json:"waves,omitempty"`
	Snapshots *SnapshotsKept `json:"snapshots,omitempty"` // of one that takes some
}

// Now is the wave that a rollout is at, or nil: it has none, or passed all.
func (r *Rollout) Now() *WaveStatus {
	for i := range r.Waves {
		if r.Waves[i].State != WavePassed {
			return &r.Waves[i]
		}
	}
	return nil
}

// RolloutFlow is how fast a rollout goes on one cluster, and why.
type RolloutFlow struct {
	Cluster string `json:"cluster"`
	Open    int    `json:"open"`    // targets that are not done
	AtWork  int    `json:"at_work"` // tenants being worked on there, of all rollouts
	Flow    Flow   `json:"flow"`
}

// NewRollout is what `rollout start` takes.
type NewRollout struct {
	Release     string  `json:"release"`
	Version     string  `json:"version,omitempty"` // default: the release's last
	Select      string  `json:"select,omitempty"`  // default: all tenants
	BatchSize   int     `json:"batch_size,omitempty"`
	Concurrency int     `json:"concurrency,omitempty"`
	PerCluster  int     `json:"per_cluster,omitempty"`  // 0: as much as the cluster's flow allows
	PerDatabase int     `json:"per_database,omitempty"` // 0: 4
	OnError     OnError `json:"on_error,omitempty"`     // default: pause with a budget, else continue
	Check       Check   `json:"check,omitempty"`        // default: schema
	DryRun      bool    `json:"dry_run,omitempty"`
	// What is given above goes before what the strategy says.
	Strategy    *Strategy `json:"strategy,omitempty"`
	Snapshot    *Snapshot `json:"snapshot,omitempty"`
	Keep        bool      `json:"keep,omitempty"`         // of a plan: rehearsed and under an id, to be started later
	NoRehearsal bool      `json:"no_rehearsal,omitempty"` // of a kept plan: without a rehearsal
	// Of a kept plan: rehearsed on copies of so many tenants, too, with their rows;
	// a home of more bytes than the limit is not copied.
	OnClones   int   `json:"on_clones,omitempty"`
	CloneLimit int64 `json:"clone_limit,omitempty"` // default: 10 GB
	// Of a start: although the way back of some versions is not proved.
	AllowUnproved bool   `json:"allow_unproved,omitempty"`
	Plan          string `json:"plan,omitempty"`          // id of a kept plan, in place of all the rest: refused if the fleet has moved since
	StrategyName  string `json:"strategy_name,omitempty"` // one that is kept, by its name
}

// Defaults and bounds of a rollout's size.
const (
	DefaultBatchSize   = 20
	DefaultConcurrency = 8
	DefaultPerDatabase = 4 // more sessions on one database wait for each other's flushes
	maxBatchSize       = 1000
	maxConcurrency     = 1000
)

// Validate fills in the defaults, those of the strategy first, and names the
// first field that cannot be meant.
func (n *NewRollout) Validate() error {
	if n.Strategy == nil {
		n.Strategy = &Strategy{}
	}
	if err := n.Strategy.Validate(); err != nil {
		return err
	}
	if err := n.Snapshot.validate(); err != nil {
		return err
	}
	filled := n.Strategy.Filled()
	if n.Snapshot != nil {
		filled.Snapshot = n.Snapshot.filled()
	}
	n.Strategy = &filled
	n.BatchSize = cmp.Or(n.BatchSize, filled.BatchSize, DefaultBatchSize)
	n.Concurrency = cmp.Or(n.Concurrency, filled.Limits.Total, DefaultConcurrency)
	n.PerCluster = cmp.Or(n.PerCluster, filled.Limits.PerCluster)
	n.PerDatabase = cmp.Or(n.PerDatabase, filled.Limits.PerDatabase, DefaultPerDatabase)
	n.OnError = cmp.Or(n.OnError, filled.OnBreach, OnErrorContinue)
	if filled.Budget == nil && n.OnError != OnErrorContinue {
		filled.Budget = &Budget{Failures: 1}
	}
	filled.OnBreach = n.OnError
	filled.Check = cmp.Or(n.Check, filled.Check)
	if n.OnClones > 0 {
		n.CloneLimit = cmp.Or(n.CloneLimit, DefaultCloneLimit)
	}
	switch {
	case n.Release == "":
		return Errorf(Invalid, "the release is missing").WithHint("give --release NAME; `manor release list` lists them")
	case n.BatchSize < 1 || n.BatchSize > maxBatchSize:
		return Errorf(Invalid, "batch size %d is not between 1 and %d", n.BatchSize, maxBatchSize)
	case n.Concurrency < 1 || n.Concurrency > maxConcurrency:
		return Errorf(Invalid, "concurrency %d is not between 1 and %d", n.Concurrency, maxConcurrency)
	case n.PerCluster < 0 || n.PerCluster > maxConcurrency:
		return Errorf(Invalid, "the limit per cluster, %d, is not between 1 and %d", n.PerCluster, maxConcurrency)
	case n.PerDatabase < 1 || n.PerDatabase > maxConcurrency:
		return Errorf(Invalid, "the limit per database, %d, is not between 1 and %d", n.PerDatabase, maxConcurrency)
	case !slices.Contains(OnErrors, n.OnError):
		return Errorf(Invalid, "on-error %q is none of %s", n.OnError, joined(OnErrors))
	case !slices.Contains(Checks, filled.Check):
		return Errorf(Invalid, "check %q is none of %s", filled.Check, joined(Checks))
	case n.OnClones < 0 || n.OnClones > MaxClones:
		return Errorf(Invalid, "a rehearsal on %d copies of tenants: it may be 1 to %d", n.OnClones, MaxClones)
	case n.CloneLimit < 0:
		return Errorf(Invalid, "the limit of %d bytes to a copy is negative", n.CloneLimit)
	case n.OnError == OnErrorContinue && filled.Budget != nil:
		return Errorf(Invalid, "on-error continue, and a budget of %s", filled.Budget).WithHint("leave one of them out")
	}
	return nil
}

// PlannedWave is a wave as a plan has it.
type PlannedWave struct {
	Name     string         `json:"name"`
	Tenants  int            `json:"tenants"`            // to be changed in it
	TakesMS  int64          `json:"takes_ms,omitempty"` // about, by the rehearsal or what these versions took before; without soak
	Clusters map[string]int `json:"clusters"`
	First    []string       `json:"first"` // slugs of some of them
	Soak     Duration       `json:"soak,omitempty"`
}

// RolloutPlan is what a rollout is going to do: the answer of a dry run.
type RolloutPlan struct {
	ID        string            `json:"id,omitempty"` // of one that was kept, for `rollout start --plan`
	Release   string            `json:"release"`
	Version   string            `json:"version"`
	Tenants   int               `json:"tenants"`
	Current   int               `json:"current"` // of them, already at the version
	From      map[string]int    `json:"from"`    // tenants by the version they are at
	Clusters  map[string]int    `json:"clusters"`
	Strategy  Strategy          `json:"strategy"`
	Waves     []PlannedWave     `json:"waves"`
	Snapshots *SnapshotsPlanned `json:"snapshots,omitempty"` // where some are taken
	Batches   int               `json:"batches"`
	Versions  []Version         `json:"versions"` // that will run, of any tenant
	Warnings  []Warning         `json:"warnings,omitempty"`
	// Of a kept plan: what was seen when the versions ran in a scratch database,
	// from each version that tenants are at.
	Rehearsals []Rehearsal    `json:"rehearsals,omitempty"`
	Clones     []Clone        `json:"clones,omitempty"` // and on copies of tenants, if that was asked for
	Skipped    []TenantResult `json:"skipped"`          // selected but not migratable, with the reason
}

// ToChange is how many tenants a plan changes.
func (p *RolloutPlan) ToChange() int { return p.Tenants - p.Current - len(p.Skipped) }

// Unproved names the versions of which it was not seen that they can be taken
// back without loss.
func (p *RolloutPlan) Unproved() []string {
	if len(p.Rehearsals) == 0 && len(p.Versions) > 0 {
		return []string{"all versions: they were not rehearsed"}
	}
	why := map[string]string{}
	for _, r := range p.Rehearsals {
		for _, v := range r.Versions {
			if !v.Proved {
				why[v.File] = v.File + ": " + v.Why
			}
		}
	}
	return slices.Sorted(maps.Values(why))
}

// FailsFor names the tenants of which a copy refused a version: for them the
// rollout would fail.
func (p *RolloutPlan) FailsFor() []string {
	var slugs []string
	for i := range p.Clones {
		if p.Clones[i].Refused() != nil {
			slugs = append(slugs, p.Clones[i].Tenant)
		}
	}
	return slugs
}

// RolloutCommand is what pause, abort, approve and skip take.
type RolloutCommand struct {
	Tenants []string `json:"tenants,omitempty"` // to skip, by slug
	Reason  string   `json:"reason,omitempty"`  // why they are skipped
	DryRun  bool     `json:"dry_run,omitempty"`
}

// RollbackRequest is what `rollout rollback` takes.
type RollbackRequest struct {
	Tenant string `json:"tenant,omitempty"` // one tenant only, by slug
	Wave   string `json:"wave,omitempty"`   // one wave only, by name
	// Tenants with a snapshot get it back: what was written since is lost.
	Restore bool `json:"restore,omitempty"`
	DryRun  bool `json:"dry_run,omitempty"`
}

// RollbackPlan says what a rollback undoes and what it cannot.
type RollbackPlan struct {
	Rollout      string         `json:"rollout"`
	Tenants      int            `json:"tenants"`            // that will be taken back
	Restored     int            `json:"restored,omitempty"` // of them, from their snapshots: what was written since is lost
	Versions     []Version      `json:"versions"`           // that will be undone, last first
	Irreversible []TenantResult `json:"irreversible"`       // left alone, with the reason
}
