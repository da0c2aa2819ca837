package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/cluster"
	"github.com/manorhq/manor/ent/database"
	"github.com/manorhq/manor/ent/placement"
	"github.com/manorhq/manor/internal/failpoint"
)

// States of a database that Manor makes.
const (
	databaseCreating = "creating"
	databaseReady    = "ready"
)

// LockForPlacement returns the clusters with their homes counted, their rows
// locked until the transaction ends: whoever places tenants counts alone, so
// that no capacity is exceeded.
func LockForPlacement(ctx context.Context, tx *catalog.Tx) ([]controlplane.Cluster, error) {
	rows, err := tx.Cluster.Query().Order(cluster.ByName()).ForUpdate().All(ctx)
	if err != nil {
		return nil, fmt.Errorf("lock the clusters: %w", err)
	}
	homes, err := homesByCluster(ctx, tx.Client())
	if err != nil {
		return nil, err
	}
	clusters := make([]controlplane.Cluster, len(rows))
	for i, row := range rows {
		clusters[i] = *noun(row, homes[row.ID])
	}
	return clusters, nil
}

// Reserve finds or plans the database for one home on a cluster locked by
// [LockForPlacement], and counts the home in. The database itself is made by
// [Service.EnsureDatabase], outside the transaction.
func (s *Service) Reserve(ctx context.Context, tx *catalog.Tx, c *controlplane.Cluster, isolation controlplane.Isolation, name string) (*ent.Database, error) {
	if isolation == controlplane.IsolationDatabase {
		return s.plan(ctx, tx, c.ID, name, string(isolation), 1)
	}
	row, err := tx.Database.Query().
		Where(database.ClusterID(c.ID), database.Isolation(string(isolation)), database.HomesLT(c.Density)).
		Order(database.ByName()).First(ctx)
	if ent.IsNotFound(err) {
		return s.planShared(ctx, tx, c.ID)
	}
	if err != nil {
		return nil, fmt.Errorf("find a shared database on cluster %s: %w", c.Name, err)
	}
	reserved, err := row.Update().AddHomes(1).Save(ctx)
	if err != nil {
		return nil, fmt.Errorf("reserve a home in %s: %w", row.Name, err)
	}
	return reserved, nil
}

func (s *Service) planShared(ctx context.Context, tx *catalog.Tx, clusterID string) (*ent.Database, error) {
	var taken []string
	err := tx.Database.Query().Where(database.ClusterID(clusterID)).Select(database.FieldName).Scan(ctx, &taken)
	if err != nil {
		return nil, fmt.Errorf("read the databases of cluster %s: %w", clusterID, err)
	}
	number := 1
	for slices.Contains(taken, sharedName(number)) {
		number++
	}
	return s.plan(ctx, tx, clusterID, sharedName(number), string(controlplane.IsolationSchema), 1)
}

func sharedName(number int) string { return fmt.Sprintf("manor_shared_%03d", number) }

// plan writes the intent to have a database, before anything happens on the
// cluster: whatever a crash leaves there has a row that explains it.
func (s *Service) plan(ctx context.Context, tx *catalog.Tx, clusterID, name, isolation string, homes int) (*ent.Database, error) {
	owner := pg.NewName("o_")
	sealed, err := s.keys.Seal(pg.NewPassword(), owner, sealedOwner)
	if err != nil {
		return nil, fmt.Errorf("seal the password of %s: %w", owner, err)
	}
	row, err := tx.Database.Create().SetID(pg.NewName("d_")).SetClusterID(clusterID).SetName(name).SetIsolation(isolation).
		SetOwner(owner).SetConnectRole(owner + "_connect").SetSealedPassword(sealed).SetState(databaseCreating).SetHomes(homes).Save(ctx)
	if err != nil {
		return nil, fmt.Errorf("plan database %s: %w", name, err)
	}
	return row, nil
}

// Unreserve counts one home out. A home's own database is forgotten with it:
// until then its row explains what a crash may have left on the cluster.
func Unreserve(ctx context.Context, tx *catalog.Tx, databaseID string) error {
	_, err := tx.Database.Delete().Where(database.ID(databaseID), database.Isolation(string(controlplane.IsolationDatabase))).Exec(ctx)
	if err == nil {
		err = tx.Database.Update().Where(database.ID(databaseID), database.HomesGT(0)).AddHomes(-1).Exec(ctx)
	}
	if err != nil {
		return fmt.Errorf("count a home out of database %s: %w", databaseID, err)
	}
	return nil
}

