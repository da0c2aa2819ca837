package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/manorhq/manor/controlplane"
)

// statuses is the one table from code to HTTP status.
var statuses = map[controlplane.Code]int{
	controlplane.Invalid:     http.StatusBadRequest,
	controlplane.NotFound:    http.StatusNotFound,
	controlplane.Conflict:    http.StatusConflict,
	controlplane.Refused:     http.StatusUnprocessableEntity, // understood, and against a rule
	controlplane.Unavailable: http.StatusServiceUnavailable,
	controlplane.Internal:    http.StatusInternalServerError,
}

// problem is a [controlplane.Error] on the wire: application/problem+json of
// RFC 9457 with code, message and hint. The code is what a program goes by.
type problem struct {
	Title   string            `json:"title" doc:"The HTTP status in words"`
	Status  int               `json:"status"`
	Code    controlplane.Code `json:"code" doc:"invalid, not_found, conflict, refused, unavailable or internal"`
	Message string            `json:"message" doc:"What was attempted, on what, why it failed"`
	Hint    string            `json:"hint,omitempty" doc:"What to do next"`
}

func newProblem(e *controlplane.Error) *problem {
	status := statuses[e.Code]
	return &problem{http.StatusText(status), status, e.Code, e.Message, e.Hint}
}

func (p *problem) Error() string             { return p.Message }
func (p *problem) GetStatus() int            { return p.Status }
func (p *problem) ContentType(string) string { return "application/problem+json" }

func (p *problem) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p) // nobody to tell when the client is gone
}

// problem turns what a door answered into what the client may know, and logs
// the rest.
func (s *server) problem(ctx context.Context, op string, err error) *problem {
	all := errorsIn(err)
	e := publicError(err, all)
	switch {
	case ctx.Err() != nil: // the client is gone and reads none of this
	case e.Code == controlplane.Internal:
		e = s.internal(ctx, op, err)
	case e.Code == controlplane.Unavailable, len(all) > 1: // not all of it is told
		s.Logger.WarnContext(ctx, "request failed", "op", op, "by", actorOf(ctx).String(), "err", err, "cause", errors.Unwrap(err))
	}
	return newProblem(e)
}

// internal logs an error whose text is not for the client, and answers one
// that leads an operator to the log line.
func (s *server) internal(ctx context.Context, op string, err error) *controlplane.Error {
	id := rand.Text()[:8]
	s.Logger.ErrorContext(ctx, "request failed", "request", id, "op", op, "by", actorOf(ctx).String(), "err", err, "cause", errors.Unwrap(err))
	return controlplane.Errorf(controlplane.Internal, "%s failed inside Manor", op).
		WithHint("the log of Manor has the cause: look for request=%s", id)
}

// masked replaces the internal errors among results: they travel inside an
// answer that succeeded.
func (s *server) masked(ctx context.Context, op string, results []controlplane.TenantResult) []controlplane.TenantResult {
	masked := slices.Clone(results)
	for i, r := range masked {
		if r.Error != nil && publicError(r.Error, errorsIn(r.Error)).Code == controlplane.Internal {
			masked[i].Error = s.internal(ctx, op, fmt.Errorf("tenant %s: %w", r.Slug, r.Error))
		}
	}
	return masked
}

// publicError reduces err, which holds all, to one Error for the client. Its
// code is that of the first.
func publicError(err error, all []*controlplane.Error) *controlplane.Error {
	switch {
	case len(all) == 1:
		return all[0]
	case len(all) == 0 && errors.Is(err, context.DeadlineExceeded):
		return controlplane.Errorf(controlplane.Unavailable, "the request took too long").WithHint("try again")
	case len(all) == 0:
		return &controlplane.Error{Code: controlplane.Internal}
	}
	joined := &controlplane.Error{Code: all[0].Code, Hint: all[0].Hint}
	messages := make([]string, len(all))
	for i, e := range all {
		messages[i] = e.Message
	}
	joined.Message = strings.Join(slices.Compact(messages), "; ")
	return joined
}

// errorsIn lists the Errors at the ends of err's branches that a client may
// read. The words that wrap one on its own branch stay with it.
func errorsIn(err error) []*controlplane.Error {
	switch e := err.(type) {
	case *controlplane.Error:
		if _, known := statuses[e.Code]; !known {
			return []*controlplane.Error{{Code: controlplane.Internal}}
		}
		return []*controlplane.Error{e}
	case interface{ WrappedErrors() []error }: // go-multierror
		return errorsInAll(e.WrappedErrors())
	case interface{ Unwrap() []error }:
		return errorsInAll(e.Unwrap())
	case interface{ Unwrap() error }:
		inner := errorsIn(e.Unwrap())
		if len(inner) == 1 && inner[0].Code != controlplane.Internal {
			return []*controlplane.Error{{Code: inner[0].Code, Message: err.Error(), Hint: inner[0].Hint}}
		}
		return inner
	}
	return nil
}

func errorsInAll(errs []error) (all []*controlplane.Error) {
	for _, err := range errs {
		found := errorsIn(err)
		if len(found) == 0 {
			found = []*controlplane.Error{{Code: controlplane.Internal}}
		}
		for _, e := range found {
			if e.Code == controlplane.Internal {
				e = controlplane.Errorf(controlplane.Internal, "internal error")
			}
			all = append(all, e)
		}
	}
	return all
}

// huma makes its errors through package variables, so a program has one model
// of them.
func init() {
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		return decodingProblem(status, msg, errs)
	}
	huma.NewErrorWithContext = func(_ huma.Context, status int, msg string, errs ...error) huma.StatusError {
		return decodingProblem(status, msg, errs)
	}
}

// decodingProblem is what huma says of a request it could not decode. It never
// repeats a value of the request: that may be a password.
func decodingProblem(status int, msg string, errs []error) *problem {
	if status >= http.StatusInternalServerError {
		return newProblem(controlplane.Errorf(controlplane.Internal, "%s", msg))
	}
	p := newProblem(controlplane.Errorf(controlplane.Invalid, "the request is not valid: %s", details(msg, errs)).
		WithHint("GET /openapi.json describes the requests"))
	if status != http.StatusUnprocessableEntity && status != http.StatusBadRequest {
		p.Status, p.Title = status, http.StatusText(status) // what HTTP itself has a word for: 413, 415
	}
	return p
}

// details joins places and complaints: "body.capacity: expected integer".
func details(msg string, errs []error) string {
	const most = 10
	var parts []string
	for _, err := range errs {
		if d, ok := err.(huma.ErrorDetailer); ok {
			detail := d.ErrorDetail()
			parts = append(parts, detail.Location+": "+detail.Message)
		}
	}
	if len(parts) == 0 {
		return msg
	}
	slices.Sort(parts) // huma walks maps
	parts = slices.Compact(parts)
	if len(parts) > most {
		parts = append(parts[:most], fmt.Sprintf("and %d more", len(parts)-most))
	}
	return strings.Join(parts, "; ")
}
