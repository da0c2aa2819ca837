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

// PauseRollout starts nothing more of a rollout; it is paused once the tenants
// in hand are done.
func (c *Client) PauseRollout(ctx context.Context, id string, r controlplane.RolloutCommand) (*controlplane.Rollout, error) {
	return call[*controlplane.Rollout](ctx, c, http.MethodPost, in("rollouts", id, "pause"), nil, r)
}

// AbortRollout ends a rollout where it is, once the tenants in hand are done.
func (c *Client) AbortRollout(ctx context.Context, id string, r controlplane.RolloutCommand) (*controlplane.Rollout, error) {
	return call[*controlplane.Rollout](ctx, c, http.MethodPost, in("rollouts", id, "abort"), nil, r)
}

// ApproveRollout passes the approval that a rollout waits for.
func (c *Client) ApproveRollout(ctx context.Context, id string, r controlplane.RolloutCommand) (*controlplane.Rollout, error) {
	return call[*controlplane.Rollout](ctx, c, http.MethodPost, in("rollouts", id, "approve"), nil, r)
}

// SkipTargets takes tenants that were not begun out of a rollout.
func (c *Client) SkipTargets(ctx context.Context, id string, r controlplane.RolloutCommand) (*controlplane.Rollout, error) {
	return call[*controlplane.Rollout](ctx, c, http.MethodPost, in("rollouts", id, "skip"), nil, r)
}

// ApplyStrategy keeps a strategy under its name.
func (c *Client) ApplyStrategy(ctx context.Context, s controlplane.Strategy, dryRun bool) (*controlplane.Strategy, error) {
	return call[*controlplane.Strategy](ctx, c, http.MethodPut, in("strategies", s.Name), nil, map[string]any{"strategy": s, "dry_run": dryRun})
}

// ListStrategies lists the strategies that are kept.
func (c *Client) ListStrategies(ctx context.Context) ([]controlplane.Strategy, error) {
	return items(call[controlplane.Page[controlplane.Strategy]](ctx, c, http.MethodGet, in("strategies"), nil, nil))
}

// ShowStrategy shows a strategy that is kept.
func (c *Client) ShowStrategy(ctx context.Context, name string) (*controlplane.Strategy, error) {
	return call[*controlplane.Strategy](ctx, c, http.MethodGet, in("strategies", name), nil, nil)
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
