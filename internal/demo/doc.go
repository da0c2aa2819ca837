// Command demo plays Manor's main job before the user's eyes: three PostgreSQL servers, two of them clusters with 220
// tenants, a release rolled out, the one tenant that refuses it, and everything taken back. `make demo` runs it.
//
// Every `$ manor …` on the screen is a run of the built binary, and every `tenant=> …` a statement sent through that
// tenant's own login. Between them the demo asks the same binary for JSON and compares: what does not come out as the
// narration says ends it with exit code 1.
//
// Owns: what it starts (PostgreSQL servers, `manor serve`, a temporary folder), and takes it all away at the end.
// May import: devpg, the nouns and pg's way to make a password; nothing else of Manor's.
// Doors: main.
// Loops: writers that keep tenants busy during the rollout; they end with it.
package main
