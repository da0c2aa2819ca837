// Package cli holds Manor's commands, one file per noun.
//
// It owns flags, arguments, the environment and exit codes. Commands are
// written once, against package client: with MANOR_SERVER it dials a running
// service, with MANOR_CATALOG it speaks to a control plane inside this process
// (connect.go, daemon.go: with dev.go and serve.go the only files that see
// package daemon). It may import the nouns, client, render and daemon; dev.go
// also devpg.
//
// Door: [Main]. Loops: none of its own; a command that waits ends with its context.
package cli
