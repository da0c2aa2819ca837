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
	"github.com/manorhq/manor/ent/snapshot"
)

// States of a snapshot.
const (
	SnapshotTaking    = "taking" // planned; there may be a copy
	SnapshotMade      = "made"
	SnapshotRestoring = "restoring" // it is to take the place of its database, or has
	SnapshotDropping  = "dropping"
	SnapshotGone      = "gone" // the row says that there was one
)

// reopenWithin bounds opening a database again after something went wrong.
const reopenWithin = 30 * time.Second

// NewSnapshot is a copy to be taken of a tenant's own database.
type NewSnapshot struct {
	Rollout, Tenant       string // ids
	ClusterID, DatabaseID string
	Keep                  time.Duration // the copy, from when it was taken
	Within                time.Duration // it must be taken
}

// SnapshotOf is the snapshot of a tenant that a rollout took or is to take; nil: none.
func SnapshotOf(ctx context.Context, client *ent.Client, rollout, tenant string) (*ent.Snapshot, error) {
	row, err := client.Snapshot.Query().Where(snapshot.RolloutID(rollout), snapshot.TenantID(tenant)).Only(ctx)
	if ent.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the snapshot of tenant %s: %w", tenant, err)
	}
	return row, nil
}

// TakeSnapshot copies a tenant's own database, unless a copy for this rollout
// was taken before, however far an earlier attempt came. Nobody is in the
// database meanwhile; it is open again when this returns, whatever it returns,
// unless the cluster is away. The caller sees to it that nobody else works on the
// home: still is asked for that again when all is ready, and what happens then
// happens on one session, which a process that was stopped does not keep.
func (s *Service) TakeSnapshot(ctx context.Context, n NewSnapshot, still func(context.Context) error) error {
	row, err := s.planSnapshot(ctx, n)
	switch {
	case err != nil || row.State == SnapshotMade:
		return err
	case row.State != SnapshotTaking:
		return controlplane.Errorf(controlplane.Conflict, "what an earlier try left of the copy is being dropped").WithHint("it passes")
	}
	of, err := s.Database(ctx, row.DatabaseID)
	if err != nil {
		return err
	}
	s.pool(of.ClusterID).forget(of.Name) // our own sessions would be in the way
	var size int64
	err = s.AsControl(ctx, of.ClusterID, func(control *pgx.Conn) error {
		if err := still(ctx); err != nil {
			return err
		}
		if err := pg.TakeCopy(ctx, control, copyOf(of, row), n.Within); err != nil {
			return err
		}
		size, _ = pg.SizeOf(ctx, control, []pg.Database{named(of)}) // which is only said
		return nil
	})
	if err != nil {
		s.reopen(ctx, of)
		return err
	}
	now := time.Now()
	err = row.Update().Where(snapshot.State(SnapshotTaking)).SetState(SnapshotMade).SetBytes(size).SetTakenAt(now).SetExpiresAt(now.Add(n.Keep)).Exec(ctx)
	if err != nil {
		return fmt.Errorf("store the snapshot of database %s: %w", of.Name, err)
	}
	return nil
}

// planSnapshot writes the intent to take a copy before anything happens on the
// cluster, and returns the one there is.
func (s *Service) planSnapshot(ctx context.Context, n NewSnapshot) (*ent.Snapshot, error) {
	row, err := SnapshotOf(ctx, s.cat.Ent(), n.Rollout, n.Tenant)
	if err == nil && row != nil && row.State == SnapshotGone && row.TakenAt == nil { // nothing came of it
		err, row = s.cat.Ent().Snapshot.DeleteOne(row).Exec(ctx), nil
	}
	if err != nil || row != nil {
		return row, err
	}
	row, err = s.cat.Ent().Snapshot.Create().SetID(pg.NewName("c_")).SetReplaced(pg.NewName("c_")).SetRolloutID(n.Rollout).SetTenantID(n.Tenant).
		SetClusterID(n.ClusterID).SetDatabaseID(n.DatabaseID).Save(ctx)
	if err != nil {
		return nil, fmt.Errorf("plan the snapshot of tenant %s: %w", n.Tenant, err)
	}
	return row, nil
}

func copyOf(of *ent.Database, row *ent.Snapshot) pg.Copy {
	return pg.Copy{Of: named(of), Name: row.ID, Replaced: row.Replaced}
}

