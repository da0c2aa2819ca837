//go:build failpoints

package failpoint

import (
	"context"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"
)

// The environment's two variables.
const (
	deathsEnv = "MANOR_FAILPOINT"
	logEnv    = "MANOR_FAILPOINT_LOG"
)

var here = fromEnvironment()

func fromEnvironment() *counter {
	deaths, err := parse(os.Getenv(deathsEnv))
	if err != nil {
		panic(deathsEnv + ": " + err.Error())
	}
	c := newCounter(deaths)
	if path := os.Getenv(logEnv); path != "" {
		log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			panic(logEnv + ": " + err.Error())
		}
		c.log = log
	}
	return c
}

// Reach says that the process has come to a point.
func Reach(point string) {
	switch death := here.reach(point); death.act {
	case kill:
		signal(syscall.SIGKILL)
		select {} // the signal is on its way
	case stop:
		signal(syscall.SIGSTOP)
	case panics:
		panic("failpoint " + point)
	case sleep:
		time.Sleep(death.sleep)
	}
}

func signal(s syscall.Signal) { _ = syscall.Kill(os.Getpid(), s) }

// Place is a function whose steps are points: "rollout.Sweep".
type Place string

// Caller is the function that called the one that asks.
func Caller() Place {
	callers := make([]uintptr, 1)
	runtime.Callers(3, callers) // past Callers, this and the one that asks
	frame, _ := runtime.CallersFrames(callers).Next()
	return Place(short(frame.Function))
}

// Reach says that the process has come to a step there: "rollout.Sweep.commit".
func (p Place) Reach(step string) { Reach(string(p) + "." + step) }

// Dial is dial, on whose connections each write is a point before it is sent
// and one after: name.write, name.written.
func Dial(name string, dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return mortal{conn, name}, nil
	}
}

type mortal struct {
	net.Conn
	name string
}

func (c mortal) Write(b []byte) (int, error) {
	Reach(c.name + ".write")
	n, err := c.Conn.Write(b)
	Reach(c.name + ".written")
	return n, err
}
