package release

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/migrator"
)

// Rehearse runs versions of a release up, down and up again in a scratch
// database of a cluster and tells what was seen. Nothing is kept of it.
func (s *Service) Rehearse(ctx context.Context, by controlplane.Actor, name string, ask controlplane.RehearsalRequest) (*controlplane.Rehearsal, error) {
	if err := s.guard.See(by, "release.rehearse", name); err != nil {
		return nil, err
	}
	release, err := ByName(ctx, s.cat.Ent(), name)
	if err != nil {
		return nil, err
	}
	if ask.To == "" {
		ask.To = release.Latest()
	}
	for _, version := range []string{ask.From, ask.To} {
		if !release.Has(version) {
			return nil, NoSuchVersion(release, version)
		}
	}
	parsed, err := s.Load(ctx, release.ID)
	if err != nil {
		return nil, err
	}
	cluster, err := s.stage(ctx, release, ask.Cluster)
	if err != nil {
		return nil, err
	}
	rehearsal, err := s.rehearse(ctx, parsed, cluster, ask)
	if err != nil {
		return nil, err
	}
	rehearsal.Release = release.Name
	return rehearsal, nil
}

// stage is the cluster to rehearse a release on: the one that is asked for, or
// the first that is active, has the extensions and answers.
func (s *Service) stage(ctx context.Context, release *controlplane.Release, name string) (*controlplane.Cluster, error) {
	clusters, err := s.fleet.Clusters(ctx)
	if err != nil {
		return nil, err
	}
	clusters = slices.DeleteFunc(clusters, func(c controlplane.Cluster) bool {
		return name != "" && c.Name != name || name == "" && c.State != controlplane.ClusterActive
	})
	err = controlplane.Errorf(controlplane.Refused, "no cluster is active, so release %s cannot be rehearsed", release.Name).
		WithHint("`manor cluster add` makes one known, `manor cluster set NAME --state active` opens one")
	if name != "" {
		err = controlplane.Errorf(controlplane.NotFound, "there is no cluster %s", name).WithHint("`manor cluster list` lists them")
	}
	down := s.fleet.Down(ctx, clusters)
	for i := range clusters {
		c := &clusters[i]
		if err = cmp.Or(release.FitsOn(c), down[c.Name]); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// rehearse does it on one cluster. What it answers is complete but for the
// release's name, and fit to be kept for a release and a major version.
func (s *Service) rehearse(ctx context.Context, parsed *migrator.Release, c *controlplane.Cluster, ask controlplane.RehearsalRequest) (*controlplane.Rehearsal, error) {
	started := time.Now()
	rehearsal := &controlplane.Rehearsal{From: ask.From, To: ask.To, Cluster: c.Name}
	err := s.fleet.Scratch(ctx, c.ID, func(ctx context.Context, owner *pgx.Conn, schema string) (err error) {
		if err := owner.QueryRow(ctx, "SELECT current_setting('server_version_num')::int / 10000").Scan(&rehearsal.ServerVersion); err != nil {
			return fmt.Errorf("read the version of cluster %s: %w", c.Name, err)
		}
		rehearsal.Versions, err = parsed.Rehearse(ctx, owner, schema, ask.From, ask.To)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("rehearse on cluster %s: %w", c.Name, err)
	}
	rehearsal.DurationMS = time.Since(started).Milliseconds()
	return rehearsal, nil
}
