package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/user"
	"strconv"
	"strings"

	"github.com/manorhq/manor/controlplane"
)

// Client talks to one control plane. It is safe for concurrent use.
type Client struct {
	address string // as the user gave it, for messages
	base    string // of every URL
	user    string
	refused error // why no request is made
	http    *http.Client
}

// New returns a client of the control plane at base: unix:///path,
// http://host:port of this machine, or any http URL when rt carries the
// requests itself (api.Transport). A nil rt dials; what [Dial] refuses, each
// request is then refused.
func New(base string, rt http.RoundTripper) *Client {
	c := &Client{address: base, base: strings.TrimSuffix(base, "/"), user: userName()}
	if path, ok := strings.CutPrefix(base, unixScheme); ok {
		c.base = "http://manor"
		if rt == nil {
			rt = dialUnix(path)
		}
	}
	if rt == nil {
		c.refused = checkAddress(base)
		rt = direct()
	}
	c.http = &http.Client{Transport: rt, CheckRedirect: stay}
	return c
}

// direct dials without a proxy: passwords cross the connection in the clear.
func direct() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil
	return t
}

// stay takes a redirection for an answer: a Manor server gives none.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

const unixScheme = "unix://"

// Dial returns a client of the control plane at an address such as
// MANOR_SERVER has: unix:///path, or http://host:port of this machine. It does
// not connect yet.
func Dial(address string) (*Client, error) {
	if err := checkAddress(address); err != nil {
		return nil, err
	}
	return New(address, nil), nil
}

// checkAddress refuses what is no address, and every way on which passwords
// would cross a network in the clear.
func checkAddress(address string) error {
	u, err := url.Parse(address)
	switch {
	case err == nil && u.Scheme == "unix" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		return nil
	case err == nil && u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	case err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
		return controlplane.Errorf(controlplane.Invalid, "%q is refused: Manor is spoken to on this machine only, over plain http", u.Redacted()).
			WithHint("there are no TLS and no tokens yet: use a unix socket, unix:///path/to/socket, or http://127.0.0.1:port")
	}
	return controlplane.Errorf(controlplane.Invalid, "%q is not the address of a Manor server", address).
		WithHint("give unix:///path/to/socket or http://127.0.0.1:port")
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || strings.EqualFold(host, "localhost")
}

func dialUnix(path string) *http.Transport {
	t := direct()
	t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	return t
}

// userName is who the control plane is told asks: the user of this process, in
// the printable ASCII that a header takes.
func userName() string {
	u, err := user.Current()
	if err != nil || u.Username == "" {
		return "uid-" + strconv.Itoa(os.Getuid())
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, u.Username)
}

// Close gives the idle connections back.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// call makes one request and decodes its answer into O.
func call[O any](ctx context.Context, c *Client, method, path string, query url.Values, body any) (O, error) {
	var out O
	res, err := c.send(ctx, method, path, query, body, nil)
	if err != nil {
		return out, err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNoContent {
		return out, nil
	}
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		return out, c.failed(ctx, method, path, fmt.Errorf("reading the answer: %w", err))
	}
	io.Copy(io.Discard, res.Body) // so that the connection can be used again
	return out, nil
}

// send returns an answer whose status is a success, or an error.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, body any, header http.Header) (*http.Response, error) {
	if c.refused != nil {
		return nil, c.refused
	}
	if strings.Contains(path, missing) {
		return nil, controlplane.Errorf(controlplane.Invalid, "the name in the request is missing or not a name").
			WithHint("give the name of what you mean")
	}
	req, err := c.request(ctx, method, path, query, body)
	if err != nil {
		return nil, err
	}
	for key, values := range header {
		req.Header[key] = values
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.failed(ctx, method, path, err)
	}
	if res.StatusCode >= http.StatusMultipleChoices {
		defer res.Body.Close()
		err := rebuild(method+" "+path, res)
		if ctx.Err() != nil { // it may only say that we went away
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	return res, nil
}

func (c *Client) request(ctx context.Context, method, path string, query url.Values, body any) (*http.Request, error) {
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, controlplane.Errorf(controlplane.Invalid, "%s %s: the request cannot be encoded: %w", method, path, err)
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, content)
	if err != nil {
		return nil, controlplane.Errorf(controlplane.Invalid, "%q is not the address of a Manor server: %w", c.address, err)
	}
	req.Header.Set("X-Manor-User", c.user)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// missing stands in a path for a name that would lead to another route. No
// escaped name contains a NUL.
const missing = "\x00"

// in builds a path of segments, each escaped.
func in(segments ...string) string {
	var b strings.Builder
	b.WriteString("/v1")
	for _, s := range segments {
		b.WriteByte('/')
		switch s {
		case "", ".", "..":
			b.WriteString(missing)
		default:
			b.WriteString(url.PathEscape(s))
		}
	}
	return b.String()
}

// dry is the query of a dry run.
func dry(dryRun bool) url.Values {
	if !dryRun {
		return nil
	}
	return url.Values{"dry_run": {"true"}}
}

// values are a query of the parameters that are not empty.
func values(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	return v
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func yes(b bool) string {
	if !b {
		return ""
	}
	return "true"
}

// items unwraps a list that comes whole.
func items[T any](p controlplane.Page[T], err error) ([]T, error) { return p.Items, err }

// Health says that the control plane is up, and which it is.
func (c *Client) Health(ctx context.Context) (*controlplane.Health, error) {
	return call[*controlplane.Health](ctx, c, http.MethodGet, in("health"), nil, nil)
}

// ListWorkers lists the processes that work on the catalog, with what each does now.
func (c *Client) ListWorkers(ctx context.Context) ([]controlplane.Worker, error) {
	return items(call[controlplane.Page[controlplane.Worker]](ctx, c, http.MethodGet, in("workers"), nil, nil))
}

// Status is the fleet by version.
func (c *Client) Status(ctx context.Context) (*controlplane.FleetStatus, error) {
	return call[*controlplane.FleetStatus](ctx, c, http.MethodGet, in("status"), nil, nil)
}
