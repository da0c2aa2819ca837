// Package schema holds the catalog's entities, from which `go generate ./ent`
// makes the ent client and internal/catalogdiff the next catalog migration.
//
// Entities have no edges: rooms walk from one to another by id, and nobody
// walks back. A state column is text with a CHECK, so that SQL written by hand
// cannot store a state the nouns do not know. Ids of what operators see are
// opaque strings that the owning room chooses.
package schema
