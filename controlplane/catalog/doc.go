// Package catalog is the way to Manor's own database: the ent client, its
// transactions and its migrations.
//
// Owns: the connection pool, migrations/catalog, the settings "incarnation",
// "place" and "claim", the sequence of fencing epochs. May import: nouns, ent,
// migrator, pgx.
//
// Doors: [Open], [Catalog.InTx], [Catalog.Migrate], [Catalog.Status],
// [Catalog.Check], [Catalog.CheckPlace]. Bricks: [BeginClaim], [EndClaim]. No loops.
//
// A copy of the catalog can be read, and is not written to before it was claimed
// (place.go).
//
// Everything that changes together goes through one [Catalog.InTx]: rows,
// audit, events (package event) and jobs (package work) commit or vanish as one.
package catalog
