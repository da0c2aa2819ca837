package client

import (
	"context"
	"net/http"

	"github.com/manorhq/manor/controlplane"
)

// AddCluster adds a cluster, after looking at it.
func (c *Client) AddCluster(ctx context.Context, n controlplane.NewCluster) (*controlplane.Cluster, error) {
	return call[*controlplane.Cluster](ctx, c, http.MethodPost, in("clusters"), nil, n)
}

// ListClusters lists all clusters.
func (c *Client) ListClusters(ctx context.Context) ([]controlplane.Cluster, error) {
	return items(call[controlplane.Page[controlplane.Cluster]](ctx, c, http.MethodGet, in("clusters"), nil, nil))
}

// ShowCluster shows a cluster by name.
func (c *Client) ShowCluster(ctx context.Context, name string) (*controlplane.Cluster, error) {
	return call[*controlplane.Cluster](ctx, c, http.MethodGet, in("clusters", name), nil, nil)
}

// SetCluster changes a cluster.
func (c *Client) SetCluster(ctx context.Context, name string, change controlplane.ClusterChange) (*controlplane.Cluster, error) {
	return call[*controlplane.Cluster](ctx, c, http.MethodPatch, in("clusters", name), nil, change)
}

// RemoveCluster forgets a cluster that has no tenants.
func (c *Client) RemoveCluster(ctx context.Context, name string, dryRun bool) error {
	_, err := call[struct{}](ctx, c, http.MethodDelete, in("clusters", name), dry(dryRun), nil)
	return err
}
