// Package fleet knows the clusters and the databases that Manor made on them.
//
// Owns: Cluster, Database. May import: access, audit and the ground.
// Doors: Add, List, Show, Set, Remove a cluster. Bricks: candidates and
// reservations for tenant. Connections: [Service.AsControl] and [Service.AsOwner]
// are the only way anybody above opens a cluster.
package fleet
