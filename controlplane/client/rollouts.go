package client

import (
	"context"
	"net/http"

	"github.com/manorhq/manor/controlplane"
)

// StartRollout starts a rollout and returns at once; follow it by its events.
// A dry run is [Client.PlanRollout].
func (c *Client) StartRollout(ctx context.Context, n controlplane.NewRollout) (*controlplane.Rollout, error) {
	return call[*controlplane.Rollout](ctx, c, http.MethodPost, in("rollouts"), nil, n)
}

// PlanRollout says what a rollout is going to do.
func (c *Client) PlanRollout(ctx context.Context, n controlplane.NewRollout) (*controlplane.RolloutPlan, error) {
	return call[*controlplane.RolloutPlan](ctx, c, http.MethodPost, in("rollouts", "plan"), nil, n)
}

// ListRollouts lists the rollouts, newest first.
func (c *Client) ListRollouts(ctx context.Context) ([]controlplane.Rollout, error) {
	return items(call[controlplane.Page[controlplane.Rollout]](ctx, c, http.MethodGet, in("rollouts"), nil, nil))
}

// ShowRollout shows a rollout.
func (c *Client) ShowRollout(ctx context.Context, id string) (*controlplane.Rollout, error) {
	return call[*controlplane.Rollout](ctx, c, http.MethodGet, in("rollouts", id), nil, nil)
}

// Targets returns one page of a rollout's targets.
func (c *Client) Targets(ctx context.Context, id string, q controlplane.TargetQuery) (controlplane.Page[controlplane.Target], error) {
	query := values("status", string(q.Status), "cursor", q.Cursor, "limit", number(q.Limit))
	return call[controlplane.Page[controlplane.Target]](ctx, c, http.MethodGet, in("rollouts", id, "targets"), query, nil)
}

// ResumeRollout goes on with a paused rollout.
func (c *Client) ResumeRollout(ctx context.Context, id string) (*controlplane.Rollout, error) {
	return call[*controlplane.Rollout](ctx, c, http.MethodPost, in("rollouts", id, "resume"), nil, nil)
}

// RetryRollout tries the failed targets of a rollout again.
func (c *Client) RetryRollout(ctx context.Context, id string) (*controlplane.Rollout, error) {
	return call[*controlplane.Rollout](ctx, c, http.MethodPost, in("rollouts", id, "retry"), nil, nil)
}

// RollbackRollout takes the tenants of a rollout back to where they were. A
// dry run is [Client.PlanRollback].
func (c *Client) RollbackRollout(ctx context.Context, id string, r controlplane.RollbackRequest) (*controlplane.Rollout, error) {
	return call[*controlplane.Rollout](ctx, c, http.MethodPost, in("rollouts", id, "rollback"), nil, r)
}

// PlanRollback says what a rollback undoes and what it cannot.
func (c *Client) PlanRollback(ctx context.Context, id string, r controlplane.RollbackRequest) (*controlplane.RollbackPlan, error) {
	return call[*controlplane.RollbackPlan](ctx, c, http.MethodPost, in("rollouts", id, "rollback", "plan"), nil, r)
}
