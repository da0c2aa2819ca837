package controlplane

import "time"

// Worker is a process that works jobs of the catalog.
type Worker struct {
	ID        string        `json:"id"` // host/process id, and what tells a later process of that id apart
	Version   string        `json:"version"`
	StartedAt time.Time     `json:"started_at"`
	SeenAt    time.Time     `json:"seen_at"` // its last heartbeat
	Silent    bool          `json:"silent"`  // nothing was heard of it for longer than [WorkerSilence]
	Batches   []WorkerBatch `json:"batches"` // that it holds now
	Homes     []InHand      `json:"homes"`   // that it makes, opens, closes or removes now
}

// WorkerSilence is how long a worker may be silent before it counts as stuck or
// dead. It beats several times as often.
const WorkerSilence = 10 * time.Second

// WorkerBatch is what a worker does now.
type WorkerBatch struct {
	Rollout string    `json:"rollout"`
	Batch   int       `json:"batch"`
	Cluster string    `json:"cluster"`
	Since   time.Time `json:"since"`
	Targets int       `json:"targets"`
	Done    int       `json:"done"` // of them
	InHand  []InHand  `json:"in_hand"`
}

// InHand is a tenant that is being worked on.
type InHand struct {
	Tenant string    `json:"tenant"` // slug
	Since  time.Time `json:"since"`
}
