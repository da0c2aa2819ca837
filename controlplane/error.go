package controlplane

import (
	"errors"
	"fmt"
)

// Code classifies an [Error]. The API maps each to one HTTP status and the CLI
// to one exit code.
type Code string

// The codes.
const (
	Invalid     Code = "invalid"     // the request cannot be meant: a bad slug, a type error
	NotFound    Code = "not_found"   // what was named does not exist
	Conflict    Code = "conflict"    // it exists already, or changed meanwhile
	Refused     Code = "refused"     // understood, and against a rule: a full cluster, an irreversible version
	Unavailable Code = "unavailable" // something Manor needs is down: try again
	Internal    Code = "internal"    // a bug or an unforeseen failure
)

// Error is the one error of Manor's doors. It is equal on both sides of the
// wire: the API encodes it, the client rebuilds it, and [errors.Is] against
// another *Error compares codes.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`        // what was attempted, on what, why it failed
	Hint    string `json:"hint,omitempty"` // what to do next
	Cause   error  `json:"-"`              // for the log only; may name internals
}

// Error returns the sentence for a human.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is reports whether target is an *Error of the same code.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Code == e.Code && other.Message == ""
}

// Errorf makes an *Error of a code. A %w in the format becomes its cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Cause: errors.Unwrap(err)}
}

// WithHint says what to do next.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// CodeOf returns the code of the first *Error in err's tree, or [Internal].
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Internal
}
