package fleet

import (
	"context"
	"errors"
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

const (
	// ForgetScratchesEvery is how often [Service.ForgetScratches] is to be called.
	ForgetScratchesEvery = 20 * time.Second
	// dropWithin is how long the one who made a scratch tries to drop it.
	dropWithin = 20 * time.Second
	// dropLastWithin is the same once the room is being closed.
	dropLastWithin = 3 * time.Second
)

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
// the schema and the cluster's extensions and is dropped afterwards. It does not
// outlast this process by much: who does not hold its lock any more is dead, and
// [Service.ForgetScratches] drops it. The context of f ends when the lock is lost.
func (s *Service) Scratch(ctx context.Context, clusterID string, f func(ctx context.Context, conn *pgx.Conn, schema string) error) error {
	return s.scratch(ctx, clusterID, func(ctx context.Context, owner *pgx.Conn, d *ent.Database) error {
		if _, err := owner.Exec(ctx, "CREATE SCHEMA "+pg.Quote(d.Name)); err != nil {
			return fmt.Errorf("create schema %s in the scratch database: %w", d.Name, err)
		}
		return f(ctx, owner, d.Name)
	})
}

// ScratchHome is Scratch with a schema in which others have the rights that they
// have in a home. The database is dropped when f has returned, and nobody waits
// for that: a cluster takes up to a minute where somebody hangs in logging in.
func (s *Service) ScratchHome(ctx context.Context, clusterID string, f func(ctx context.Context, conn *pgx.Conn, schema string) error) error {
	done := make(chan error, 2)
	s.dropping.Go(func() {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.life, cancel)()
		done <- s.scratch(ctx, clusterID, func(ctx context.Context, owner *pgx.Conn, d *ent.Database) error {
			err := pg.CreateSchema(ctx, owner, d.Name, d.ConnectRole)
			if err == nil {
				err = f(ctx, owner, d.Name)
			}
			done <- err
			return err
		})
	})
	return <-done
}

// scratch runs f on a connection of the owner of a new database, and drops that.
func (s *Service) scratch(ctx context.Context, clusterID string, f func(context.Context, *pgx.Conn, *ent.Database) error) error {
	name := pg.NewName("s_")
	ran, err := s.cat.Alone(ctx, lockOfScratch(name), func(ctx context.Context) error {
		var row *ent.Database
		err := s.cat.InTx(ctx, func(tx *catalog.Tx) (err error) {
			row, err = s.plan(ctx, tx, clusterID, name, scratch, 0)
			return err
		})
		if err != nil {
			return err
		}
		defer func() {
			// One that cannot be dropped now keeps its row, by which it is found again.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropWithin)
			defer cancel()
			defer context.AfterFunc(s.life, cancel)()
			_ = s.forget(ctx, row)
		}()
		if _, err := s.EnsureDatabase(ctx, row.ID); err != nil {
			return err
		}
		return s.AsOwner(ctx, row.ID, func(owner *pgx.Conn) error { return f(ctx, owner, row) })
	})
	if err == nil && !ran {
		err = controlplane.Errorf(controlplane.Conflict, "somebody else takes scratch database %s for forgotten", name)
	}
	return err
}

func lockOfScratch(name string) string { return "manor.fleet.scratch." + name }

// ForgetScratches drops the scratch databases whose processes died. What cannot
// be dropped now is for the next time.
func (s *Service) ForgetScratches(ctx context.Context) error {
	rows, err := s.cat.Ent().Database.Query().Where(database.Isolation(scratch)).All(ctx)
	for _, row := range rows {
		_, failed := s.cat.Alone(ctx, lockOfScratch(row.Name), func(ctx context.Context) error { return s.forget(ctx, row) })
		err = errors.Join(err, failed)
	}
	return err
}
