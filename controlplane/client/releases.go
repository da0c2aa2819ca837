package client

import (
	"context"
	"net/http"

	"github.com/manorhq/manor/controlplane"
)

// PushRelease stores a migration directory as a release.
func (c *Client) PushRelease(ctx context.Context, n controlplane.NewRelease) (*controlplane.Release, error) {
	return call[*controlplane.Release](ctx, c, http.MethodPost, in("releases"), nil, n)
}

// ListReleases lists all releases.
func (c *Client) ListReleases(ctx context.Context) ([]controlplane.Release, error) {
	return items(call[controlplane.Page[controlplane.Release]](ctx, c, http.MethodGet, in("releases"), nil, nil))
}

// ShowRelease shows a release by name.
func (c *Client) ShowRelease(ctx context.Context, name string) (*controlplane.Release, error) {
	return call[*controlplane.Release](ctx, c, http.MethodGet, in("releases", name), nil, nil)
}

// SetDefaultRelease lets new tenants start at a version of a release; "" is
// its last.
func (c *Client) SetDefaultRelease(ctx context.Context, name, version string, dryRun bool) (*controlplane.Release, error) {
	body := struct {
		Version string `json:"version,omitempty"`
		DryRun  bool   `json:"dry_run,omitempty"`
	}{version, dryRun}
	return call[*controlplane.Release](ctx, c, http.MethodPut, in("releases", name, "default"), nil, body)
}

// DiffRelease computes the migration that leads a migration directory to a
// desired schema. Nothing is stored: the caller writes the files.
func (c *Client) DiffRelease(ctx context.Context, n controlplane.NewDiff) (*controlplane.Diff, error) {
	return call[*controlplane.Diff](ctx, c, http.MethodPost, in("releases", "diff"), nil, n)
}

// RehearseRelease runs versions of a release in a scratch database and tells
// what was seen. It takes seconds.
func (c *Client) RehearseRelease(ctx context.Context, name string, ask controlplane.RehearsalRequest) (*controlplane.Rehearsal, error) {
	return call[*controlplane.Rehearsal](ctx, c, http.MethodPost, in("releases", name, "rehearse"), nil, ask)
}
