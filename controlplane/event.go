package controlplane

import (
	"encoding/json"
	"time"
)

// Event kinds. The set is closed: a reader may switch over it.
const (
	EventClusterAdded   = "cluster.added"
	EventClusterChanged = "cluster.changed"
	EventClusterRemoved = "cluster.removed"
	EventClusterFlow    = "cluster.flow"   // an alarm came or went; Data a [FlowEvent]
	EventTenantChanged  = "tenant.changed" // Tenant is the subject; Data a [TenantEvent]
	EventReleasePushed  = "release.pushed"
	EventReleaseDefault = "release.default"
	EventRolloutChanged = "rollout.changed" // Data a [RolloutEvent]
	EventWaveChanged    = "wave.changed"    // a wave of a rollout ended, was passed, or a gate was asked; Data a [RolloutEvent]
	EventBatchProgress  = "batch.progress"  // some of its tenants are done; Data a [RolloutEvent]
	EventBatchFinished  = "batch.finished"  // Data a [RolloutEvent]
)

// Event is something that happened, written in the transaction in which it did.
type Event struct {
	Cursor  string          `json:"cursor"` // opaque; resume after it
	Kind    string          `json:"kind"`
	Subject string          `json:"subject"` // id of the tenant, rollout, cluster or release
	Data    json.RawMessage `json:"data"`
	At      time.Time       `json:"at"`
}

// TenantEvent is the data of a tenant.changed event.
type TenantEvent struct {
	Slug    string      `json:"slug"`
	State   TenantState `json:"state"`
	Settled bool        `json:"settled"`
	Failure *Failure    `json:"failure,omitempty"`
}

// RolloutEvent is the data of rollout.changed and batch.finished events.
type RolloutEvent struct {
	State   RolloutState `json:"state"`
	Counts  Counts       `json:"counts"`
	Targets int          `json:"targets"`
	Failed  []Target     `json:"failed,omitempty"` // of the batch that finished
	Reason  string       `json:"reason,omitempty"`
}

// FlowEvent is the data of a cluster.flow event.
type FlowEvent struct {
	Cluster string `json:"cluster"` // name
	Flow    Flow   `json:"flow"`
}

// FleetStatus is the fleet by version: the answer of `manor status`.
type FleetStatus struct {
	Tenants  int                 `json:"tenants"`
	Default  string              `json:"default_release,omitempty"`
	Version  string              `json:"default_version,omitempty"`
	Behind   int                 `json:"behind"` // active tenants below the default version
	States   map[TenantState]int `json:"states"`
	Versions []VersionStatus     `json:"versions"`
	Clusters []ClusterStatus     `json:"clusters"`
	Rollouts []Rollout           `json:"rollouts"` // not finished, or finished last
}

// VersionStatus counts the tenants at one version.
type VersionStatus struct {
	Version string `json:"version"`
	Release string `json:"release,omitempty"` // a release that ends there or holds it
	Tenants int    `json:"tenants"`
	Failed  int    `json:"failed"`  // of them, last target failed
	Running int    `json:"running"` // of them, target of a running rollout
	// Tenants by the fingerprint of their schema as the last rollout found it; of
	// those that are not counted nothing is known. One is what the release makes of
	// a schema, for each major version of PostgreSQL.
	Fingerprints map[string]int `json:"fingerprints"`
}

// ClusterStatus counts the tenants of one cluster.
type ClusterStatus struct {
	Cluster  string         `json:"cluster"`
	State    ClusterState   `json:"state"`
	Tenants  int            `json:"tenants"`
	Capacity int            `json:"capacity"`
	Alarm    *Alarm         `json:"alarm"` // null: none
	Versions map[string]int `json:"versions"`
}
