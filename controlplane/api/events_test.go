package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/api"
	"github.com/manorhq/manor/controlplane/client"
)

var errEnough = errors.New("enough")

// until collects the cursors of events up to one.
func until(last string, got *[]string) func(controlplane.Event) error {
	return func(e controlplane.Event) error {
		*got = append(*got, e.Cursor)
		if e.Cursor == last {
			return errEnough
		}
		return nil
	}
}

func TestEventsAfterACursorArriveWholeAndInOrder(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, e *edge, c *client.Client) {
		e.events.emit("tenant.changed", "tenant.changed", "rollout.changed")
		head, err := c.EventsHead(t.Context())
		if err != nil || head != "3" {
			t.Fatalf("the head is %q, %v, want 3", head, err)
		}
		var got []controlplane.Event
		err = c.Events(t.Context(), "1", func(ev controlplane.Event) error {
			got = append(got, ev)
			if ev.Cursor == "3" {
				e.events.emit("batch.finished") // while the stream is open
			}
			if ev.Cursor == "4" {
				return errEnough
			}
			return nil
		})
		if err != errEnough {
			t.Fatalf("the stream ended with %v, want what the callback answered", err)
		}
		if diff := cmp.Diff(e.events.events[1:], got); diff != "" {
			t.Errorf("other events arrived (-want +got):\n%s", diff)
		}
		<-e.events.ended // and the handler ended with it
	})
}

func TestAStreamWithoutACursorStartsNow(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, e *edge, c *client.Client) {
		e.events.emit("old", "old")
		res := watch(t, e.handler, "/v1/events", nil)
		defer res.Body.Close()
		lines := bufio.NewReader(res.Body)
		if got, want := frame(t, lines), "id: 2\nevent: hello\ndata: {\"cursor\":\"2\",\"head\":\"2\"}\n"; got != want {
			t.Errorf("the stream begins with\n%s, want\n%s", got, want)
		}
		e.events.emit("new")
		if got := frame(t, lines); !strings.HasPrefix(got, "id: 3\nevent: new\ndata: {") {
			t.Errorf("the next event is\n%s", got)
		}
	})
}

// watch opens a raw stream without a socket.
func watch(t *testing.T, h http.Handler, path string, header http.Header) *http.Response {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://manor"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	if header == nil {
		req.Header = http.Header{}
	}
	res, err := api.Transport(h).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if ct := res.Header.Get("Content-Type"); ct != "text/event-stream" {
		t.Fatalf("%s answers %s as %s, want a stream", path, res.Status, ct)
	}
	return res
}

// frame reads up to a blank line.
func frame(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("the stream ended after %q: %v", b.String(), err)
		}
		if line == "\n" {
			return b.String()
		}
		b.WriteString(line)
	}
}

func TestABrowserThatReconnectsGoesOnAfterItsLastEvent(t *testing.T) {
	e := newEdge()
	e.events.emit("a", "b", "c")
	res := watch(t, e.handler, "/v1/events?after=1", http.Header{"Last-Event-Id": {"2"}})
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	if got := frame(t, lines); !strings.Contains(got, `"cursor":"2"`) {
		t.Errorf("the stream begins with %s, want the cursor of Last-Event-ID", got)
	}
	if got := frame(t, lines); !strings.HasPrefix(got, "id: 3\n") {
		t.Errorf("the first event is %s, want the one after 2", got)
	}
}

func TestABrokenStreamLosesAndRepeatsNoEvent(t *testing.T) {
	const last = 40
	var streams atomic.Int32
	cut := func(h http.Handler) http.Handler {
		streams.Store(0)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(&cutter{ResponseWriter: w, left: 100 + 400*int(streams.Add(1))}, r)
		})
	}
	overBoth(t, cut, func(t *testing.T, e *edge, c *client.Client) {
		var got, want []string
		for i := range last {
			e.events.emit("tenant.changed")
			want = append(want, fmt.Sprint(i+1))
		}
		if err := c.Events(t.Context(), "0", until(fmt.Sprint(last), &got)); err != errEnough {
			t.Fatalf("the stream ended with %v", err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("events are lost, repeated or out of order (-want +got):\n%s", diff)
		}
		if n := streams.Load(); n < 4 {
			t.Errorf("the stream broke %d times, want several", n-1)
		}
	})
}

// cutter aborts an answer after some bytes, in the middle of a line if need be.
type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *cutter) Write(b []byte) (int, error) {
	if len(b) <= c.left {
		c.left -= len(b)
		return c.ResponseWriter.Write(b)
	}
	c.ResponseWriter.Write(b[:c.left])
	http.NewResponseController(c.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

func TestCancellingTheContextEndsTheStreamOnBothSides(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, e *edge, c *client.Client) {
		why := errors.New("interrupted")
		ctx, cancel := context.WithCancelCause(t.Context())
		e.events.emit("a", "b")
		err := c.Events(ctx, "1", func(controlplane.Event) error {
			cancel(why)
			return ctx.Err()
		})
		if err != why {
			t.Errorf("the stream ended with %v, want the cause of the cancellation", err)
		}
		<-e.events.ended
	})
}