// Database returns a database row by its id.
func (s *Service) Database(ctx context.Context, id string) (*ent.Database, error) {
	row, err := s.cat.Ent().Database.Get(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read database %s: %w", id, err)
	}
	return row, nil
}

// EnsureDatabase makes the planned database on its cluster, however far an
// earlier attempt came, and returns its row. One attempt runs at a time in a
// process; between processes every statement is idempotent.
func (s *Service) EnsureDatabase(ctx context.Context, id string) (*ent.Database, error) {
	made, err, _ := s.making.Do(id, func() (any, error) {
		row, err := s.Database(ctx, id)
		if err != nil || row.State == databaseReady {
			return row, err
		}
		return s.make(ctx, row)
	})
	if err != nil {
		return nil, err
	}
	return made.(*ent.Database), nil
}

func (s *Service) make(ctx context.Context, row *ent.Database) (*ent.Database, error) {
	c, err := s.cat.Ent().Cluster.Get(ctx, row.ClusterID)
	if err != nil {
		return nil, fmt.Errorf("read the cluster of database %s: %w", row.Name, err)
	}
	if row, err = s.create(ctx, c, row); err != nil {
		return nil, err
	}
	if err := s.furnish(ctx, c, row); err != nil {
		return nil, err
	}
	failpoint.Reach("fleet.furnished")
	row, err = row.Update().SetState(databaseReady).Save(ctx)
	failpoint.Reach("fleet.ready")
	return row, err
}

// furnishAll installs what a cluster allows now in the databases that are
// there already.
func (s *Service) furnishAll(ctx context.Context, c *ent.Cluster) error {
	rows, err := s.cat.Ent().Database.Query().Where(database.ClusterID(c.ID), database.State(databaseReady)).All(ctx)
	if err != nil {
		return fmt.Errorf("read the databases of cluster %s: %w", c.Name, err)
	}
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(4)
	for _, row := range rows {
		work.Go(func() error { return s.furnish(ctx, c, row) })
	}
	return work.Wait()
}

func (s *Service) furnish(ctx context.Context, c *ent.Cluster, row *ent.Database) error {
	d, err := s.physical(row, c)
	if err != nil {
		return err
	}
	err = s.AsOwner(ctx, row.ID, func(owner *pgx.Conn) error { return pg.FurnishDatabase(ctx, owner, d) })
	if err != nil {
		return fmt.Errorf("furnish database %s on cluster %s: %w", row.Name, c.Name, err)
	}
	return nil
}

// create creates the database, under the next free number when a shared one's
// name turns out to be somebody else's.
func (s *Service) create(ctx context.Context, c *ent.Cluster, row *ent.Database) (*ent.Database, error) {
	for number := 1; ; number++ {
		d, err := s.physical(row, c)
		if err != nil {
			return nil, err
		}
		err = s.AsControl(ctx, c.ID, func(control *pgx.Conn) error { return pg.CreateDatabase(ctx, control, d) })
		if err == nil {
			return row, nil
		}
		if !errors.Is(err, pg.ErrForeign) || row.Isolation != string(controlplane.IsolationSchema) || number > 999 {
			return nil, fmt.Errorf("create database %s on cluster %s: %w", row.Name, c.Name, err)
		}
		if row, err = s.rename(ctx, row, sharedName(number)); err != nil {
			return nil, err
		}
	}
}

// rename gives a database that is not made yet another name.
func (s *Service) rename(ctx context.Context, row *ent.Database, name string) (*ent.Database, error) {
	taken, err := s.cat.Ent().Database.Query().Where(database.ClusterID(row.ClusterID), database.Name(name)).Exist(ctx)
	if err != nil || taken {
		return row, err // the caller tries this name's owner, fails as before, and goes on
	}
	return row.Update().SetName(name).Save(ctx)
}

// physical is the database as package pg wants it.
func (s *Service) physical(row *ent.Database, c *ent.Cluster) (pg.Database, error) {
	password, err := s.keys.Open(row.SealedPassword, row.Owner, sealedOwner)
	if err != nil {
		return pg.Database{}, fmt.Errorf("open the password of %s: %w", row.Owner, err)
	}
	verifier, err := pg.Verifier(password)
	if err != nil {
		return pg.Database{}, err
	}
	return pg.Database{Name: row.Name, Owner: row.Owner, Connect: row.ConnectRole, OwnerVerifier: verifier,
		Extensions: c.Extensions, Shared: row.Isolation == string(controlplane.IsolationSchema)}, nil
}

