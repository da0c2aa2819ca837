// Package fleet knows the clusters, the databases that Manor made on them, and
// the connections to both.
//
// Owns: Cluster, Database, Snapshot, Allotment. May import: access, audit and the ground.
// Doors: Add, List, Show, Set, Remove a cluster. Bricks: candidates and
// reservations for tenant. Connections: [Service.AsControl], [Service.AsOwner]
// and [Way] are the only way anybody above opens a cluster. Loops:
// [Service.Run].
//
// The connections of all processes to a cluster stay within what it allows,
// at any moment; the rest of what the server has is left to applications. A
// process opens no more than the catalog has allotted to it, and what is
// allotted to the living adds up to the cluster's at most:
//
//	connect.go  who wants to go where
//	pool.go     the connections of this process to one cluster
//	seat.go     who may use one, and who waits
//	tally.go    the sums behind that, without a lock or a clock
//	line.go     from dialling until the server has let go
//	watch.go    a wait for a server that has nothing more to say
//	budget.go   what this process asks for and gives back
//	allot.go    the account of all processes in the catalog
package fleet
