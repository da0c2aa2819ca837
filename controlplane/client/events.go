package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/manorhq/manor/controlplane"
)

const (
	firstPause = 100 * time.Millisecond // before a broken stream is taken up again
	mostPause  = 5 * time.Second
	idle       = 30 * time.Second // of silence: three of the server's pings
	giveUp     = time.Minute      // without a stream that says hello
)

// EventsHead is the cursor of the last event. Who asks for it, then for a
// thing, then for the events after it, misses no change of the thing.
func (c *Client) EventsHead(ctx context.Context) (string, error) {
	head, err := call[struct {
		Cursor string `json:"cursor"`
	}](ctx, c, http.MethodGet, in("events", "head"), nil, nil)
	return head.Cursor, err
}

// Events calls f with every event after a cursor ("": from now on), in order,
// until ctx ends or f answers an error, and returns that. A stream that breaks
// is taken up again after the last event f took; one that cannot be is an
// error after a minute, or at once when it is the first.
func (c *Client) Events(ctx context.Context, after string, f func(controlplane.Event) error) error {
	s := &stream{client: c, cursor: after, f: f}
	pause, since := firstPause, time.Now()
	for {
		began := time.Now()
		s.open, s.moved = false, false
		err := s.read(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case s.fault != nil:
			return s.fault
		case !s.met || controlplane.CodeOf(err) != controlplane.Unavailable:
			return err
		case s.open:
			since = time.Now()
		case time.Since(since) > giveUp:
			return err
		}
		if s.moved || s.open && time.Since(began) > mostPause {
			pause = firstPause
		}
		if err := wait(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, mostPause)
	}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stream is one run of [Client.Events] over one or several connections.
type stream struct {
	client *Client
	cursor string // of the last event that f took
	f      func(controlplane.Event) error
	fault  error // what f answered
	met    bool  // a connection said hello
	open   bool  // this one did
	moved  bool  // and brought an event
}

var errSilent = errors.New("the stream fell silent")

// read takes one connection to its end, which is always an error.
func (s *stream) read(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	header := http.Header{"Accept": {"text/event-stream"}}
	const path = "/v1/events"
	res, err := s.client.send(ctx, http.MethodGet, path, values("after", s.cursor), nil, header)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	silence := time.AfterFunc(idle, func() { cancel(errSilent) })
	defer silence.Stop()
	lines := bufio.NewReader(res.Body)
	for {
		m, err := readMessage(lines, func() { silence.Reset(idle) })
		if err != nil {
			return s.client.failed(context.WithoutCancel(ctx), http.MethodGet, path, fmt.Errorf("the stream of events broke: %w", err))
		}
		silence.Stop() // f may take its time
		if err := s.take(m); err != nil {
			return err
		}
		silence.Reset(idle)
	}
}

// take handles one message of the stream.
func (s *stream) take(m message) error {
	switch m.kind {
	case "hello":
		s.met, s.open, s.cursor = true, true, m.id
		return nil
	case "error":
		e := &controlplane.Error{}
		if err := json.Unmarshal(m.data, e); err != nil || e.Code == "" {
			return controlplane.Errorf(controlplane.Internal, "the stream of events failed: %s", m.data)
		}
		return e
	}
	var e controlplane.Event
	if err := json.Unmarshal(m.data, &e); err != nil {
		return controlplane.Errorf(controlplane.Internal, "event %s %s cannot be read: %w", m.kind, m.id, err)
	}
	if s.fault = s.f(e); s.fault != nil {
		return s.fault
	}
	s.cursor, s.moved = e.Cursor, true
	return nil
}

// message is one server-sent event.
type message struct {
	id, kind string
	data     []byte
}

// readMessage reads up to the blank line that ends a message, and calls alive
// for every line, comments included.
func readMessage(r *bufio.Reader, alive func()) (m message, err error) {
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return m, noEOF(err)
		}
		alive()
		field, value, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "id":
			m.id = string(value)
		case "event":
			m.kind = string(value)
		case "data":
			m.data = append(m.data, value...)
		case "":
			if len(bytes.TrimSpace(line)) == 0 && m.data != nil {
				return m, nil
			}
		}
	}
}

// noEOF names the end of a stream that has none.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
