package main

import (
	"os"
	"strings"
	"testing"
)

func TestDrawnStatesAreThoseOfTheCode(t *testing.T) {
	t.Parallel()
	drawn, err := page()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile("../../docs/states.md")
	if err != nil || string(file) != drawn {
		t.Errorf("docs/states.md is not current: make generate (%v)", err)
	}
}

func TestDrawingKnowsAReasonForEveryMoveAndNoOther(t *testing.T) {
	t.Parallel()
	d := drawing{states: []string{"a", "b"}, starts: []string{"a"}, moves: func(from, to string) bool { return from == "a" && to == "b" }}
	for why, want := range map[string]string{"": "from a to b has no reason", "b a": "no move b a"} {
		d.why = map[string]string{why: "so", "a b": "so"}
		if why == "" {
			d.why = nil
		}
		if _, err := d.draw(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("reasons %v: %v", d.why, err)
		}
	}
	d.why = map[string]string{"a b": "so"}
	if got, err := d.draw(); err != nil || got != "    [*] --> a\n    a --> b : so\n    b --> [*]\n" {
		t.Errorf("%v\n%s", err, got)
	}
}