func TestAFailureOfTheLogEndsTheStreamWithItsError(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, e *edge, c *client.Client) {
		e.events.failWith(controlplane.Errorf(controlplane.Refused, "the catalog was restored").WithHint("watch anew"))
		err := c.Events(t.Context(), "0", until("", new([]string)))
		want := &controlplane.Error{Code: controlplane.Refused, Message: "the catalog was restored", Hint: "watch anew"}
		if diff := cmp.Diff(want, err); diff != "" {
			t.Errorf("another error came (-want +got):\n%s", diff)
		}
		err = c.Events(t.Context(), "nonsense", until("", new([]string)))
		if !errors.Is(err, &controlplane.Error{Code: controlplane.Invalid}) {
			t.Errorf("a cursor that is none: %v, want an invalid error", err)
		}
	})
}

func TestAStreamGoesOnWhenTheCatalogComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge()
		c := client.New("http://manor", api.Transport(e.handler))
		e.events.emit("a")
		var got []string
		err := c.Events(t.Context(), "0", func(ev controlplane.Event) error {
			if ev.Cursor == "1" {
				e.events.failWith(controlplane.Errorf(controlplane.Unavailable, "the catalog is down"))
				time.AfterFunc(30*time.Second, func() { e.events.failWith(nil); e.events.emit("b") })
			}
			return until("2", &got)(ev)
		})
		if err != errEnough || !slices.Equal(got, []string{"1", "2"}) {
			t.Errorf("got %v, %v, want both events", got, err)
		}
	})
}

func TestAStreamThatCannotBeTakenUpAgainIsGivenUpAfterAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge()
		e.events.emit("a")
		down := false
		c := client.New("http://manor", roundTrip(func(r *http.Request) (*http.Response, error) {
			if down {
				return nil, errors.New("connection refused")
			}
			return api.Transport(e.handler).RoundTrip(r)
		}))
		began := time.Now()
		err := c.Events(t.Context(), "0", func(controlplane.Event) error {
			down = true
			e.events.failWith(controlplane.Errorf(controlplane.Unavailable, "going"))
			return nil
		})
		if !errors.Is(err, &controlplane.Error{Code: controlplane.Unavailable}) {
			t.Errorf("the stream ended with %v, want an unavailable error", err)
		}
		if took := time.Since(began); took < time.Minute || took > 70*time.Second {
			t.Errorf("the stream was given up after %s, want about a minute", took)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestASilentStreamCarriesPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge()
		res := watch(t, e.handler, "/v1/events", nil)
		defer res.Body.Close()
		lines := bufio.NewReader(res.Body)
		frame(t, lines) // hello
		began := time.Now()
		for i := range 3 {
			if got := frame(t, lines); got != ": ping\n" {
				t.Errorf("got %q, want a ping", got)
			}
			if took, want := time.Since(began), time.Duration(i+1)*10*time.Second; took != want {
				t.Errorf("ping %d came after %s, want %s", i+1, took, want)
			}
		}
	})
}

func TestAClientThatDoesNotReadIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge()
		e.events.emit("a")
		res := watch(t, e.handler, "/v1/events?after=0", nil)
		defer res.Body.Close()
		lines := bufio.NewReaderSize(res.Body, 16)
		line, err := lines.ReadString('\n') // a part of hello
		if err != nil {
			t.Fatalf("%q, %v", line, err)
		}
		time.Sleep(time.Minute) // the bubble's clock
		synctest.Wait()
		if _, err := io.ReadAll(lines); err == nil {
			t.Error("the stream was kept, or its end looks like a clean one")
		}
	})
}

func TestAClientLeavesAStreamThatFellSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var connections atomic.Int32
		silent := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n := connections.Add(1)
			fmt.Fprint(w, "id: 5\nevent: hello\ndata: {}\n\n")
			if n == 2 {
				b, _ := json.Marshal(controlplane.Event{Cursor: "6", Data: json.RawMessage("{}")})
				fmt.Fprintf(w, "event: a\ndata: %s\n\n", b)
			}
			<-r.Context().Done()
		})
		c := client.New("http://manor", api.Transport(silent))
		began := time.Now()
		if err := c.Events(t.Context(), "", until("6", new([]string))); err != errEnough {
			t.Fatalf("the stream ended with %v", err)
		}
		if took := time.Since(began); took < 30*time.Second || took > 31*time.Second {
			t.Errorf("the silent connection was left after %s, want 30 s", took)
		}
	})
}

func TestAServerThatNeverSaysHelloIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mute := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
		began := time.Now()
		err := client.New("http://manor", api.Transport(mute)).Events(t.Context(), "", nil)
		if !errors.Is(err, &controlplane.Error{Code: controlplane.Unavailable}) || time.Since(began) != 30*time.Second {
			t.Errorf("after %s: %v, want an unavailable error after 30 s", time.Since(began), err)
		}
	})
}

func TestPingsKeepAQuietStreamOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge()
		var streams atomic.Int32
		c := client.New("http://manor", roundTrip(func(r *http.Request) (*http.Response, error) {
			streams.Add(1)
			return api.Transport(e.handler).RoundTrip(r)
		}))
		time.AfterFunc(time.Hour, func() { e.events.emit("a") })
		if err := c.Events(t.Context(), "", until("1", new([]string))); err != errEnough {
			t.Fatalf("the stream ended with %v", err)
		}
		if n := streams.Load(); n != 1 {
			t.Errorf("an hour took %d streams, want one", n)
		}
	})
}
