// Package doctor compares what the catalog says with what there is.
//
// Owns: nothing. May import: rollout and the rooms after it, and the ground.
//
// Doors: [Service.Verify] compares the versions in the catalog with the stamps
// of all tenants and corrects the catalog. [Service.Examine] looks for orphans,
// what is on a cluster and not in the catalog, for ghosts, what is in the catalog
// and not on its cluster, and for what was left undone; it mends what is safe and
// never drops data. [Claim] makes a catalog of its own out of a copy.
//
// Loops: none.
//
// Reading (store.go, visit.go, inventory.go), comparing (compare.go, homes.go,
// roles.go, loops.go: pure functions) and mending (fix.go) are apart.
package doctor
