// Package catalogtest gives tests a catalog of their own: a fresh database,
// migrated, with the job queue's tables.
//
// Owns: nothing. May import: catalog, work, internal/pgtest. Doors: [New], [URL].
package catalogtest
