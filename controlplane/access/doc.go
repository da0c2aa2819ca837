// Package access decides who may do what.
//
// Owns: nothing yet (tokens and rules come with the networked service). May
// import: audit and the ground.
// The guard is called first in every door; deciding and auditing are one call.
package access