// reopen opens a database that something went wrong with. Where that fails,
// too, it is for [Service.ReopenFor].
func (s *Service) reopen(ctx context.Context, of *ent.Database) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reopenWithin)
	defer cancel()
	_ = s.AsControl(ctx, of.ClusterID, func(control *pgx.Conn) error { return pg.Reopen(ctx, control, named(of)) })
}

// ReopenFor opens the database of a snapshot that a process left closed when it
// died. The caller sees to it that nobody is at work on it.
func (s *Service) ReopenFor(ctx context.Context, row *ent.Snapshot) error {
	of, err := s.cat.Ent().Database.Get(ctx, row.DatabaseID)
	if ent.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read database %s: %w", row.DatabaseID, err)
	}
	return s.AsControl(ctx, of.ClusterID, func(control *pgx.Conn) error { return pg.Reopen(ctx, control, named(of)) })
}

// WantRestored has the copies of tenants take the place of their databases, and
// returns how many of them there are.
func WantRestored(ctx context.Context, tx *catalog.Tx, rollout string, tenants []string) (int, error) {
	n, err := tx.Snapshot.Update().Where(snapshot.RolloutID(rollout), snapshot.TenantIDIn(tenants...), snapshot.StateIn(SnapshotMade, SnapshotRestoring)).
		SetState(SnapshotRestoring).Save(ctx)
	if err != nil {
		return 0, fmt.Errorf("mark the snapshots of rollout %s: %w", rollout, err)
	}
	return n, nil
}

// Restore puts a tenant's copy in the place of its database, however far an
// earlier attempt came. What was written since it was taken is lost. ready makes
// the home in the copy fit for that, as its owner, while nobody looks for it
// there; where the copy took that place before, in the database. still is as for
// [Service.TakeSnapshot].
func (s *Service) Restore(ctx context.Context, row *ent.Snapshot, home pg.Home, still func(context.Context) error, ready func(context.Context, *pgx.Conn) error) error {
	of, err := s.Database(ctx, row.DatabaseID)
	if err != nil {
		return err
	}
	c, err := s.cat.Ent().Cluster.Get(ctx, of.ClusterID)
	if err != nil {
		return fmt.Errorf("read the cluster of database %s: %w", of.Name, err)
	}
	s.pool(of.ClusterID).forget(of.Name) // our own sessions would be in the way
	err = s.AsControl(ctx, of.ClusterID, func(control *pgx.Conn) error {
		if err := still(ctx); err != nil {
			return err
		}
		return s.restore(ctx, control, of, c, row, home, ready)
	})
	s.pool(of.ClusterID).forget(row.ID)
	if err != nil {
		s.reopen(ctx, of)
	}
	return err
}

func (s *Service) restore(ctx context.Context, control *pgx.Conn, of *ent.Database, c *ent.Cluster, row *ent.Snapshot, home pg.Home, ready func(context.Context, *pgx.Conn) error) error {
	copied := copyOf(of, row)
	there, err := pg.OpenCopy(ctx, control, copied, home)
	if err != nil {
		return err
	}
	at := *of
	if there {
		at.Name = row.ID
	}
	way, err := s.owner(&at, c)
	if err != nil {
		return err
	}
	if err := way.Beside(ctx, func(owner *pgx.Conn) error { return ready(ctx, owner) }); err != nil {
		return err
	}
	s.pool(of.ClusterID).forget(at.Name)
	if !there {
		return nil
	}
	return pg.PutBack(ctx, control, copied)
}

// LeaveSnapshot ends the restoring of a snapshot that nobody goes on with: one
// that did not take the place of its database is kept for another time.
func (s *Service) LeaveSnapshot(ctx context.Context, row *ent.Snapshot) error {
	of, err := s.cat.Ent().Database.Get(ctx, row.DatabaseID)
	if ent.IsNotFound(err) {
		return s.forgetSnapshot(ctx, row)
	}
	if err != nil {
		return fmt.Errorf("read database %s: %w", row.DatabaseID, err)
	}
	var there bool
	err = s.AsControl(ctx, of.ClusterID, func(control *pgx.Conn) (err error) {
		if there, err = pg.CloseCopy(ctx, control, copyOf(of, row)); err != nil {
			return err
		}
		return pg.Reopen(ctx, control, named(of))
	})
	if err != nil {
		return err
	}
	if !there {
		return s.DropSnapshot(ctx, row)
	}
	if err := row.Update().Where(snapshot.State(SnapshotRestoring)).SetState(SnapshotMade).Exec(ctx); err != nil && !ent.IsNotFound(err) {
		return fmt.Errorf("keep snapshot %s: %w", row.ID, err)
	}
	return nil
}

