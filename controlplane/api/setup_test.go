package api_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/manorhq/manor/controlplane/api"
	"github.com/manorhq/manor/controlplane/client"
)

func TestMain(m *testing.M) {
	// net/http lets a client that is still sending finish reading, for 0.5 s.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// logged is a log that may be read while it is written.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// edge is an API with scripted rooms behind it.
type edge struct {
	*script
	events  *eventLog
	log     *logged
	handler http.Handler
}

func newEdge() *edge {
	e := &edge{script: &script{}, events: newEventLog(), log: &logged{}}
	e.handler = api.New(api.Config{
		Fleet: fleet{e.script}, Tenants: tenants{e.script}, Releases: releases{e.script}, Rollouts: rollouts{e.script}, Doctor: doctor{e.script},
		Events: e.events, Version: "1.2.3",
		Schema: func(context.Context) (string, error) { return play[string](e.script, "Schema", actor{}) },
		Logger: slog.New(slog.NewTextHandler(e.log, nil)),
	})
	return e
}

// overBoth runs a test over a unix socket and without one: one suite, two
// transports. Wrap may stand between the transport and the API.
func overBoth(t *testing.T, wrap func(http.Handler) http.Handler, f func(*testing.T, *edge, *client.Client)) {
	if wrap == nil {
		wrap = func(h http.Handler) http.Handler { return h }
	}
	t.Run("in process", func(t *testing.T) {
		e := newEdge()
		f(t, e, client.New("http://manor", api.Transport(wrap(e.handler))))
	})
	t.Run("over a socket", func(t *testing.T) {
		e := newEdge()
		c, err := client.Dial("unix://" + serve(t, wrap(e.handler)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		f(t, e, c)
	})
}

// serve listens on a unix socket until the test ends, and returns its path.
func serve(t *testing.T, h http.Handler) string {
	dir, err := os.MkdirTemp("", "manor") // t.TempDir is longer than a socket's path may be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	// The abort of a handler that was cut off is not worth a line in the test's output.
	server := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return path
}
