// Package tenant keeps the tenants and where they live.
//
// Owns: Tenant, Placement. May import: provision, release, credential, fleet,
// access, audit and the ground.
// Doors: Create, List, Show, Set, Pin, Unpin, SetVersion, Suspend, Resume, Delete, Purge, DSN,
// Fingerprints. Bricks: [Service.Correct], [Service.Resettle].
// Loop: [Service.Converge] brings the cluster to the state that a
// tenant is in; it starts from what it finds, so it may be called any number of
// times, and [Service.Sweep] calls it again for whatever a crash left behind.
package tenant
