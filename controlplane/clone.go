package controlplane

// Clone is a tenant's home that was copied with its rows into a scratch
// database on its cluster, and what was seen when versions ran there. The copy
// is gone again.
type Clone struct {
	Tenant   string             `json:"tenant"` // slug
	Cluster  string             `json:"cluster"`
	From     string             `json:"from"` // the version that the tenant is at; "" is an empty home
	To       string             `json:"to"`
	Copied   bool               `json:"copied"`
	Why      string             `json:"why,omitempty"` // it was not copied, or nothing was seen of later versions
	Tables   int                `json:"tables"`
	Rows     int64              `json:"rows"`
	Bytes    int64              `json:"bytes"`    // of the rows, on their way
	CopyMS   int64              `json:"copy_ms"`  // until constraints, indexes and statistics were there, too
	Versions []RehearsedVersion `json:"versions"` // up to the first that the rows refuse
}

// Refused is the version that the tenant's rows refuse, or nil.
func (c *Clone) Refused() *RehearsedVersion {
	for i := range c.Versions {
		if c.Versions[i].Refuses != "" {
			return &c.Versions[i]
		}
	}
	return nil
}

// Bounds of a rehearsal on copies.
const (
	MaxClones         = 20
	DefaultCloneLimit = 10 << 30 // bytes of a home, with its indexes
)
