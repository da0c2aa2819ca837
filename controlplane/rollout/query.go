package rollout

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"entgo.io/ent/dialect/sql"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/batch"
	"github.com/manorhq/manor/ent/rollout"
	"github.com/manorhq/manor/ent/target"
)

const (
	defaultLimit = 100
	maxLimit     = 1000
	listed       = 200 // rollouts that List returns at most
	recent       = 3   // rollouts at rest that Status names at most
)

// List returns the rollouts, newest first.
func (s *Service) List(ctx context.Context, by controlplane.Actor) ([]controlplane.Rollout, error) {
	if err := s.guard.See(by, "rollout.list", ""); err != nil {
		return nil, err
	}
	rows, err := s.cat.Ent().Rollout.Query().Order(rollout.ByCreatedAt(sql.OrderDesc())).Limit(listed).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the rollouts: %w", err)
	}
	return s.nouns(ctx, rows)
}

// Show returns one rollout with its targets counted by status.
func (s *Service) Show(ctx context.Context, by controlplane.Actor, id string) (*controlplane.Rollout, error) {
	if err := s.guard.See(by, "rollout.show", id); err != nil {
		return nil, err
	}
	row, err := find(ctx, s.cat.Ent(), id)
	if err != nil {
		return nil, err
	}
	r, err := s.noun(ctx, row)
	if err != nil {
		return nil, err
	}
	if r.Snapshots, err = s.snapshotsKept(ctx, row); err != nil {
		return nil, err
	}
	if r.Waves, err = s.waveStatuses(ctx, row); err != nil || r.Counts.Done() == r.Counts.Sum() {
		return r, err
	}
	return r, s.detail(ctx, r)
}

func (s *Service) noun(ctx context.Context, row *ent.Rollout) (*controlplane.Rollout, error) {
	nouns, err := s.nouns(ctx, []*ent.Rollout{row})
	if err != nil {
		return nil, err
	}
	return &nouns[0], nil
}

