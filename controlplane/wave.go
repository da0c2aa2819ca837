package controlplane

import "time"

// WaveState is where a wave of a rollout is.
type WaveState string

// The wave states.
const (
	WaveWaiting WaveState = "waiting" // for the waves before it
	WaveRunning WaveState = "running" // its tenants are worked on
	WaveSoaking WaveState = "soaking" // they are done; nothing happens for a while
	WaveGated   WaveState = "gated"   // a gate is not passed yet
	WavePassed  WaveState = "passed"  // the next one may run, or has
)

// WaveStates are all of them, in the order of a wave's life.
var WaveStates = []WaveState{WaveWaiting, WaveRunning, WaveSoaking, WaveGated, WavePassed}

// WaveStatus is how far one wave of a rollout has come.
type WaveStatus struct {
	Number   int          `json:"number"` // 1 is the first
	Name     string       `json:"name"`
	State    WaveState    `json:"state"`
	Targets  int          `json:"targets"`
	Counts   Counts       `json:"counts"`
	EndedAt  *time.Time   `json:"ended_at,omitempty"`  // its last target was done
	SoaksTo  *time.Time   `json:"soaks_to,omitempty"`  // while it soaks
	PassedAt *time.Time   `json:"passed_at,omitempty"` // the next one could begin
	Gates    []GateResult `json:"gates,omitempty"`     // asked so far
}

// GateResult is what is known of one gate after one wave.
type GateResult struct {
	Gate     string     `json:"gate"` // what it asks
	AskedAt  *time.Time `json:"asked_at,omitempty"`
	SoSince  *time.Time `json:"so_since,omitempty"` // since when every answer was the right one
	PassedAt *time.Time `json:"passed_at,omitempty"`
	Failure  string     `json:"failure,omitempty"` // the answer, if it was another
	By       string     `json:"by,omitempty"`      // who approved
}

// Passed reports whether the gate is behind the rollout.
func (g GateResult) Passed() bool { return g.PassedAt != nil }
