package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/manorhq/manor/cmd/manor/render"
	"github.com/manorhq/manor/controlplane"
)

// completeWithin is how long a shell waits for names; without an answer it
// offers none.
const completeWithin = 2 * time.Second

// names asks the control plane for the names that can stand at the first place.
func (a *app) names(cmd *cobra.Command, args []string, ask func(ctx context.Context, s *session) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	const nothing = cobra.ShellCompDirectiveNoFileComp
	if len(args) > 0 {
		return nil, nothing
	}
	a.print = render.New(render.Config{Out: a.out, Err: a.err}) // completion does not pass through prepare
	s, err := a.open(cmd, false)
	if err != nil {
		return nil, nothing
	}
	defer s.close()
	ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
	defer cancel()
	names, err := ask(ctx, s)
	if err != nil {
		return nil, nothing
	}
	return names, nothing
}

func (a *app) completeClusters(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.names(cmd, args, func(ctx context.Context, s *session) ([]string, error) {
		clusters, err := s.ListClusters(ctx)
		return namesOf(clusters, func(c controlplane.Cluster) string { return c.Name }), err
	})
}

func (a *app) completeTenants(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	return a.names(cmd, args, func(ctx context.Context, s *session) ([]string, error) {
		page, err := s.ListTenants(ctx, controlplane.TenantQuery{Search: typed, Limit: 200})
		return namesOf(page.Items, func(t controlplane.Tenant) string { return t.Slug }), err
	})
}

func (a *app) completeReleases(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.names(cmd, args, func(ctx context.Context, s *session) ([]string, error) {
		releases, err := s.ListReleases(ctx)
		return namesOf(releases, func(r controlplane.Release) string { return r.Name }), err
	})
}

func (a *app) completeRollouts(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.names(cmd, args, func(ctx context.Context, s *session) ([]string, error) {
		rollouts, err := s.ListRollouts(ctx)
		return namesOf(rollouts, func(r controlplane.Rollout) string {
			return r.ID + "\t" + string(r.State) + ", " + r.Release
		}), err
	})
}

func namesOf[T any](items []T, name func(T) string) []string {
	names := make([]string, len(items))
	for i, item := range items {
		names[i] = name(item)
	}
	return names
}
