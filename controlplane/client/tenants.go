package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/manorhq/manor/controlplane"
)

// CreateTenants creates tenants; what happened to each is in its result, in
// the order given.
func (c *Client) CreateTenants(ctx context.Context, tenants []controlplane.NewTenant, dryRun bool) ([]controlplane.TenantResult, error) {
	if len(tenants) == 0 {
		return nil, nil
	}
	body := struct {
		Tenants []controlplane.NewTenant `json:"tenants"`
		DryRun  bool                     `json:"dry_run,omitempty"`
	}{tenants, dryRun}
	return items(call[controlplane.Page[controlplane.TenantResult]](ctx, c, http.MethodPost, in("tenants"), nil, body))
}

// ListTenants returns one page of the tenants that a query selects.
func (c *Client) ListTenants(ctx context.Context, q controlplane.TenantQuery) (controlplane.Page[controlplane.Tenant], error) {
	return call[controlplane.Page[controlplane.Tenant]](ctx, c, http.MethodGet, in("tenants"), tenantQuery(q), nil)
}

// ShowTenant shows a tenant by slug.
func (c *Client) ShowTenant(ctx context.Context, slug string) (*controlplane.Tenant, error) {
	return call[*controlplane.Tenant](ctx, c, http.MethodGet, in("tenants", slug), nil, nil)
}

// SetTenant changes what is known of a tenant.
func (c *Client) SetTenant(ctx context.Context, slug string, change controlplane.TenantChange) (*controlplane.Tenant, error) {
	return call[*controlplane.Tenant](ctx, c, http.MethodPatch, in("tenants", slug), nil, change)
}

// PinTenant keeps a tenant at its version.
func (c *Client) PinTenant(ctx context.Context, slug string, p controlplane.PinRequest) (*controlplane.Tenant, error) {
	return call[*controlplane.Tenant](ctx, c, http.MethodPost, in("tenants", slug, "pin"), nil, p)
}

// UnpinTenant lets rollouts change a tenant again.
func (c *Client) UnpinTenant(ctx context.Context, slug string, dryRun bool) (*controlplane.Tenant, error) {
	return call[*controlplane.Tenant](ctx, c, http.MethodPost, in("tenants", slug, "unpin"), dry(dryRun), nil)
}

// SuspendTenant refuses a tenant's logins; its data stays.
func (c *Client) SuspendTenant(ctx context.Context, slug string, dryRun bool) (*controlplane.Tenant, error) {
	return call[*controlplane.Tenant](ctx, c, http.MethodPost, in("tenants", slug, "suspend"), dry(dryRun), nil)
}

// ResumeTenant admits a suspended or deleted tenant's logins again.
func (c *Client) ResumeTenant(ctx context.Context, slug string, dryRun bool) (*controlplane.Tenant, error) {
	return call[*controlplane.Tenant](ctx, c, http.MethodPost, in("tenants", slug, "resume"), dry(dryRun), nil)
}

// DeleteTenant disables a tenant; its data stays until it is purged.
func (c *Client) DeleteTenant(ctx context.Context, slug string, dryRun bool) (*controlplane.Tenant, error) {
	return call[*controlplane.Tenant](ctx, c, http.MethodDelete, in("tenants", slug), dry(dryRun), nil)
}

// PurgeTenant drops the home of a deleted tenant. Confirm is its slug once more.
func (c *Client) PurgeTenant(ctx context.Context, slug, confirm string, dryRun bool) (*controlplane.Tenant, error) {
	body := struct {
		Confirm string `json:"confirm"`
		DryRun  bool   `json:"dry_run,omitempty"`
	}{confirm, dryRun}
	return call[*controlplane.Tenant](ctx, c, http.MethodPost, in("tenants", slug, "purge"), nil, body)
}

// TenantDSN says how to connect as a tenant; with reveal, the password too.
func (c *Client) TenantDSN(ctx context.Context, slug string, reveal bool) (*controlplane.DSN, error) {
	if reveal {
		return call[*controlplane.DSN](ctx, c, http.MethodPost, in("tenants", slug, "dsn", "reveal"), nil, nil)
	}
	return call[*controlplane.DSN](ctx, c, http.MethodGet, in("tenants", slug, "dsn"), nil, nil)
}

// SetVersions says in tenants' revisions that they are at a version of a
// release, and runs no file; what became of each is in its result, in the order
// given.
func (c *Client) SetVersions(ctx context.Context, r controlplane.VersionRequest) ([]controlplane.VersionResult, error) {
	return items(call[controlplane.Page[controlplane.VersionResult]](ctx, c, http.MethodPost, in("versions"), nil, r))
}

// Fingerprints groups the tenants that a query selects by the fingerprint of
// their schema. It reads every one of them.
func (c *Client) Fingerprints(ctx context.Context, q controlplane.TenantQuery) ([]controlplane.FingerprintGroup, error) {
	return items(call[controlplane.Page[controlplane.FingerprintGroup]](ctx, c, http.MethodGet, in("fingerprints"), tenantQuery(q), nil))
}

func tenantQuery(q controlplane.TenantQuery) url.Values {
	return values("select", q.Select, "search", q.Search, "include_deleted", yes(q.IncludeDeleted),
		"cursor", q.Cursor, "limit", number(q.Limit))
}
