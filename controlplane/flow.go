package controlplane

import "time"

// Flow is how much rollouts work on at a time on one cluster, over all workers
// and all rollouts. Pace goes down by half when tenants wait for locks,
// connections or replicas, and up by one while they do not.
type Flow struct {
	Pace      int        `json:"pace"`    // tenants at a time, now; from 1 to Ceiling, 0 while there is an alarm
	Ceiling   int        `json:"ceiling"` // tenants at a time at most
	Reason    string     `json:"reason"`  // why the pace is what it is
	ChangedAt *time.Time `json:"changed_at,omitempty"`
	Alarm     *Alarm     `json:"alarm"` // null: none
}

// Alarm says why nothing is started on a cluster: trouble that is the
// cluster's and no tenant's, such as a full disk. It ends by itself: one tenant
// is tried each time that Until has passed.
type Alarm struct {
	Message  string    `json:"message"`
	SQLState string    `json:"sqlstate,omitempty"`
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until"`            // the next try
	Tries    int       `json:"tries"`            // that met it
	Tenant   string    `json:"tenant,omitempty"` // slug; the only one that met it; empty: several have
}
