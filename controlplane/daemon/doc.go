// Package daemon wires the rooms together and owns their lifetimes.
//
// Owns: no rows. May import: every edge, room and ground package; nobody but
// the CLI and tests imports it.
// A [Daemon] is a value: New, Start, Serve, Stop. `manor serve`, `manor dev`,
// the CLI's in-process mode and the tests hold the same thing.
package daemon
