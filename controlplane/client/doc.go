// Package client is the Go SDK of the control plane: one method for each door,
// over HTTP. The CLI is written against it, and nothing it can do is kept from
// other programs.
//
// Owns: the requests, the rebuilding of errors, and the resuming of a stream of
// events. Errors of the control plane come back as [*controlplane.Error], equal
// to those on the other side, so that errors.Is against a code works; a context
// that ends comes back as its cause.
//
// May import: the nouns and the standard library.
//
// Doors: [New], [Dial], the methods of [Client]. Loops: none but
// [Client.Events], which runs in its caller.
package client
