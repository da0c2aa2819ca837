package controlplane

// Actor is who asked: the CLI's user, a background loop, later a token.
type Actor struct {
	Kind string `json:"kind"` // "user" or "loop"
	Name string `json:"name"`
}

// Loop is the actor of a background loop.
func Loop(name string) Actor { return Actor{Kind: "loop", Name: name} }

// String is how the audit log writes an actor.
func (a Actor) String() string { return a.Kind + ":" + a.Name }

// Page is one page of a list. Next is the cursor of the page after it, empty
// on the last one.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}
