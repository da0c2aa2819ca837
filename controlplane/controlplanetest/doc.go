// Package controlplanetest starts a whole control plane for a test: a catalog,
// clusters on real PostgreSQL, workers, and a client that speaks to it.
package controlplanetest
