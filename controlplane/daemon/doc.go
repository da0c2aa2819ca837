// Package daemon wires the rooms together and owns their lifetimes.
//
// A [Daemon] is a value: New, Start, Serve, Stop. `manor serve`, `manor dev`,
// the CLI's in-process mode and the tests hold the same thing.
package daemon