func (s *Service) nouns(ctx context.Context, rows []*ent.Rollout) ([]controlplane.Rollout, error) {
	ids := make([]string, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	counts, err := countsOf(ctx, s.cat.Ent(), ids...)
	if err != nil {
		return nil, err
	}
	releases, err := releaseNames(ctx, s.cat.Ent())
	if err != nil {
		return nil, err
	}
	out := make([]controlplane.Rollout, len(rows))
	for i, r := range rows {
		out[i] = controlplane.Rollout{ID: r.ID, State: r.State, Release: releases[r.ReleaseID], ReleaseID: r.ReleaseID, Version: r.Version,
			Select: r.Selector, BatchSize: r.BatchSize, Concurrency: r.Concurrency, PerCluster: r.PerCluster, PerDatabase: r.PerDatabase, OnError: r.OnError,
			Strategy: r.Strategy, Wanted: r.Wanted, Targets: counts[r.ID].Sum(),
			Counts: counts[r.ID], Reason: r.Reason, CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt, FinishedAt: r.FinishedAt}
	}
	return out, nil
}

// Targets returns the targets of a rollout by slug, a page at a time.
func (s *Service) Targets(ctx context.Context, by controlplane.Actor, id string, q controlplane.TargetQuery) (controlplane.Page[controlplane.Target], error) {
	page := controlplane.Page[controlplane.Target]{Items: []controlplane.Target{}}
	if err := s.guard.See(by, "rollout.targets", id); err != nil {
		return page, err
	}
	if err := q.Validate(); err != nil {
		return page, err
	}
	of, err := find(ctx, s.cat.Ent(), id)
	if err != nil {
		return page, err
	}
	limit := q.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	limit = min(limit, maxLimit)
	find := s.cat.Ent().Target.Query().Where(target.RolloutID(id), target.SlugGT(q.Cursor)).Order(target.BySlug()).Limit(limit + 1)
	if q.Status != "" {
		find.Where(target.Status(q.Status))
	}
	rows, err := find.All(ctx)
	if err != nil {
		return page, fmt.Errorf("read the targets of rollout %s: %w", id, err)
	}
	if len(rows) > limit {
		rows = rows[:limit]
		page.Next = rows[limit-1].Slug
	}
	return page, s.fill(ctx, &page, of, rows)
}

func (s *Service) fill(ctx context.Context, page *controlplane.Page[controlplane.Target], of *ent.Rollout, rows []*ent.Target) error {
	clusters, err := s.clusterNames(ctx)
	if err != nil {
		return err
	}
	batches, err := s.cat.Ent().Batch.Query().Where(batch.RolloutID(of.ID)).Select(batch.FieldNumber).All(ctx)
	if err != nil {
		return fmt.Errorf("read the batches of rollout %s: %w", of.ID, err)
	}
	numbers := map[int]int{}
	for _, b := range batches {
		numbers[b.ID] = b.Number
	}
	for _, row := range rows {
		number := 0
		if row.BatchID != nil {
			number = numbers[*row.BatchID]
		}
		page.Items = append(page.Items, noun(row, of.Strategy, clusters, number))
	}
	return nil
}

func (s *Service) clusterNames(ctx context.Context) (map[string]string, error) {
	clusters, err := s.fleet.Clusters(ctx)
	if err != nil {
		return nil, err
	}
	names := make(map[string]string, len(clusters))
	for _, c := range clusters {
		names[c.ID] = c.Name
	}
	return names, nil
}

// Status is the fleet by version, from the catalog alone.
func (s *Service) Status(ctx context.Context, by controlplane.Actor) (*controlplane.FleetStatus, error) {
	if err := s.guard.See(by, "status", ""); err != nil {
		return nil, err
	}
	clusters, err := s.fleet.Clusters(ctx)
	if err != nil {
		return nil, err
	}
	census, err := s.census(ctx)
	if err != nil {
		return nil, err
	}
	status := summarize(census, clusters)
	if err := s.atDefault(ctx, status, census); err != nil {
		return nil, err
	}
	status.Rollouts, err = s.current(ctx)
	return status, err
}

// tally is a number of tenants that have these in common.
type tally struct {
	state     controlplane.TenantState
	version   string
	releaseID string
	clusterID string
	trouble   string // "failed", "running" or "": as a target
	print     string // fingerprint; "": not looked at
	tenants   int
}

// census counts the living tenants in one query. Whether a tenant failed is
// what its last target says. Most targets are over and went well: only the few
// that were not are looked at, by the two partial indexes that hold them, and of
// each whether the tenant has a later one.
func (s *Service) census(ctx context.Context) ([]tally, error) {
	rows, err := s.cat.Pool().Query(ctx, `SELECT n.state, n.version, n.release_id, coalesce(p.cluster_id, ''), coalesce(l.trouble, ''), n.fingerprint, count(*)
		FROM tenants n LEFT JOIN placements p ON p.tenant_id = n.id
		LEFT JOIN (
			SELECT t.tenant_id, CASE WHEN t.status IN ('failed', 'needs_attention') THEN 'failed' ELSE 'running' END AS trouble
			FROM targets t
			WHERE (t.status IN ('failed', 'needs_attention') OR t.status IN ('pending', 'running', 'deferred', 'unknown'))
			AND NOT EXISTS (SELECT FROM targets later WHERE later.tenant_id = t.tenant_id AND later.id > t.id)
		) l ON l.tenant_id = n.id
		WHERE n.state <> 'deleted' GROUP BY 1, 2, 3, 4, 5, 6`)
	if err != nil {
		return nil, fmt.Errorf("count the fleet: %w", err)
	}
	defer rows.Close()
	var census []tally
	for rows.Next() {
		var t tally
		if err := rows.Scan(&t.state, &t.version, &t.releaseID, &t.clusterID, &t.trouble, &t.print, &t.tenants); err != nil {
			return nil, fmt.Errorf("count the fleet: %w", err)
		}
		census = append(census, t)
	}
	return census, rows.Err()
}

// summarize adds a census up. It is a pure function; releases stay ids.
func summarize(census []tally, clusters []controlplane.Cluster) *controlplane.FleetStatus {
	status := &controlplane.FleetStatus{States: map[controlplane.TenantState]int{}, Versions: []controlplane.VersionStatus{}, Clusters: []controlplane.ClusterStatus{}}
	versions := map[string]*controlplane.VersionStatus{}
	perCluster := map[string]map[string]int{}
	for _, t := range census {
		status.Tenants += t.tenants
		status.States[t.state] += t.tenants
		if !t.state.Migratable() {
			continue
		}
		v := versions[t.version]
		if v == nil {
			v = &controlplane.VersionStatus{Version: t.version, Release: t.releaseID, Fingerprints: map[string]int{}}
			versions[t.version] = v
		}
		v.Release = max(v.Release, t.releaseID)
		v.Tenants += t.tenants
		if t.print != "" {
			v.Fingerprints[t.print] += t.tenants
		}
		switch t.trouble {
		case "failed":
			v.Failed += t.tenants
		case "running":
			v.Running += t.tenants
		}
		if perCluster[t.clusterID] == nil {
			perCluster[t.clusterID] = map[string]int{}
		}
		perCluster[t.clusterID][t.version] += t.tenants
	}
	for _, v := range versions {
		status.Versions = append(status.Versions, *v)
	}
	slices.SortFunc(status.Versions, func(a, b controlplane.VersionStatus) int { return cmp.Compare(b.Version, a.Version) })
	for _, c := range clusters {
		at := perCluster[c.ID]
		if at == nil {
			at = map[string]int{}
		}
		status.Clusters = append(status.Clusters, controlplane.ClusterStatus{Cluster: c.Name, State: c.State, Tenants: c.Tenants, Capacity: c.Capacity, Alarm: c.Flow.Alarm, Versions: at})
	}
	return status
}

// atDefault fills in the releases' names and how many tenants are behind the
// default version.
func (s *Service) atDefault(ctx context.Context, status *controlplane.FleetStatus, census []tally) error {
	names, err := releaseNames(ctx, s.cat.Ent())
	if err != nil {
		return err
	}
	for i := range status.Versions {
		status.Versions[i].Release = names[status.Versions[i].Release]
	}
	def, err := s.releases.Default(ctx)
	if err != nil {
		return err
	}
	status.Default, status.Version = names[def.ReleaseID], def.Version
	for _, t := range census {
		if t.state.Migratable() && t.version < def.Version {
			status.Behind += t.tenants
		}
	}
	return nil
}

// current are the rollouts at work or paused, and the last ones at rest.
func (s *Service) current(ctx context.Context) ([]controlplane.Rollout, error) {
	open, err := s.cat.Ent().Rollout.Query().
		Where(rollout.StateIn(controlplane.RolloutPlanned, controlplane.RolloutRunning, controlplane.RolloutRollingBack, controlplane.RolloutPaused)).
		Order(rollout.ByCreatedAt(sql.OrderDesc())).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the open rollouts: %w", err)
	}
	ended, err := s.cat.Ent().Rollout.Query().Where(rollout.FinishedAtNotNil()).Order(rollout.ByFinishedAt(sql.OrderDesc())).Limit(recent).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the last rollouts: %w", err)
	}
	return s.nouns(ctx, append(open, ended...))
}
