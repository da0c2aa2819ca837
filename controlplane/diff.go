package controlplane

import "regexp"

// NewDiff asks for the migration that leads a migration directory to a desired
// schema.
type NewDiff struct {
	Name    string            `json:"name"`              // of the migration: a-z, 0-9 and _
	Files   map[string][]byte `json:"files,omitempty"`   // the directory, as in [NewRelease]; without a migration: the first one
	Path    string            `json:"path"`              // of the schema file, for messages
	Schema  []byte            `json:"schema"`            // SQL that makes the desired schema from nothing
	Cluster string            `json:"cluster,omitempty"` // whose PostgreSQL and extensions count; default: the first active one that answers
}

var migrationPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_]{0,99}$`)

// Validate names the field that cannot be meant.
func (n *NewDiff) Validate() error {
	if !migrationPattern.MatchString(n.Name) {
		return Errorf(Invalid, "migration name %q is not valid", n.Name).
			WithHint("use 1 to 100 characters a-z, 0-9 and _, such as add_teams; the version goes before it by itself")
	}
	return nil
}

// Diff is the migration that leads a directory to a desired schema, as far as
// Atlas can compute it, and what it is worth.
type Diff struct {
	InSync   bool              `json:"in_sync"`           // the directory leads to the schema already
	Complete bool              `json:"complete"`          // the migration was seen to lead to the schema, and renames nothing
	File     string            `json:"file,omitempty"`    // name of the migration file; "" when there is nothing to write
	Files    map[string]string `json:"files,omitempty"`   // to write: the migration, its down file if there is one, atlas.sum
	NoDown   string            `json:"no_down,omitempty"` // why there is no down file
	Drops    []string          `json:"drops,omitempty"`   // what the migration drops
	Notes    []string          `json:"notes,omitempty"`   // what to look at before it meets rows and writers
	Renames  []Rename          `json:"renames,omitempty"` // drops that look like renames: rows would be lost
	// ByHand are the objects that the migration leaves as they should not be.
	ByHand  []ObjectDifference `json:"by_hand,omitempty"`
	Failure *Failure           `json:"failure,omitempty"` // the migration fails, and ByHand is not known
}

// Rename is a drop that looks like a rename.
type Rename struct {
	Kind string   `json:"kind"` // column or table
	From string   `json:"from"`
	To   []string `json:"to"` // what is added and would fit
}

// What is to be done to an object of one schema to make it that of another.
const (
	DifferenceCreate = "create"
	DifferenceChange = "change"
	DifferenceDrop   = "drop"
)

// ObjectDifference is an object in which two schemas differ.
type ObjectDifference struct {
	Kind string `json:"kind"` // in PostgreSQL's words: table, view, function, enum, column, …
	Name string `json:"name"` // of what belongs to a table: "table.name"
	Do   string `json:"do"`   // create, change or drop
}

// Names are the names of the files in the order in which they are to be
// written: atlas.sum, which makes them count, is the last.
func (d *Diff) Names() []string {
	var names []string
	for _, name := range []string{d.File, "down/" + d.File, "atlas.sum"} {
		if _, ok := d.Files[name]; ok {
			names = append(names, name)
		}
	}
	return names
}
