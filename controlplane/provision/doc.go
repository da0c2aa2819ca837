// Package provision makes and unmakes homes on clusters.
//
// Owns: nothing in the catalog. May import: credential, fleet, access, audit
// and the ground.
// Steps: [Service.Build], [Service.Raze] and [Service.Admit] bring a cluster to
// what is wanted of one home, however far an earlier attempt came. They are
// called by the tenant room, which says what is wanted.
package provision