// DropSnapshot drops the copy, and the database whose place it took. From the
// moment on that it is decided nobody can have it restored. One that is not as
// it was read is left alone.
func (s *Service) DropSnapshot(ctx context.Context, row *ent.Snapshot) error {
	n, err := s.cat.Ent().Snapshot.Update().Where(snapshot.ID(row.ID), snapshot.State(row.State)).SetState(SnapshotDropping).Save(ctx)
	if err != nil {
		return fmt.Errorf("store snapshot %s: %w", row.ID, err)
	}
	if n == 0 {
		return nil
	}
	of, err := s.cat.Ent().Database.Get(ctx, row.DatabaseID)
	if ent.IsNotFound(err) {
		return s.forgetSnapshot(ctx, row) // its copies went before it
	}
	if err != nil {
		return fmt.Errorf("read database %s: %w", row.DatabaseID, err)
	}
	return s.dropCopy(ctx, of, row)
}

func (s *Service) dropCopy(ctx context.Context, of *ent.Database, row *ent.Snapshot) error {
	err := s.AsControl(ctx, of.ClusterID, func(control *pgx.Conn) error {
		if err := pg.DropCopy(ctx, control, copyOf(of, row)); err != nil {
			return err
		}
		return pg.Reopen(ctx, control, named(of))
	})
	if err != nil {
		return fmt.Errorf("drop snapshot %s of database %s: %w", row.ID, of.Name, err)
	}
	return s.forgetSnapshot(ctx, row)
}

func (s *Service) forgetSnapshot(ctx context.Context, row *ent.Snapshot) error {
	if err := s.cat.Ent().Snapshot.UpdateOneID(row.ID).SetState(SnapshotGone).Exec(ctx); err != nil {
		return fmt.Errorf("forget snapshot %s: %w", row.ID, err)
	}
	return nil
}

// dropSnapshotsOf drops the copies of a database that is being dropped: what is
// in them belongs to its owner, who could not go before.
func (s *Service) dropSnapshotsOf(ctx context.Context, of *ent.Database) error {
	rows, err := s.cat.Ent().Snapshot.Query().Where(snapshot.DatabaseID(of.ID), snapshot.StateNEQ(SnapshotGone)).All(ctx)
	if err != nil {
		return fmt.Errorf("look for snapshots of database %s: %w", of.Name, err)
	}
	for _, row := range rows {
		if err := row.Update().SetState(SnapshotDropping).Exec(ctx); err != nil {
			return fmt.Errorf("store snapshot %s: %w", row.ID, err)
		}
		if err := s.dropCopy(ctx, of, row); err != nil {
			return err
		}
	}
	return nil
}

// SizeOf asks the clusters how many bytes databases take together.
func (s *Service) SizeOf(ctx context.Context, databaseIDs []string) (bytes int64, err error) {
	rows, err := s.cat.Ent().Database.Query().Where(database.IDIn(databaseIDs...)).All(ctx)
	if err != nil {
		return 0, fmt.Errorf("read %d databases: %w", len(databaseIDs), err)
	}
	on := map[string][]pg.Database{}
	for _, row := range rows {
		on[row.ClusterID] = append(on[row.ClusterID], named(row))
	}
	for clusterID, databases := range on {
		err := s.AsControl(ctx, clusterID, func(control *pgx.Conn) error {
			size, err := pg.SizeOf(ctx, control, databases)
			bytes += size
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	return bytes, nil
}

// Snapshots lists the copies that there are, or are being taken, the oldest
// first; of one rollout, or of all.
func (s *Service) Snapshots(ctx context.Context, rollout string) ([]*ent.Snapshot, error) {
	q := s.cat.Ent().Snapshot.Query().Where(snapshot.StateNEQ(SnapshotGone)).Order(snapshot.ByCreatedAt(), snapshot.ByID())
	if rollout != "" {
		q.Where(snapshot.RolloutID(rollout))
	}
	rows, err := q.All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the snapshots: %w", err)
	}
	return rows, nil
}
