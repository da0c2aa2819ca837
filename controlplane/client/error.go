package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/manorhq/manor/controlplane"
)

// rebuild makes the error that the door answered out of what came over the wire.
func rebuild(op string, res *http.Response) error {
	const most = 1 << 20 // bytes
	e := &controlplane.Error{}
	b, err := io.ReadAll(io.LimitReader(res.Body, most))
	if err == nil {
		err = json.Unmarshal(b, e)
	}
	if err != nil || e.Code == "" || e.Message == "" { // something else answered
		e = controlplane.Errorf(codeOf(res.StatusCode), "%s: the server answered %s", op, res.Status).
			WithHint("see that MANOR_SERVER is the address of a Manor server")
	}
	return e
}

// codeOf guesses from a status that came without a code.
func codeOf(status int) controlplane.Code {
	switch status {
	case http.StatusNotFound:
		return controlplane.NotFound
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusTooManyRequests:
		return controlplane.Unavailable
	}
	return controlplane.Internal
}

// failed says why there is no answer: the caller's context ended, or the
// server cannot be reached.
func (c *Client) failed(ctx context.Context, method, path string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // the rest repeats method and URL
	}
	e := controlplane.Errorf(controlplane.Unavailable, "%s %s: no answer from Manor at %s: %w", method, path, c.address, err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		e = controlplane.Errorf(controlplane.Unavailable, "no Manor server listens at %s: %w", c.address, err)
		return e.WithHint("start one with `manor serve`, or see that MANOR_SERVER names the right one")
	case errors.Is(err, fs.ErrPermission):
		return e.WithHint("the socket is its owner's alone: run as the user that runs `manor serve`")
	case strings.HasPrefix(c.address, "http"), strings.HasPrefix(c.address, unixScheme):
		return e.WithHint("see whether `manor serve` is still running there, and try again")
	}
	return e
}
