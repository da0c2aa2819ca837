package release

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/controlplane/pg"
)

// Original is a tenant's home to be copied.
type Original struct {
	pg.Marker
	Version    string
	ClusterID  string
	DatabaseID string
}

// OnClone rehearses what leads a tenant to a version on a copy of its home, with
// its rows, beside it on its cluster. With an error it tells what was seen before.
// The caller has seen to it that the copy is audited.
func (s *Service) OnClone(ctx context.Context, r *controlplane.Release, home Original, to string, limits migrator.CloneLimits) (*controlplane.Clone, error) {
	parsed, err := s.Load(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	owner, err := s.fleet.Owner(ctx, home.DatabaseID)
	if err != nil {
		return nil, err
	}
	var seen *controlplane.Clone
	err = s.fleet.Scratch(ctx, home.ClusterID, func(ctx context.Context, scratch *pgx.Conn, schema string) error {
		seen, err = parsed.RehearseOn(ctx, scratch, schema, migrator.Original{Marker: home.Marker, Version: home.Version, Lend: owner.Beside}, to, limits)
		return err
	})
	if err != nil {
		err = fmt.Errorf("rehearse on a copy of tenant %s: %w", home.Slug, err)
	}
	return seen, err
}
