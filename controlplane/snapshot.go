package controlplane

import (
	"cmp"
	"time"
)

// Snapshot asks for a copy of each tenant's own database before a rollout
// changes it. A tenant's database is closed while it is copied.
type Snapshot struct {
	Keep    Duration `json:"keep,omitempty"`    // after which a copy is dropped; default: 72h
	Timeout Duration `json:"timeout,omitempty"` // of taking one, for which the tenant is closed; default: 10m
}

// Defaults and bounds of a snapshot.
const (
	DefaultSnapshotKeep    = Duration(72 * time.Hour)
	DefaultSnapshotTimeout = Duration(10 * time.Minute)
	maxSnapshotKeep        = Duration(90 * 24 * time.Hour)
	maxSnapshotTimeout     = Duration(4 * time.Hour)
)

func (s *Snapshot) filled() *Snapshot {
	if s == nil {
		return nil
	}
	return &Snapshot{Keep: cmp.Or(s.Keep, DefaultSnapshotKeep), Timeout: cmp.Or(s.Timeout, DefaultSnapshotTimeout)}
}

func (s *Snapshot) validate() error {
	switch {
	case s == nil:
		return nil
	case s.Keep < 0 || s.Keep > maxSnapshotKeep:
		return strategyError("snapshot.keep", "%s is not between 0 and %s", s.Keep, maxSnapshotKeep)
	case s.Timeout < 0 || s.Timeout > maxSnapshotTimeout:
		return strategyError("snapshot.timeout", "%s is not between 0 and %s", s.Timeout, maxSnapshotTimeout)
	}
	return nil
}

// SnapshotsKept are the copies that a rollout took and that are there.
type SnapshotsKept struct {
	Count int        `json:"count"`
	Bytes int64      `json:"bytes"`           // of the databases, when they were copied
	Until *time.Time `json:"until,omitempty"` // when the first of them is dropped
}

// SnapshotsPlanned are the copies that a rollout is going to take.
type SnapshotsPlanned struct {
	Count int   `json:"count"`
	Bytes int64 `json:"bytes"` // of the databases now
}
