// Package controlplane holds Manor's nouns: clusters, tenants, placements,
// releases, rollouts, targets and events as values, with their validation and
// the moves between their states that are legal.
//
// The nouns import nobody but the standard library. They are what the rooms
// below this folder work on and, encoded as JSON, the wire format of the API,
// the SDK and the CLI's --output json: one set of types from end to end.
package controlplane
