package controlplane

// Verification is what comparing the catalog with the tenants' stamps found:
// the answer of `manor status --verify`.
type Verification struct {
	Tenants     int          `json:"tenants"`     // compared
	Agree       int          `json:"agree"`       // of them, stamped with the version that the catalog has
	AtWork      int          `json:"at_work"`     // not compared: a rollout or a loop is changing them
	Differences []Difference `json:"differences"` // by tenant
	Unreached   []Unreached  `json:"unreached"`
	DryRun      bool         `json:"dry_run"` // nothing was corrected
	DurationMS  int64        `json:"duration_ms"`
}

// Difference is a tenant that is not where the catalog says, or whose stamp
// cannot tell.
type Difference struct {
	Tenant    string `json:"tenant"` // slug
	TenantID  string `json:"tenant_id"`
	Cluster   string `json:"cluster"`
	Catalog   string `json:"catalog_version"`
	Stamp     string `json:"stamped_version"`
	Actual    string `json:"actual_version"` // as its revisions say
	Reason    string `json:"reason"`
	Corrected bool   `json:"corrected"` // the catalog has the actual version now
}

// Unreached is a cluster, or a database of one, that did not answer.
type Unreached struct {
	Cluster  string `json:"cluster"`
	Database string `json:"database,omitempty"` // "": the whole cluster
	Tenants  int    `json:"tenants"`            // that live there
	Error    *Error `json:"error"`
}

// FindingKind says what is wrong.
type FindingKind string

// The kinds of findings. What is on a cluster and not in the catalog is an
// orphan, what is in the catalog and not on its cluster a ghost.
const (
	FindingHomeWithoutTenant FindingKind = "home_without_tenant" // a schema or a database
	FindingMarkerWithoutHome FindingKind = "marker_without_home"
	FindingUnknownDatabase   FindingKind = "unknown_database" // of ours; nobody knows it
	FindingLeftoverRole      FindingKind = "leftover_role"

	FindingTenantWithoutHome FindingKind = "tenant_without_home"
	FindingMissingDatabase   FindingKind = "missing_database"
	FindingMissingRole       FindingKind = "missing_role"
	FindingMissingMarker     FindingKind = "missing_marker"

	FindingForeignMarker FindingKind = "foreign_marker" // it names another catalog, generation or schema
	FindingEpochAhead    FindingKind = "epoch_ahead"    // newer than any that the catalog has drawn
	FindingVersion       FindingKind = "version_differs"
	FindingStaleStamp    FindingKind = "stale_stamp"
	FindingHalfApplied   FindingKind = "half_applied" // some statements of a version
	FindingInvalidIndex  FindingKind = "invalid_index"

	FindingExpiredLease    FindingKind = "expired_lease"
	FindingSilentWorker    FindingKind = "silent_worker"
	FindingUnsettledTenant FindingKind = "unsettled_tenant" // nobody works on it
	FindingStuckTenant     FindingKind = "stuck_tenant"     // on its way for long

	FindingAlarm     FindingKind = "alarm"
	FindingHardening FindingKind = "missing_hardening"
)

// FindingKinds are all of them, in the order they are shown.
var FindingKinds = []FindingKind{
	FindingAlarm,
	FindingMissingDatabase, FindingTenantWithoutHome, FindingMissingMarker, FindingMissingRole, FindingForeignMarker, FindingEpochAhead,
	FindingHomeWithoutTenant, FindingMarkerWithoutHome, FindingUnknownDatabase, FindingLeftoverRole,
	FindingVersion, FindingStaleStamp, FindingHalfApplied, FindingInvalidIndex,
	FindingExpiredLease, FindingSilentWorker, FindingUnsettledTenant, FindingStuckTenant,
	FindingHardening,
}

// Checkup is what `manor doctor` found.
type Checkup struct {
	Clusters   int         `json:"clusters"` // examined
	Databases  int         `json:"databases"`
	Tenants    int         `json:"tenants"`
	Findings   []Finding   `json:"findings"` // in the order of [FindingKinds]
	Unreached  []Unreached `json:"unreached"`
	Fix        bool        `json:"fix"` // what could be mended was to be
	DurationMS int64       `json:"duration_ms"`
}

// Open are the findings that something is to be done about: no notes, and not
// what was mended.
func (c *Checkup) Open() int {
	n := 0
	for _, f := range c.Findings {
		if !f.Note && !f.Fixed {
			n++
		}
	}
	return n
}

// Finding is one thing that is not as it should be.
type Finding struct {
	Kind     FindingKind `json:"kind"`
	Cluster  string      `json:"cluster,omitempty"`
	Database string      `json:"database,omitempty"`
	Tenant   string      `json:"tenant,omitempty"` // slug
	TenantID string      `json:"tenant_id,omitempty"`
	Object   string      `json:"object,omitempty"` // schema, role, index, batch, worker
	Message  string      `json:"message"`
	Remedy   string      `json:"remedy,omitempty"` // what --fix does about it; "": nothing
	Advice   string      `json:"advice,omitempty"` // what the operator can do
	Note     bool        `json:"note"`             // good to know; nothing is broken
	Fixed    bool        `json:"fixed"`
	Error    *Error      `json:"error,omitempty"` // why it could not be mended
}

// NewClaim is what `catalog claim` takes.
type NewClaim struct {
	Confirm string // the name of the catalog's database
	Partly  bool   // also when some clusters cannot be reached
	DryRun  bool
}

// Claim is what a copy of the catalog took over.
type Claim struct {
	Catalog     string      `json:"catalog"`               // name of its database
	Incarnation string      `json:"incarnation,omitempty"` // that markers name from now on; "" in a dry run
	Tenants     int         `json:"tenants"`               // known to the catalog, with a home
	Claimed     int         `json:"claimed"`               // of them, those whose markers name this catalog (in a dry run: would)
	Strangers   int         `json:"strangers"`             // homes in its databases that the catalog does not know
	Left        []ClaimLeft `json:"left"`                  // tenants that could not be taken over
	Unreached   []Unreached `json:"unreached"`
	Done        bool        `json:"done"` // the catalog is no copy any more
	DryRun      bool        `json:"dry_run"`
}

// ClaimLeft is a tenant whose home a claim could not take over.
type ClaimLeft struct {
	Tenant  string `json:"tenant"` // slug
	Cluster string `json:"cluster"`
	Reason  string `json:"reason"`
}
