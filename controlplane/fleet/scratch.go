package fleet

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/database"
)

// scratch is the isolation of a database that rehearses and is dropped again.
const scratch = "scratch"

// scratchLife is after how long a scratch database counts as forgotten.
const scratchLife = time.Hour

// ScratchCluster picks where to try something out, by id: the named cluster, or
// the first active one that answers. Unlike a home, a scratch needs no room.
func (s *Service) ScratchCluster(ctx context.Context, name string) (string, error) {
	if name != "" {
		row, err := byName(ctx, s.cat.Ent(), name)
		if err != nil {
			return "", err
		}
		if row.State == controlplane.ClusterOffline {
			return "", controlplane.Errorf(controlplane.Refused, "cluster %s is offline: nothing is started on it", name).
				WithHint("name another one, or open it with `manor cluster set %s --state active`", name)
		}
		return row.ID, nil
	}
	clusters, err := s.Clusters(ctx)
	if err != nil {
		return "", err
	}
	down := s.Down(ctx, clusters)
	for _, c := range clusters {
		if c.State == controlplane.ClusterActive && down[c.Name] == nil {
			return c.ID, nil
		}
	}
	if len(clusters) == 0 {
		return "", controlplane.Errorf(controlplane.Refused, "there is no cluster yet").WithHint("`manor cluster add` makes one known")
	}
	return "", controlplane.Errorf(controlplane.Unavailable, "no cluster is active and answers").WithHint("`manor cluster list` shows their states")
}

// Scratch runs f on a connection of the owner of a new database, which holds
// the schema and the cluster's extensions and is dropped afterwards.
func (s *Service) Scratch(ctx context.Context, clusterID string, f func(conn *pgx.Conn, schema string) error) error {
	return s.scratch(ctx, clusterID, pg.NewName("s_"), f)
}

func (s *Service) scratch(ctx context.Context, clusterID, name string, f func(conn *pgx.Conn, schema string) error) error {
	var row *ent.Database
	err := s.cat.InTx(ctx, func(tx *catalog.Tx) (err error) {
		row, err = s.plan(ctx, tx, clusterID, name, scratch, 0)
		return err
	})
	if err != nil {
		return err
	}
	s.dropForgotten(ctx, clusterID)
	defer func() {
		// A scratch that cannot be dropped now keeps its row, by which the next one finds it.
		_ = s.forget(context.WithoutCancel(ctx), row)
	}()
	if _, err := s.EnsureDatabase(ctx, row.ID); err != nil {
		return err
	}
	return s.AsOwner(ctx, row.ID, func(owner *pgx.Conn) error {
		if _, err := owner.Exec(ctx, "CREATE SCHEMA "+pg.Quote(name)); err != nil {
			return fmt.Errorf("create schema %s in the scratch database: %w", name, err)
		}
		return f(owner, name)
	})
}

// dropForgotten drops the scratch databases of processes that died. What cannot
// be dropped now is for the next one.
func (s *Service) dropForgotten(ctx context.Context, clusterID string) {
	rows, err := s.cat.Ent().Database.Query().
		Where(database.ClusterID(clusterID), database.Isolation(scratch), database.Not(database.NameHasPrefix(copyPrefix)), database.CreatedAtLT(time.Now().Add(-scratchLife))).All(ctx)
	if err != nil {
		return
	}
	for _, row := range rows {
		_ = s.forget(ctx, row)
	}
}
