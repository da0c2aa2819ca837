//go:build !failpoints

package failpoint

import (
	"context"
	"net"
)

// Reach says that the process has come to a point.
func Reach(string) {}

// Place is a function whose steps are points: "rollout.Sweep".
type Place struct{}

// Caller is the function that called the one that asks.
func Caller() Place { return Place{} }

// Reach says that the process has come to a step there: "rollout.Sweep.commit".
func (Place) Reach(string) {}

// Dial is dial, on whose connections each write is a point before it is sent
// and one after: name.write, name.written.
func Dial(_ string, dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return dial
}