// LookInto runs f as the owner of a database, if there is one to look into: that
// is not made yet, or is being dropped, has nothing that is anybody's.
func (s *Service) LookInto(ctx context.Context, row *ent.Database, f func(owner *pgx.Conn) error) error {
	var made bool
	err := s.AsControl(ctx, row.ClusterID, func(control *pgx.Conn) (err error) {
		made, err = pg.IsMade(ctx, control, named(row))
		return err
	})
	if err != nil || !made {
		return err
	}
	return s.AsOwner(ctx, row.ID, f)
}

// named is the database as package pg wants it that makes nothing.
func named(row *ent.Database) pg.Database {
	return pg.Database{Name: row.Name, Owner: row.Owner, Connect: row.ConnectRole}
}

// DropDatabaseIf drops a database, however far an earlier attempt came. Its row
// stays. may looks at what is in the database as its owner, such as [pg.ProveEmpty]; what it locks stays locked until nobody gets in
// any more. It is not asked of what is not made yet, or was closed by an earlier
// attempt; nil asks nothing.
func (s *Service) DropDatabaseIf(ctx context.Context, row *ent.Database, may func(context.Context, pgx.Tx) error) error {
	var err error
	drop := pg.DropDatabase
	if may != nil {
		drop = pg.DropUnlessMade
		err = s.closeDatabase(ctx, row, may)
	}
	if err == nil {
		err = s.dropSnapshotsOf(ctx, row)
	}
	if err == nil {
		s.resolved.drop(func(id string, _ time.Time) bool { return id != row.ID })
		s.pool(row.ClusterID).forget(row.Name)
		err = s.AsControl(ctx, row.ClusterID, func(control *pgx.Conn) error { return drop(ctx, control, named(row)) })
	}
	if err != nil {
		return fmt.Errorf("drop database %s on cluster %s: %w", row.Name, s.pool(row.ClusterID).called(), err)
	}
	return nil
}

// closeDatabase begins to drop a database that is made, if it may. Who was stopped on the way
// and has lost the locks is either told so or loses, before that, the control
// login's transaction.
func (s *Service) closeDatabase(ctx context.Context, row *ent.Database, may func(context.Context, pgx.Tx) error) error {
	control, err := s.control(ctx, row.ClusterID)
	if err != nil {
		return err
	}
	return s.LookInto(ctx, row, func(owner *pgx.Conn) error {
		return pgx.BeginFunc(ctx, owner, func(tx pgx.Tx) error {
			if err := may(ctx, tx); err != nil {
				return err
			}
			still := func() error { _, err := tx.Exec(ctx, "SELECT"); return err }
			return control.Beside(ctx, func(control *pgx.Conn) error { return pg.CloseDatabase(ctx, control, named(row), still) })
		})
	})
}

// forget drops a database that no home counts on, and its row. That of a
// rehearsal holds nobody's data.
func (s *Service) forget(ctx context.Context, row *ent.Database) error {
	may := pg.ProveEmpty
	if row.Isolation == scratch {
		may = nil
	}
	if err := s.DropDatabaseIf(ctx, row, may); err != nil {
		return err
	}
	if err := s.cat.Ent().Database.DeleteOne(row).Exec(ctx); err != nil && !ent.IsNotFound(err) {
		return fmt.Errorf("forget database %s: %w", row.Name, err)
	}
	return nil
}

// checkDatabases refuses to forget a cluster while a database that Manor made on
// it holds a home: such as this catalog does not know, which may be older than
// the cluster. It returns the databases.
func (s *Service) checkDatabases(ctx context.Context, clusterID string) ([]*ent.Database, error) {
	rows, err := s.cat.Ent().Database.Query().Where(database.ClusterID(clusterID)).Order(database.ByName()).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the databases of cluster %s: %w", clusterID, err)
	}
	for _, row := range rows {
		if row.Isolation == scratch {
			continue
		}
		if err := s.LookInto(ctx, row, func(owner *pgx.Conn) error { return pg.CheckEmpty(ctx, owner) }); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// dropEmptyDatabases drops what Manor made on a cluster that has no tenants.
func (s *Service) dropEmptyDatabases(ctx context.Context, rows []*ent.Database) error {
	for _, row := range rows {
		inUse, err := s.cat.Ent().Placement.Query().Where(placement.DatabaseID(row.ID)).Exist(ctx)
		if err != nil || inUse {
			return controlplane.Errorf(controlplane.Conflict, "the cluster got a tenant meanwhile")
		}
		if err := s.forget(ctx, row); err != nil {
			return err
		}
	}
	return nil
}
