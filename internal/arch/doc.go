// Package arch holds the rules of the house as a test: who may import whom
// (design, section 3), and that every package has its door plate.
//
// Owns: the order of the page (house.go) and the rules (rules.go). May import:
// the standard library. Doors: [Read] turns the source tree into facts, [Check]
// says which of them break a rule; it looks at nothing but its argument.
// Loops: none.
//
// A new room is one word in house.go. A new rule is an entry in rules.go and
// one in the table of its test, which has to show that it can be broken.
package arch
