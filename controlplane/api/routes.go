package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/manorhq/manor/controlplane"
)

const (
	maxBody  = 16 << 20 // bytes; a release travels in one request
	readBody = 30 * time.Second

	get, post, put, patch, remove = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete
)

// route is one line of the route table.
type route struct {
	method, path, id, summary string
	register                  func(*server, huma.Operation)
}

// routes is the API.
func (s *server) routes() []route {
	return []route{
		{post, "/v1/clusters", "add-cluster", "Add a cluster", call(s.addCluster)},
		{get, "/v1/clusters", "list-clusters", "List the clusters", call(s.listClusters)},
		{get, "/v1/clusters/{name}", "show-cluster", "Show a cluster", call(s.showCluster)},
		{patch, "/v1/clusters/{name}", "set-cluster", "Change a cluster", call(s.setCluster)},
		{remove, "/v1/clusters/{name}", "remove-cluster", "Remove a cluster that has no tenants", send(s.removeCluster)},

		{post, "/v1/tenants", "create-tenants", "Create tenants, each with a result of its own", call(s.createTenants)},
		{get, "/v1/tenants", "list-tenants", "List tenants", call(s.listTenants)},
		{get, "/v1/tenants/{slug}", "show-tenant", "Show a tenant", call(s.showTenant)},
		{patch, "/v1/tenants/{slug}", "set-tenant", "Change a tenant", call(s.setTenant)},
		{post, "/v1/tenants/{slug}/pin", "pin-tenant", "Keep a tenant at its version", call(s.pinTenant)},
		{post, "/v1/tenants/{slug}/unpin", "unpin-tenant", "Let rollouts change a tenant again", call(s.unpinTenant)},
		{post, "/v1/tenants/{slug}/suspend", "suspend-tenant", "Refuse a tenant's logins", call(s.suspendTenant)},
		{post, "/v1/tenants/{slug}/resume", "resume-tenant", "Admit a tenant's logins again", call(s.resumeTenant)},
		{remove, "/v1/tenants/{slug}", "delete-tenant", "Disable a tenant and keep its data", call(s.deleteTenant)},
		{post, "/v1/tenants/{slug}/purge", "purge-tenant", "Drop a deleted tenant's home for good", call(s.purgeTenant)},
		{get, "/v1/tenants/{slug}/dsn", "tenant-dsn", "Show how to connect as a tenant, without the password", call(s.tenantDSN)},
		{post, "/v1/tenants/{slug}/dsn/reveal", "reveal-tenant-dsn", "Show how to connect as a tenant, with the password", call(s.revealTenantDSN)},
		{get, "/v1/fingerprints", "fingerprints", "Group tenants by the fingerprint of their schema", call(s.fingerprints)},
		{post, "/v1/versions", "set-versions", "Say of tenants that they are at a version, each with a result of its own", call(s.setVersions)},

		{post, "/v1/releases", "push-release", "Push a release", call(s.pushRelease)},
		{get, "/v1/releases", "list-releases", "List the releases", call(s.listReleases)},
		{get, "/v1/releases/{name}", "show-release", "Show a release", call(s.showRelease)},
		{put, "/v1/releases/{name}/default", "set-default-release", "Let new tenants start at a release", call(s.setDefaultRelease)},
		{post, "/v1/releases/diff", "diff-release", "Compute the migration that leads a directory to a desired schema", call(s.diffRelease)},
		{post, "/v1/releases/{name}/rehearse", "rehearse-release", "Run a release in a scratch database and tell what was seen", call(s.rehearseRelease)},

		{post, "/v1/rollouts", "start-rollout", "Start a rollout", call(s.startRollout)},
		{post, "/v1/rollouts/plan", "plan-rollout", "Say what a rollout is going to do", call(s.planRollout)},
		{get, "/v1/rollouts", "list-rollouts", "List the rollouts, newest first", call(s.listRollouts)},
		{get, "/v1/rollouts/{id}", "show-rollout", "Show a rollout", call(s.showRollout)},
		{get, "/v1/rollouts/{id}/targets", "list-targets", "List the targets of a rollout", call(s.targets)},
		{post, "/v1/rollouts/{id}/resume", "resume-rollout", "Go on with a paused rollout", call(s.resumeRollout)},
		{post, "/v1/rollouts/{id}/retry", "retry-rollout", "Try the failed targets again", call(s.retryRollout)},
		{post, "/v1/rollouts/{id}/pause", "pause-rollout", "Start nothing more of a rollout", call(s.pauseRollout)},
		{post, "/v1/rollouts/{id}/abort", "abort-rollout", "End a rollout where it is", call(s.abortRollout)},
		{post, "/v1/rollouts/{id}/approve", "approve-rollout", "Pass the approval that a rollout waits for", call(s.approveRollout)},
		{post, "/v1/rollouts/{id}/skip", "skip-targets", "Take tenants out of a rollout", call(s.skipTargets)},
		{post, "/v1/rollouts/{id}/rollback", "rollback-rollout", "Take the tenants of a rollout back", call(s.rollbackRollout)},
		{post, "/v1/rollouts/{id}/rollback/plan", "plan-rollback", "Say what a rollback undoes and what it cannot", call(s.planRollback)},

		{put, "/v1/strategies/{id}", "apply-strategy", "Keep a strategy under its name", call(s.applyStrategy)},
		{get, "/v1/strategies", "list-strategies", "List the strategies that are kept", call(s.listStrategies)},
		{get, "/v1/strategies/{id}", "show-strategy", "Show a strategy", call(s.showStrategy)},

		{get, "/v1/workers", "list-workers", "List the workers and what each does now", call(s.listWorkers)},
		{get, "/v1/status", "status", "Show the fleet by version", call(s.status)},
		{post, "/v1/status/verify", "verify-status", "Compare the catalog with the tenants' stamps, and correct it", call(s.verifyStatus)},
		{post, "/v1/doctor", "doctor", "Look for orphans, ghosts and work undone, and mend what is safe", call(s.doctor)},
		{get, "/v1/events", "watch-events", "Stream events as they are committed", stream(s.watchEvents)},
		{get, "/v1/events/head", "head-of-events", "Show the cursor of the last event", call(s.headOfEvents)},
		{get, "/v1/health", "health", "Show that the control plane is up", call(s.health)},
	}
}

func (r route) operation() huma.Operation {
	tag, _, _ := strings.Cut(strings.TrimPrefix(r.path, "/v1/"), "/")
	return huma.Operation{
		Method: r.method, Path: r.path, OperationID: r.id, Summary: r.summary, Tags: []string{tag},
		MaxBodyBytes: maxBody, BodyReadTimeout: readBody,
	}
}

type answer[O any] struct{ Body O }

// call is a route that answers with a value.
func call[I, O any](door func(context.Context, controlplane.Actor, *I) (O, error)) func(*server, huma.Operation) {
	return func(s *server, op huma.Operation) {
		huma.Register(s.api, op, func(ctx context.Context, in *I) (*answer[O], error) {
			out, err := door(ctx, actorOf(ctx), in)
			if err != nil {
				return nil, s.problem(ctx, op.OperationID, err)
			}
			return &answer[O]{out}, nil
		})
	}
}

// send is a route that answers with nothing but its status.
func send[I any](door func(context.Context, controlplane.Actor, *I) error) func(*server, huma.Operation) {
	return func(s *server, op huma.Operation) {
		huma.Register(s.api, op, func(ctx context.Context, in *I) (*struct{}, error) {
			if err := door(ctx, actorOf(ctx), in); err != nil {
				return nil, s.problem(ctx, op.OperationID, err)
			}
			return nil, nil
		})
	}
}
