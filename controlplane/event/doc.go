// Package event is the outbox: events are rows, written in the transaction of
// what they tell, and read in an order in which none is ever skipped.
//
// Owns: Event. May import: catalog, nouns.
//
// Doors: [Log.Read], [Log.Head], [Log.Watch]. Brick: [Emit]. Loops: Watch, for
// as long as its caller wants.
//
// A transaction may commit after a later one. So readers see an event only when
// every older transaction that could still write one has ended, and the cursor
// is (transaction id, id): what was read stays before what comes.
package event
