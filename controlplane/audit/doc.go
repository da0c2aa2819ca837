// Package audit keeps the log of who changed what.
//
// Owns: AuditRecord. May import: catalog and the ground.
// Doors: none yet; its brick [Record] writes a record in the transaction of the
// change, so that neither exists without the other.
package audit
