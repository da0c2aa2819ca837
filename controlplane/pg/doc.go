// Package pg is one PostgreSQL cluster: names, connections, roles, databases,
// homes, markers, fingerprints. All our DDL on clusters is here.
//
// Owns: everything on a cluster that Manor made, and nothing else. Roles carry
// a comment that says so, databases an owner that Manor made, homes a row in
// schema manor; what lacks them is never altered or dropped.
//
// May import: the nouns and pgx.
//
// Doors: Connect and Login.Config open connections, TroubleOf says whose fault
// an error is; Inspect and Facts.Check look at a cluster. With the control
// login, which needs CREATEDB and CREATEROLE and no more: CreateDatabase,
// IsMade, CloseDatabase, DropUnlessMade, DropDatabase, CreateRoles, DropRoles,
// SetLogins, Harden, ReadStamps, FindDatabases, FindRoles, ReadTies,
// DropUnusedRoles. With the owner login of one database: FurnishDatabase,
// UpgradeMarker, CreateHome, CheckHome, MayDrop, DropHome, CheckEmpty,
// ProveEmpty, ReadMarkers, ReadRevisions, FindSchemas, FindInvalidIndexes,
// DropInvalidIndex, RewriteIncarnation. With any: Fingerprint. Each may be
// repeated, after any failure, and run concurrently with itself.
//
// Loops: none.
package pg
