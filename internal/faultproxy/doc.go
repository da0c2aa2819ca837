// Package faultproxy stands between Manor and a PostgreSQL server in a test and does to their connections what networks
// do: it cuts them at the message the test names, lets them go half-open, refuses new ones, delays, or leads to another
// server.
//
// It knows where messages begin and end, which of a client's are simple queries, and by which message a server says
// that it has answered. It speaks no TLS, and says so to a client that asks.
//
// Owns: its listener and its connections.
// May import: the standard library. Nothing of Manor.
// Doors: Start; then the faults of the Proxy and of each Conn, Heal, Close.
// Loops: one goroutine accepts, and two carry each connection; Close ends them all.
package faultproxy
