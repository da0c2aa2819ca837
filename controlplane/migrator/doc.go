// Package migrator brings one release onto one tenant: parse, apply, revert.
//
// A [Release] is an Atlas directory, parsed once and shared read-only. Its
// transactional files go to a tenant as one message in one round trip, each
// file in a transaction of its own that begins with the proof of the target
// (schema manor, package pg) and ends with Atlas's revision. What fails is told
// by file, statement, SQLSTATE and position.
//
// A file without transaction runs statement by statement, each in one
// transaction with its record where PostgreSQL lets it be. Of the others an index
// tells whether it was made or dropped; a DO or CALL that ends transactions
// itself may run twice after a crash.
//
// A rehearsal runs a release in a scratch database, over rows it makes up, and
// tells what each statement did and whether its way back is proved.
//
// Owns: how migration files are read, checked, sent and undone, and the rows of
// Atlas's revision table. It is the only importer of Atlas.
//
// May import: pg, the nouns, pgx, Atlas.
//
// Doors: Parse; Lint, which needs no database; Release.Apply, Revert, Set,
// ComputeReverses, Rehearse, ApplyCatalog; ParseGoal and Goal.Diff, which writes
// the next migration; CurrentVersion; LookAt, over a cluster's control login.
//
// Loops: none.
package migrator
