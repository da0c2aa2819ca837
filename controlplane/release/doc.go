// Package release keeps the releases: immutable migration directories,
// addressed by their content.
//
// Owns: Release, and the settings that say at which release new tenants start.
// May import: credential and the rooms after it, and the ground. It lies below
// tenant because a new tenant needs the default release.
// Doors: Push, List, Show, SetDefault, Diff, Rehearse. [Service.Load] hands a parsed release to
// the rooms above, once per process.
package release
