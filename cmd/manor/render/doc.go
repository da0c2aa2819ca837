// Package render turns Manor's nouns into what people and scripts read: tables
// and sentences, JSON, YAML and progress.
//
// It owns how things look and nothing else. It may import the nouns, lipgloss
// and yaml; no network, no cobra, no other package of Manor.
//
// Doors: [New] and the methods of [Printer], one per noun; [Printer.Progress].
// Loops: a [Progress] on a terminal redraws itself until it is closed.
package render
