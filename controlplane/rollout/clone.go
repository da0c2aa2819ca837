package rollout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/controlplane/release"
)

// noClones refuses to make copies for what is no plan that is rehearsed and kept:
// nobody would see what they show.
func noClones(n controlplane.NewRollout) error {
	if n.OnClones == 0 || n.Keep && !n.NoRehearsal {
		return nil
	}
	return controlplane.Errorf(controlplane.Invalid, "copies of tenants are made for a plan that is rehearsed and kept").WithHint("`manor rollout plan --on-clones %d`", n.OnClones)
}

// onClones adds to a plan what is seen when its versions run on copies of some
// of its tenants, one after the other. What a copy shows is a finding, and so is
// a tenant that cannot be copied; neither keeps the plan from being made.
func (s *Service) onClones(ctx context.Context, by controlplane.Actor, r *controlplane.Release, n controlplane.NewRollout, targets []frozen, plan *controlplane.RolloutPlan) error {
	if n.OnClones == 0 {
		return nil
	}
	sizes, err := s.sizes(ctx, targets)
	if err != nil {
		return err
	}
	clusters, err := s.fleet.Clusters(ctx)
	if err != nil {
		return err
	}
	for _, t := range toCopy(targets, sizes, n.OnClones) {
		seen, err := s.onClone(ctx, by, r, n, t, clusters)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if seen == nil {
			seen = &controlplane.Clone{Tenant: t.tenant.Slug, From: t.tenant.Version, To: n.Version, Versions: []controlplane.RehearsedVersion{}}
		}
		if seen.Cluster = t.tenant.Cluster; err != nil {
			seen.Why = why(err)
		}
		plan.Clones = append(plan.Clones, *seen)
		plan.Warnings = append(plan.Warnings, warnings(seen)...)
	}
	return nil
}

// why is the reason of an error, without what was being done: that is clear here.
func why(err error) string {
	if e, ok := errors.AsType[*controlplane.Error](err); ok {
		return e.Message
	}
	return err.Error()
}

// onClone copies one tenant, once that is on record.
func (s *Service) onClone(ctx context.Context, by controlplane.Actor, r *controlplane.Release, n controlplane.NewRollout, t frozen, clusters []controlplane.Cluster) (*controlplane.Clone, error) {
	if slices.ContainsFunc(clusters, func(c controlplane.Cluster) bool {
		return c.Name == t.tenant.Cluster && c.State == controlplane.ClusterOffline
	}) {
		return nil, controlplane.Errorf(controlplane.Refused, "its cluster is offline: nothing is started on it")
	}
	err := s.cat.InTx(ctx, func(tx *catalog.Tx) error {
		return s.guard.Permit(ctx, tx, by, "tenant.copy", t.tenant.Slug,
			map[string]string{"for": "rehearsal", "release": r.Name, "version": n.Version, "cluster": t.tenant.Cluster})
	})
	if err != nil {
		return nil, err
	}
	at := t.tenant.Placement
	home := release.Original{Marker: pg.Marker{TenantID: t.tenant.ID, Slug: t.tenant.Slug, Schema: at.Schema, Generation: at.Generation},
		Version: t.tenant.Version, ClusterID: at.ClusterID, DatabaseID: at.DatabaseID}
	limits := migrator.CloneLimits{Bytes: n.CloneLimit, Statement: time.Duration(cmp.Or(n.Strategy.Timeouts.Statement, controlplane.DefaultStatementTimeout))}
	return s.releases.OnClone(ctx, r, home, n.Version, limits)
}

// sizes are those of the homes that are to be changed, by schema.
func (s *Service) sizes(ctx context.Context, targets []frozen) (map[string]int64, error) {
	homes := map[string][]string{}
	for _, t := range targets {
		if t.status == controlplane.TargetPending {
			at := t.tenant.Placement
			homes[at.DatabaseID] = append(homes[at.DatabaseID], at.Schema)
		}
	}
	return s.fleet.Sizes(ctx, homes)
}

// toCopy picks the tenants that stand for the others: the largest of each
// version, beginning with the version of most tenants, then the largest of all.
func toCopy(targets []frozen, sizes map[string]int64, most int) []frozen {
	var largest, picked, others []frozen
	at := map[string]int{}
	for _, t := range targets {
		if t.status == controlplane.TargetPending {
			largest = append(largest, t)
			at[t.tenant.Version]++
		}
	}
	slices.SortFunc(largest, func(a, b frozen) int {
		return cmp.Or(cmp.Compare(sizes[b.tenant.Placement.Schema], sizes[a.tenant.Placement.Schema]), cmp.Compare(a.tenant.Slug, b.tenant.Slug))
	})
	seen := map[string]bool{}
	for _, t := range largest {
		if seen[t.tenant.Version] {
			others = append(others, t)
			continue
		}
		seen[t.tenant.Version] = true
		picked = append(picked, t)
	}
	slices.SortStableFunc(picked, func(a, b frozen) int { return cmp.Compare(at[b.tenant.Version], at[a.tenant.Version]) })
	picked = append(picked, others...)
	return picked[:min(most, len(picked))]
}

// warnings are what a copy says of its tenant.
func warnings(c *controlplane.Clone) (found []controlplane.Warning) {
	for i := range c.Versions {
		v := &c.Versions[i]
		var w controlplane.Warning
		switch {
		case v.Refuses != "":
			w = controlplane.NewWarning(controlplane.WarnRefusedOnCopy, fmt.Sprintf("on a copy of tenant %s: %s%s", c.Tenant, bare(v.Failure), nulls(v.Nulls)))
			w.Statement, w.SQL = v.Failure.Statement, v.Failure.SQL
		case !v.Proved && v.Down != controlplane.DownNone:
			w = controlplane.NewWarning(controlplane.WarnUnprovedOnCopy, fmt.Sprintf("on a copy of tenant %s: %s", c.Tenant, v.Why))
		default:
			continue
		}
		w.Version, w.File = v.Version, v.File
		found = append(found, w)
	}
	return found
}

// bare is a failure without its place, which its warning names.
func bare(f *controlplane.Failure) string {
	return (&controlplane.Failure{Message: f.Message, SQLState: f.SQLState}).String()
}

func nulls(n int64) string {
	switch n {
	case 0:
		return ""
	case 1:
		return ", 1 row"
	}
	return fmt.Sprintf(", %d rows", n)
}
