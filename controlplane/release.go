package controlplane

import (
	"slices"
	"time"
)

// Release is an immutable migration directory, addressed by the hash of its
// content, down files included.
type Release struct {
	ID         string    `json:"id"`
	Name       string    `json:"name"`
	Hash       string    `json:"hash"` // sha256 over names and contents, hex
	Versions   []Version `json:"versions"`
	Extensions []string  `json:"extensions"`                // that it says it needs
	Default    string    `json:"default_version,omitempty"` // set when new tenants start at this release
	CreatedAt  time.Time `json:"created_at"`
	CreatedBy  string    `json:"created_by"`
}

// Version is one migration file of a release.
type Version struct {
	Version    string `json:"version"`
	Name       string `json:"name"` // file name
	Statements int    `json:"statements"`
	Hash       string `json:"hash"`             // as atlas.sum has it, without h1:
	TxMode     string `json:"tx_mode"`          // file or none
	Down       string `json:"down"`             // file, computed, none or unknown (not computed yet)
	Reason     string `json:"reason,omitempty"` // why Down is none
}

// How a version can be undone.
const (
	DownFile     = "file"     // a down file lies beside it
	DownComputed = "computed" // additive DDL on tables: Atlas's diff reversed it
	DownNone     = "none"     // neither
	DownUnknown  = "unknown"  // no down file; computed when first needed
)

// Latest is the last version of the release.
func (r *Release) Latest() string {
	if len(r.Versions) == 0 {
		return ""
	}
	return r.Versions[len(r.Versions)-1].Version
}

// Has reports whether the release holds a version. Every release holds "",
// the state before the first.
func (r *Release) Has(version string) bool {
	if version == "" {
		return true
	}
	for _, v := range r.Versions {
		if v.Version == version {
			return true
		}
	}
	return false
}

// FitsOn refuses a cluster that does not allow an extension the release needs.
func (r *Release) FitsOn(c *Cluster) error {
	for _, e := range r.Extensions {
		if !slices.Contains(c.Extensions, e) {
			return Errorf(Refused, "release %s needs extension %s, which cluster %s does not allow", r.Name, e, c.Name).
				WithHint("`manor cluster set %s --extension %s` installs it", c.Name, e)
		}
	}
	return nil
}

// NewRelease is what `release push` takes: file names, relative to the
// migration directory, with their content. Down files are "down/<name>".
type NewRelease struct {
	Name       string            `json:"name"`
	Files      map[string][]byte `json:"files"`
	Extensions []string          `json:"extensions,omitempty"`
	DryRun     bool              `json:"dry_run,omitempty"`
}
