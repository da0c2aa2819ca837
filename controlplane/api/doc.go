// Package api is the HTTP edge of the control plane: it decodes a request,
// calls one door, and encodes what the door answered. It decides nothing.
//
// Owns: the route table (routes.go), the wire form of errors and the one table
// from code to status (problem.go), events as server-sent events (events.go),
// and the transport that carries requests to the handler without a socket
// (transport.go).
//
// May import: the nouns, huma, the standard library. It knows the rooms by the
// interfaces in rooms.go, so it cannot see ent, SQL or a cluster.
//
// Doors: [New], [Transport], [Document], [StrategySchema]. Loops: none; a stream of events ends
// with its request, so whoever serves must cancel the contexts of the requests
// (http.Server.BaseContext) before it waits for them.
package api

//go:generate go run ./openapi ../../docs/openapi.json ../../docs/strategy.schema.json ../../cmd/manor/cli/strategy.schema.json
