package controlplane

// Rehearsal is what was seen when a release was run, version by version, in a
// scratch database with generated rows: up, down, and up again.
type Rehearsal struct {
	Release       string             `json:"release"`
	From          string             `json:"from"` // the version before the first of Versions; "" is an empty home
	To            string             `json:"to"`
	Cluster       string             `json:"cluster"`
	ServerVersion int                `json:"server_version"` // major; what was seen holds for no other
	Versions      []RehearsedVersion `json:"versions"`       // up to the first that cannot be run at all
	DurationMS    int64              `json:"duration_ms"`
}

// Proved reports whether every version ran and the way back from each is proved.
func (r *Rehearsal) Proved() bool {
	for _, v := range r.Versions {
		if !v.Proved {
			return false
		}
	}
	return true
}

// RehearsedVersion is one migration file, seen running.
type RehearsedVersion struct {
	Version    string               `json:"version"`
	File       string               `json:"file"`
	TxMode     string               `json:"tx_mode"` // file or none
	Statements []RehearsedStatement `json:"statements"`

	// Refuses says which of the generated rows the version refuses, and Failure
	// how. A tenant that has such rows stays at the version before.
	Refuses string   `json:"refuses,omitempty"` // RefusesSome, RefusesAll or RefusesEverything; on a copy RefusesTenant
	Failure *Failure `json:"failure,omitempty"`
	Nulls   int64    `json:"nulls,omitempty"` // on a copy: rows with a NULL where the version wants none

	Down    string   `json:"down"`    // file, computed or none
	Reverse []string `json:"reverse"` // the statements that undo it
	// Proved: up and down left the schema, by its fingerprint, and every row as
	// they were before, and down also ran over rows written after up.
	Proved    bool     `json:"proved"`
	Why       string   `json:"why,omitempty"` // it is not proved, or there is no way back
	LosesUp   []string `json:"loses_up"`      // data of before that is not there again after up and down: "column notes.stars"
	LosesDown []string `json:"loses_down"`    // data written after up that is not there again after down and up

	Unfilled   []UnfilledTable `json:"unfilled"` // nothing is known about rows of these
	DurationMS int64           `json:"duration_ms"`
}

// What a version refuses of the generated rows.
const (
	RefusesSome       = "some"       // such as NULL, negative numbers, duplicates
	RefusesAll        = "every row"  // it runs on empty tables only
	RefusesEverything = "everything" // it fails in an empty home, too
	RefusesTenant     = "the tenant" // it fails over the rows of the tenant that was copied
)

// RehearsedStatement is one statement, seen running. Only what existed before
// its file is named: nobody uses what the file itself creates.
type RehearsedStatement struct {
	Statement     int             `json:"statement"` // 1 is the first of the file
	SQL           string          `json:"sql"`
	Locks         []RehearsedLock `json:"locks"`
	Rewrites      []string        `json:"rewrites"` // tables and indexes that got a new file
	Scans         []string        `json:"scans"`    // tables that were read from end to end
	InTransaction bool            `json:"in_transaction"`
	DurationMS    int64           `json:"duration_ms"` // over a handful of rows; on a copy, over the tenant's
}

// RehearsedLock is the strongest lock on a relation under which a statement ran.
type RehearsedLock struct {
	Relation string `json:"relation"`
	Mode     string `json:"mode"`            // in PostgreSQL's words: "ACCESS EXCLUSIVE"
	Since    int    `json:"since,omitempty"` // the earlier statement that took it; 0: this one
}

// UnfilledTable is a table for which no rows could be made up.
type UnfilledTable struct {
	Table string `json:"table"`
	Why   string `json:"why"`
}

// RehearsalRequest says what to rehearse.
type RehearsalRequest struct {
	From    string `json:"from,omitempty"`    // version; default: an empty home
	To      string `json:"to,omitempty"`      // version; default: the last
	Cluster string `json:"cluster,omitempty"` // default: any active one that answers
}
