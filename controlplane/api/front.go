package api

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"

	"github.com/manorhq/manor/controlplane"
)

// userHeader names who asks. It is as good as the unix socket's mode (0600)
// until tokens say more.
const userHeader = "X-Manor-User"

// ServeHTTP is the front door: it knows who asks, answers what has no route,
// and survives a panic behind it.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := &response{ResponseWriter: w}
	out.Header().Set("Cache-Control", "no-store") // an answer may hold a password
	out.Header().Set("X-Content-Type-Options", "nosniff")
	defer s.recovered(out, r)
	by, err := readActor(r)
	if err != nil {
		s.problem(r.Context(), "read "+userHeader, err).write(out)
		return
	}
	r = r.WithContext(context.WithValue(r.Context(), actorKey{}, by))
	if h, pattern := s.mux.Handler(r); pattern == "" {
		unrouted(out, r, h)
		return
	}
	s.mux.ServeHTTP(out, r)
}

// recovered answers 500 for a panic, or cuts the answer when it has begun, so
// that the client does not take half of one for the whole.
func (s *server) recovered(w *response, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	op := r.Method + " " + r.URL.Path
	e := s.internal(r.Context(), op, fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
	if w.begun {
		panic(http.ErrAbortHandler)
	}
	newProblem(e).write(w)
}

// unrouted says in a problem what the mux says in plain text: 404 or 405.
func unrouted(w http.ResponseWriter, r *http.Request, h http.Handler) {
	verdict := &verdict{header: http.Header{}}
	h.ServeHTTP(verdict, r)
	e := controlplane.Errorf(controlplane.NotFound, "there is no %s %s", r.Method, r.URL.Path).
		WithHint("GET /openapi.json lists the routes")
	p := newProblem(e)
	if verdict.status == http.StatusMethodNotAllowed {
		allow := verdict.header.Get("Allow")
		w.Header().Set("Allow", allow)
		p = newProblem(controlplane.Errorf(controlplane.Invalid, "%s does not take %s", r.URL.Path, r.Method).WithHint("it takes %s", allow))
		p.Status, p.Title = verdict.status, http.StatusText(verdict.status)
	}
	p.write(w)
}

// verdict keeps the status of an answer nobody reads.
type verdict struct {
	header http.Header
	status int
}

func (v *verdict) Header() http.Header         { return v.header }
func (v *verdict) Write(b []byte) (int, error) { return len(b), nil }
func (v *verdict) WriteHeader(status int)      { v.status = status }

// response knows whether the answer has begun.
type response struct {
	http.ResponseWriter
	begun bool
}

func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *response) WriteHeader(status int) {
	r.begun = true
	r.ResponseWriter.WriteHeader(status)
}

func (r *response) Write(b []byte) (int, error) {
	r.begun = true
	return r.ResponseWriter.Write(b)
}

// actorKey carries the actor from the front door to the handler; from there on
// it is an argument.
type actorKey struct{}

func actorOf(ctx context.Context) controlplane.Actor {
	by, _ := ctx.Value(actorKey{}).(controlplane.Actor)
	return by
}

func readActor(r *http.Request) (controlplane.Actor, error) {
	const most = 128 // bytes
	name := r.Header.Get(userHeader)
	if name == "" {
		name = "unknown"
	}
	printable := len(name) <= most
	for i := range len(name) {
		printable = printable && name[i] >= ' ' && name[i] <= '~'
	}
	if !printable {
		return controlplane.Actor{}, controlplane.Errorf(controlplane.Invalid, "%s is not a user's name", userHeader).
			WithHint("use 1 to %d printable ASCII characters", most)
	}
	return controlplane.Actor{Kind: "user", Name: name}, nil
}
