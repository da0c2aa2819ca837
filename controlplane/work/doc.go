// Package work hands out durable jobs: enqueued in the transaction of the rows
// they are about, worked by any process on the same catalog, tried again until
// they succeed. It also knows which processes those are.
//
// Owns: Worker, and the schema "river" of the catalog's database. May import:
// catalog, River; it is River's only importer.
//
// Doors: [Migrate], [Check], [New], [Handle], [Every], [Queue.Run], [Join].
// Bricks: [Queue.Enqueue], [Queue.EnqueueAt], [Processes]. Loops: [Queue.Run],
// [Presence.Run].
//
// A job may run twice, and on another version of Manor: what is true lies in
// the catalog's rows and in the tenants, and a job only says where to look.
// Nothing that has to happen soon after a process died waits for River's
// leader, whose death takes it some 15 s to notice: that is what loops are for.
package work
