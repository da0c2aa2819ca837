// Package work hands out durable jobs: enqueued in the transaction of the rows
// they are about, worked by any process on the same catalog, tried again until
// they succeed.
//
// Owns: the schema "river" of the catalog's database. May import: catalog,
// River; it is River's only importer.
//
// Doors: [Migrate], [Check], [New], [Handle], [Every], [Queue.Run]. Bricks:
// [Queue.Enqueue], [Queue.EnqueueAt]. Loops: Run.
//
// A job may run twice, and on another version of Manor: what is true lies in
// the catalog's rows and in the tenants, and a job only says where to look.
package work
