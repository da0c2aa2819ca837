package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/manorhq/manor/controlplane"
)

// The exit codes, as the design's section 8 documents them for scripts.
const (
	exitDone        = 0
	exitError       = 1
	exitUsage       = 2
	exitSomeFailed  = 3
	exitPaused      = 4
	exitRolledBack  = 5
	exitRefused     = 6
	exitInterrupted = 130
)

// exit ends a command with a code of its own. Without a message the
// command has said everything already.
type exit struct {
	code    int
	message string
	hint    string
}

func (e *exit) Error() string { return e.message }

// usage is an error in how the command was called.
func usage(hint, format string, args ...any) error {
	return &exit{code: exitUsage, message: fmt.Sprintf(format, args...), hint: hint}
}

// codeFor maps an error to the exit code.
func codeFor(ctx context.Context, err error) int {
	if err == nil {
		return exitDone
	}
	if e, ok := errors.AsType[*exit](err); ok {
		return e.code
	}
	if ctx.Err() != nil {
		return exitInterrupted
	}
	switch controlplane.CodeOf(err) {
	case controlplane.Invalid:
		return exitUsage
	case controlplane.Refused, controlplane.Conflict:
		return exitRefused
	}
	return exitError
}

// report says on w what went wrong and what to do next.
func report(ctx context.Context, w io.Writer, err error) {
	message, hint := err.Error(), ""
	if e, ok := errors.AsType[*exit](err); ok {
		message, hint = e.message, e.hint
	} else if ctx.Err() != nil {
		message = "interrupted"
	} else if e, ok := errors.AsType[*controlplane.Error](err); ok {
		message, hint = e.Message, e.Hint
	}
	if message == "" {
		return
	}
	fmt.Fprintln(w, "Error:", message)
	if hint != "" {
		fmt.Fprintln(w, "Hint:", hint)
	}
}
