package controlplane

// Health is what a running control plane says of itself.
type Health struct {
	Version string `json:"version"`          // of the program
	Schema  string `json:"schema,omitempty"` // version that the catalog is at
}
