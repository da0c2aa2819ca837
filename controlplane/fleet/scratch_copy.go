package fleet

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/ent/database"
)

// copyPrefix is how the names of scratch databases with tenants' data begin.
const copyPrefix = "s_copy_"

// ForgetCopiesEvery is how often [Service.ForgetCopies] is to be called.
const ForgetCopiesEvery = 20 * time.Second

// ScratchCopy is [Service.Scratch] for a copy of a tenant's data. It does not
// outlast this process by much: who does not hold its lock any more is dead, and
// [Service.ForgetCopies] drops it. The context of f ends when the lock is lost.
func (s *Service) ScratchCopy(ctx context.Context, clusterID string, f func(ctx context.Context, conn *pgx.Conn, schema string) error) error {
	name := pg.NewName(copyPrefix)
	ran, err := s.cat.Alone(ctx, lockOfCopy(name), func(ctx context.Context) error {
		return s.scratch(ctx, clusterID, name, func(conn *pgx.Conn, schema string) error { return f(ctx, conn, schema) })
	})
	if err == nil && !ran {
		err = controlplane.Errorf(controlplane.Conflict, "somebody else takes scratch database %s for forgotten", name)
	}
	return err
}

func lockOfCopy(name string) string { return "manor.fleet.copy." + name }

// ForgetCopies drops the scratch databases with tenants' data whose processes
// died. What cannot be dropped now is for the next time.
func (s *Service) ForgetCopies(ctx context.Context) error {
	rows, err := s.cat.Ent().Database.Query().Where(database.Isolation(scratch), database.NameHasPrefix(copyPrefix)).All(ctx)
	for _, row := range rows {
		_, failed := s.cat.Alone(ctx, lockOfCopy(row.Name), func(ctx context.Context) error { return s.forget(ctx, row) })
		err = errors.Join(err, failed)
	}
	return err
}
