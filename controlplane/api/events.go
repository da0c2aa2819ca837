package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/manorhq/manor/controlplane"
)

const (
	pingEvery   = 10 * time.Second // so that both sides notice a dead connection
	writeWithin = 15 * time.Second // a client that reads slower is cut off and resumes by cursor
)

// hello opens a stream. A client that reads on from Cursor misses nothing.
type hello struct {
	Cursor string `json:"cursor"` // where this stream starts
	Head   string `json:"head"`   // the last event when it started
}

// stream is a route that huma documents and does not serve: its own server-sent
// events have integer ids and no comments.
func stream(h http.HandlerFunc) func(*server, huma.Operation) {
	return func(s *server, op huma.Operation) {
		s.mux.HandleFunc(op.Method+" "+op.Path, h)
		documentStream(s.api.OpenAPI(), op)
	}
}

func (s *server) headOfEvents(ctx context.Context, _ controlplane.Actor, _ *none) (*hello, error) {
	head, err := s.Events.Head(ctx)
	return &hello{Cursor: head, Head: head}, err
}

// watchEvents streams events after a cursor, from now on without one. A
// browser that reconnects repeats the first request's ?after= and adds
// Last-Event-ID, so the latter wins.
func (s *server) watchEvents(w http.ResponseWriter, r *http.Request) {
	head, err := s.Events.Head(r.Context())
	if err != nil {
		s.problem(r.Context(), "watch-events", err).write(w)
		return
	}
	after := cmp.Or(r.Header.Get("Last-Event-ID"), r.URL.Query().Get("after"), head)
	w.Header().Set("Content-Type", "text/event-stream")
	out := sse{w, http.NewResponseController(w)}
	if err := out.event(after, "hello", hello{after, head}); err != nil {
		return
	}
	err = s.pump(r.Context(), out, after)
	if err != nil && !errors.Is(err, errGone) && r.Context().Err() == nil {
		// The status is long out; the client learns of it as the last event.
		_ = out.event("", "error", s.problem(r.Context(), "watch-events", err))
	}
}

// pump carries events from the log to the stream, with pings between them,
// until the client goes or the log fails.
func (s *server) pump(ctx context.Context, out sse, after string) error {
	ctx, cancel := context.WithCancel(ctx)
	events, ended := make(chan controlplane.Event), make(chan error, 1)
	go func() {
		ended <- s.Events.Watch(ctx, after, func(e controlplane.Event) error {
			select {
			case events <- e:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	}()
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		var err error
		select {
		case e := <-events:
			err = out.event(e.Cursor, e.Kind, e)
		case <-ping.C:
			err = out.comment("ping")
		case err := <-ended:
			cancel()
			return err
		}
		if err != nil {
			cancel()
			<-ended
			return err
		}
	}
}

// errGone is no error of ours: nobody reads the stream any more.
var errGone = errors.New("the client is gone")

// sse writes server-sent events, each flushed.
type sse struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (s sse) event(id, kind string, data any) error {
	b, err := json.Marshal(data) // one line: Marshal compacts raw messages too
	if err != nil {
		return fmt.Errorf("encoding the event %s %s: %w", kind, id, err)
	}
	if id != "" {
		id = "id: " + id + "\n"
	}
	return s.write(fmt.Sprintf("%sevent: %s\ndata: %s\n\n", id, kind, b))
}

func (s sse) comment(text string) error { return s.write(": " + text + "\n\n") }

func (s sse) write(text string) error {
	err := s.rc.SetWriteDeadline(time.Now().Add(writeWithin))
	if err == nil {
		_, err = s.w.Write([]byte(text))
	}
	if err == nil {
		err = s.rc.Flush()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return nil
}
