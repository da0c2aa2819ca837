// Package selector decides which tenants an expression means.
//
// Owns: the names an expression may use, which are those of the JSON of a
// tenant. May import: nouns, CEL.
//
// Doors: [Compile], [Selector.Matches]. No loops.
package selector
