package release

import (
	"context"
	stdsql "database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"entgo.io/ent/dialect/sql"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/rehearsal"
)

// Rehearsed is the rehearsal of a part of a release on PostgreSQL of a cluster's
// major version: as it was kept, since neither changes, or made now on that
// cluster and kept.
func (s *Service) Rehearsed(ctx context.Context, r *controlplane.Release, ask controlplane.RehearsalRequest, c *controlplane.Cluster) (*controlplane.Rehearsal, error) {
	major := c.Version / 10000
	row, err := s.cat.Ent().Rehearsal.Query().Where(rehearsal.ReleaseID(r.ID), rehearsal.FromVersion(ask.From), rehearsal.ToVersion(ask.To), rehearsal.Major(major)).Only(ctx)
	if err == nil {
		kept := &controlplane.Rehearsal{}
		return kept, json.Unmarshal(row.Report, kept)
	}
	if !ent.IsNotFound(err) {
		return nil, fmt.Errorf("read the rehearsal of release %s: %w", r.Name, err)
	}
	parsed, err := s.Load(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	seen, err := s.rehearse(ctx, parsed, c, ask)
	if err != nil {
		return nil, err
	}
	seen.Release = r.Name
	report, err := json.Marshal(seen)
	if err != nil {
		return nil, fmt.Errorf("encode the rehearsal of release %s: %w", r.Name, err)
	}
	err = s.cat.Ent().Rehearsal.Create().SetReleaseID(r.ID).SetFromVersion(ask.From).SetToVersion(ask.To).SetMajor(seen.ServerVersion).SetReport(report).
		OnConflict(sql.DoNothing()).Exec(ctx)
	if err := unlessKept(err); err != nil {
		return nil, fmt.Errorf("keep the rehearsal of release %s: %w", r.Name, err)
	}
	return seen, nil
}

// unlessKept is the error of an insert that leaves alone what another has put
// there first, which ent says by the error of a missing row.
func unlessKept(err error) error {
	if errors.Is(err, stdsql.ErrNoRows) {
		return nil
	}
	return err
}

// Warnings are what the author of a release should know about the versions
// after one and up to another.
func (s *Service) Warnings(ctx context.Context, id, after, to string) ([]controlplane.Warning, error) {
	parsed, err := s.Load(ctx, id)
	if err != nil {
		return nil, err
	}
	report, err := migrator.Lint(parsed.Files(), after)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(report.Items, func(w controlplane.Warning) bool { return w.Version > to }), nil
}
