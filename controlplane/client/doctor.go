package client

import (
	"context"
	"net/http"

	"github.com/manorhq/manor/controlplane"
)

// VerifyStatus compares the catalog with the tenants' stamps and corrects it; a
// dry run only compares.
func (c *Client) VerifyStatus(ctx context.Context, dryRun bool) (*controlplane.Verification, error) {
	return call[*controlplane.Verification](ctx, c, http.MethodPost, in("status", "verify"), nil, map[string]bool{"dry_run": dryRun})
}

// Doctor looks for orphans, ghosts and work undone, and mends what is safe if
// fix says so.
func (c *Client) Doctor(ctx context.Context, fix bool) (*controlplane.Checkup, error) {
	return call[*controlplane.Checkup](ctx, c, http.MethodPost, in("doctor"), nil, map[string]bool{"fix": fix})
}
