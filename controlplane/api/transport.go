package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// Transport carries requests to a handler in the same process, without a
// socket, as net/http would carry them over one: answers stream, the request's
// context and closing the answer's body end the handler's context, an answer
// that is cut off reads as an error and not as its end, and a panic is a 500.
func Transport(h http.Handler) http.RoundTripper { return transport{h} }

type transport struct{ handler http.Handler }

var errBodyClosed = errors.New("the answer's body was closed")

// RoundTrip returns once the handler has begun its answer.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	pr, pw := io.Pipe()
	// Whatever ends the context ends both sides of the pipe, with its cause:
	// a plain Close would make a cancelled stream look like a finished one.
	context.AfterFunc(ctx, func() { pw.CloseWithError(context.Cause(ctx)) })
	w := &pipeWriter{header: http.Header{}, pipe: pw, begun: make(chan struct{})}
	go t.serve(w, inbound(ctx, r), cancel)
	select {
	case <-w.begun:
	case <-r.Context().Done():
	}
	if r.Context().Err() != nil {
		return nil, context.Cause(r.Context())
	}
	return &http.Response{
		StatusCode: w.status, Status: fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, ContentLength: -1, Request: r,
		Body: &pipeBody{pr, cancel},
	}, nil
}

// inbound is the request as a server would see it.
func inbound(ctx context.Context, r *http.Request) *http.Request {
	in := r.Clone(ctx)
	in.RequestURI, in.RemoteAddr = r.URL.RequestURI(), "in-process"
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	return in
}

func (t transport) serve(w *pipeWriter, r *http.Request, cancel context.CancelCauseFunc) {
	defer cancel(nil)
	defer r.Body.Close()
	defer func() {
		if v := recover(); v != nil {
			w.fail()
			return
		}
		w.WriteHeader(http.StatusOK) // of a handler that wrote nothing
		// No error, and so the answer's end, unless the context ended first.
		w.pipe.CloseWithError(context.Cause(r.Context()))
	}()
	t.handler.ServeHTTP(w, r)
}

// pipeWriter is the handler's side of the answer. Only the handler's goroutine
// writes to it, as with net/http.
type pipeWriter struct {
	header, sent http.Header
	status       int
	pipe         *io.PipeWriter
	begun        chan struct{}
	once         sync.Once
	deadline     time.Time
}

func (w *pipeWriter) Header() http.Header { return w.header }

func (w *pipeWriter) WriteHeader(status int) {
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		close(w.begun)
	})
}

// Write returns when the client has read b, or has not by the write deadline.
func (w *pipeWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.deadline.IsZero() {
		return w.pipe.Write(b)
	}
	late := time.AfterFunc(time.Until(w.deadline), func() { w.pipe.CloseWithError(os.ErrDeadlineExceeded) })
	defer late.Stop()
	return w.pipe.Write(b)
}

// FlushError sends the header; what is written is never held back.
func (w *pipeWriter) FlushError() error {
	w.WriteHeader(http.StatusOK)
	return nil
}

func (w *pipeWriter) Flush() { w.WriteHeader(http.StatusOK) }

func (w *pipeWriter) SetWriteDeadline(t time.Time) error {
	w.deadline = t
	return nil
}

// SetReadDeadline has nothing to do: the request's body is in memory.
func (w *pipeWriter) SetReadDeadline(time.Time) error { return nil }

// fail ends an answer whose handler panicked: 500 if it had not begun, cut off
// if it had.
func (w *pipeWriter) fail() {
	w.header = http.Header{}
	w.WriteHeader(http.StatusInternalServerError)
	w.pipe.CloseWithError(fmt.Errorf("the answer was cut off: %w", io.ErrUnexpectedEOF))
}

// pipeBody is the client's side of the answer.
type pipeBody struct {
	*io.PipeReader
	cancel context.CancelCauseFunc
}

// Close tells the handler that nobody reads on.
func (b *pipeBody) Close() error {
	b.cancel(errBodyClosed)
	return b.PipeReader.Close()
}
