package controlplane

import (
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Isolation is what a tenant gets of its own.
type Isolation string

// The isolations.
const (
	IsolationSchema   Isolation = "schema"
	IsolationDatabase Isolation = "database"
)

// Isolations are all of them.
var Isolations = []Isolation{IsolationSchema, IsolationDatabase}

// TenantState is where a tenant is in its life.
type TenantState string

// The tenant states.
const (
	TenantProvisioning TenantState = "provisioning" // its home is being made
	TenantActive       TenantState = "active"
	TenantSuspended    TenantState = "suspended" // logins refused, data kept
	TenantDeleting     TenantState = "deleting"  // as suspended, until it is purged or resumed
	TenantDeleted      TenantState = "deleted"   // a tombstone: its home is gone
	TenantFailed       TenantState = "failed"    // provisioning failed; nothing is left on the cluster
)

// TenantStates are all of them.
var TenantStates = []TenantState{TenantProvisioning, TenantActive, TenantSuspended, TenantDeleting, TenantDeleted, TenantFailed}

// tenantMoves are the state moves that are legal.
var tenantMoves = map[TenantState][]TenantState{
	TenantProvisioning: {TenantActive, TenantFailed, TenantDeleted},
	TenantActive:       {TenantSuspended, TenantDeleting},
	TenantSuspended:    {TenantActive, TenantDeleting},
	TenantDeleting:     {TenantActive, TenantDeleted},
	TenantFailed:       {TenantDeleted},
}

// CanBecome reports whether the move is legal.
func (s TenantState) CanBecome(next TenantState) bool { return slices.Contains(tenantMoves[s], next) }

// Migratable reports whether a rollout may change a tenant in this state.
func (s TenantState) Migratable() bool { return s == TenantActive || s == TenantSuspended }

// Tenant is a customer whose data has a home of its own.
type Tenant struct {
	ID         string      `json:"id"`
	Slug       string      `json:"slug"`                  // what people type
	ExternalID string      `json:"external_id,omitempty"` // what applications key by
	State      TenantState `json:"state"`
	Settled    bool        `json:"settled"` // the cluster has been brought to State
	Isolation  Isolation   `json:"isolation"`
	Cluster    string      `json:"cluster"` // name
	Region     string      `json:"region,omitempty"`
	Tier       string      `json:"tier,omitempty"`
	Labels     Labels      `json:"labels"`
	Release    string      `json:"release,omitempty"` // name of the release it is at
	Version    string      `json:"version,omitempty"` // as its revisions said last
	Placement  Placement   `json:"placement"`
	Pin        *Pin        `json:"pin,omitempty"`     // keeps it at Version
	Failure    *Failure    `json:"failure,omitempty"` // why it is failed, or not settled yet
	CreatedAt  time.Time   `json:"created_at"`
	UpdatedAt  time.Time   `json:"updated_at"`
}

// Placement says where a tenant's home is. Generation rises whenever any of
// the rest changes.
type Placement struct {
	ClusterID  string `json:"cluster_id"`
	DatabaseID string `json:"database_id"`
	Database   string `json:"database"`
	Schema     string `json:"schema"`
	Role       string `json:"role"`   // rights role, NOLOGIN
	Logins     Logins `json:"logins"` // the tenant's two logins, a and b
	Generation int64  `json:"generation"`
}

// Logins are the two logins of a tenant that rotate.
type Logins [2]string

// NewTenant is one row of what `tenant create` takes.
type NewTenant struct {
	Slug       string    `json:"slug" yaml:"slug"`
	ExternalID string    `json:"external_id,omitempty" yaml:"external_id"`
	Isolation  Isolation `json:"isolation,omitempty" yaml:"isolation"` // default: schema
	Cluster    string    `json:"cluster,omitempty" yaml:"cluster"`     // default: the emptiest that fits
	Region     string    `json:"region,omitempty" yaml:"region"`
	Tier       string    `json:"tier,omitempty" yaml:"tier"`
	Labels     Labels    `json:"labels,omitempty" yaml:"labels"`
}

// Validate fills in the defaults and names the first field that cannot be meant.
func (n *NewTenant) Validate() error {
	if n.Isolation == "" {
		n.Isolation = IsolationSchema
	}
	if err := ValidateSlug(n.Slug); err != nil {
		return err
	}
	if !slices.Contains(Isolations, n.Isolation) {
		return Errorf(Invalid, "tenant %s: isolation %q is neither schema nor database", n.Slug, n.Isolation)
	}
	if err := validateExternalID(n.Slug, n.ExternalID); err != nil {
		return err
	}
	for what, name := range map[string]string{"cluster": n.Cluster, "region": n.Region, "tier": n.Tier} {
		if name == "" {
			continue
		}
		if err := ValidateName(what, name); err != nil {
			return err
		}
	}
	return n.Labels.Validate()
}

// TenantChange is what `tenant set` may change; nil fields stay.
type TenantChange struct {
	ExternalID *string `json:"external_id,omitempty"`
	Tier       *string `json:"tier,omitempty"`
	Labels     Labels  `json:"labels,omitempty"` // merged; an empty value removes the label
	DryRun     bool    `json:"dry_run,omitempty"`
}

// Validate names the first field that cannot be meant for the tenant slug.
func (c TenantChange) Validate(slug string) error {
	if c.ExternalID != nil {
		if err := validateExternalID(slug, *c.ExternalID); err != nil {
			return err
		}
	}
	if c.Tier != nil && *c.Tier != "" {
		if err := ValidateName("tier", *c.Tier); err != nil {
			return err
		}
	}
	return c.Labels.Validate()
}

func validateExternalID(slug, id string) error {
	if len(id) > 255 {
		return Errorf(Invalid, "tenant %s: the external id is longer than 255 characters", slug)
	}
	if !utf8.ValidString(id) || strings.ContainsFunc(id, unicode.IsControl) {
		return Errorf(Invalid, "tenant %s: the external id %q holds a control character or is not UTF-8", slug, id)
	}
	return nil
}

// TenantQuery narrows a list of tenants. Empty fields do not narrow.
type TenantQuery struct {
	Select         string `json:"select,omitempty"` // CEL over tenant.*
	Search         string `json:"search,omitempty"` // in slug and external id
	IncludeDeleted bool   `json:"include_deleted,omitempty"`
	Cursor         string `json:"cursor,omitempty"`
	Limit          int    `json:"limit,omitempty"` // 0: 100; at most 1000
}

// TenantResult is what happened to one tenant of a call on several.
type TenantResult struct {
	Slug   string  `json:"slug"`
	Tenant *Tenant `json:"tenant,omitempty"`
	Error  *Error  `json:"error,omitempty"`
}

// DSN is how to connect as a tenant, in parts. Password is only filled where
// it was asked for by name (reveal).
type DSN struct {
	Tenant     string   `json:"tenant"`
	Hosts      []string `json:"hosts"`
	Database   string   `json:"database"`
	Schema     string   `json:"schema"`
	User       string   `json:"user"`
	Password   string   `json:"password,omitempty"`
	TLS        TLS      `json:"tls"`
	Generation int64    `json:"generation"`
	Version    string   `json:"schema_version"`
}

// FingerprintGroup is the tenants that share a version and a fingerprint.
type FingerprintGroup struct {
	Version     string   `json:"version"`
	Server      int      `json:"server_major"` // fingerprints compare within one major version
	Fingerprint string   `json:"fingerprint"`
	Objects     int      `json:"objects"`
	Tenants     int      `json:"tenants"`
	Examples    []string `json:"examples"` // up to five slugs
}

// Pin keeps a tenant at its version: no rollout changes it.
type Pin struct {
	Reason    string     `json:"reason"`
	By        string     `json:"by"`
	At        time.Time  `json:"at"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"` // from then on it is as if it were not there
}

// PinRequest is what `tenant pin` takes.
type PinRequest struct {
	Reason string   `json:"reason"`
	For    Duration `json:"for,omitempty"` // default: until it is unpinned
	DryRun bool     `json:"dry_run,omitempty"`
}

// Validate names the first field that cannot be meant.
func (p PinRequest) Validate() error {
	switch {
	case strings.TrimSpace(p.Reason) == "":
		return Errorf(Invalid, "why the tenant is pinned is missing").WithHint("give --reason: who reads it later wants to know")
	case p.For < 0:
		return Errorf(Invalid, "a pin of %s has expired before it begins", p.For)
	}
	return nil
}

// String is "ticket 4711 (by ada, until 2026-12-01 08:00 UTC)".
func (p *Pin) String() string {
	if p == nil {
		return ""
	}
	text := p.Reason + " (by " + p.By
	if p.ExpiresAt != nil {
		text += ", until " + p.ExpiresAt.UTC().Format("2006-01-02 15:04 MST")
	}
	return text + ")"
}

// Holds reports whether the pin keeps its tenant where it is. nil never does.
func (p *Pin) Holds(now time.Time) bool {
	return p != nil && (p.ExpiresAt == nil || now.Before(*p.ExpiresAt))
}

// NoVersion is how a version before the first file of a release is called.
const NoVersion = "none"

// VersionRequest is what `tenant set-version` takes.
type VersionRequest struct {
	Version string   `json:"version"` // of the release, or [NoVersion]
	Release string   `json:"release"` // name
	Tenants []string `json:"tenants"` // slugs, 1 to 1000
	Reason  string   `json:"reason"`
	DryRun  bool     `json:"dry_run,omitempty"`
}

// Validate names the first field that cannot be meant, whatever the tenants.
func (r VersionRequest) Validate() error {
	switch {
	case r.Version == "":
		return Errorf(Invalid, "the version is missing").WithHint("%q is before the first file of the release", NoVersion)
	case r.Release == "":
		return Errorf(Invalid, "the release that holds version %s is missing", r.Version).WithHint("`manor release list` names them")
	case strings.TrimSpace(r.Reason) == "":
		return Errorf(Invalid, "why the tenants are at version %s is missing", r.Version).WithHint("give --reason: who reads it later wants to know")
	}
	return nil
}

// VersionResult is what became of a tenant whose version was set.
type VersionResult struct {
	Slug    string `json:"slug"`
	Was     string `json:"was"`               // the last version that it had as a whole, by its own revisions
	Partial string `json:"partial,omitempty"` // the version that it had only some statements of
	Is      string `json:"is"`
	Error   *Error `json:"error,omitempty"` // why it stays as it was, or what is not done yet
}

// Changed reports whether the tenant's revisions said something else before.
func (r VersionResult) Changed() bool { return r.Was != r.Is || r.Partial != "" }
