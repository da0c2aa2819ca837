package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/singleflight"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/access"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/event"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/controlplane/secret"
	"github.com/manorhq/manor/controlplane/work"
	"github.com/manorhq/manor/ent"
)

// Service is the fleet room.
type Service struct {
	cat      *catalog.Catalog
	keys     *secret.Keyring
	guard    access.Guard
	ledger   ledger
	dial     pgconn.DialFunc    // nil: as pgx does
	resolved ways               // owners, by database
	making   singleflight.Group // databases being made by this process, by id
	dropping sync.WaitGroup     // scratches that are being dropped, or are still to be
	life     context.Context    // ends when nobody waits for those any more
	end      context.CancelFunc

	mu    sync.Mutex
	pools map[string]*pool // by cluster
}

// New furnishes the room. presence is by what others count the connections of
// this process, and dial opens those (nil: as pgx does). Close ends them.
func New(cat *catalog.Catalog, keys *secret.Keyring, presence *work.Presence, dial pgconn.DialFunc) *Service {
	s := &Service{cat: cat, keys: keys, ledger: ledger{cat, presence}, dial: dial,
		resolved: ways{byID: map[string]resolvedWay{}}, pools: map[string]*pool{}}
	s.life, s.end = context.WithCancel(context.Background())
	presence.OnLoss(s.cutAll)
	return s
}

// Add makes a cluster known after looking at it: that it answers, is recent
// enough, and lets the control login do what Manor needs.
func (s *Service) Add(ctx context.Context, by controlplane.Actor, n controlplane.NewCluster) (*controlplane.Cluster, error) {
	if err := n.Validate(); err != nil {
		return nil, err
	}
	if err := s.guard.See(by, "cluster.add", n.Name); err != nil {
		return nil, err
	}
	if _, err := byName(ctx, s.cat.Ent(), n.Name); err == nil {
		return nil, controlplane.Errorf(controlplane.Conflict, "cluster %s exists already", n.Name).
			WithHint("`manor cluster set %s` changes it", n.Name)
	}
	login := pg.Login{Address: n.Address, User: n.Login, Password: controlplane.NewSecret(n.Password), TLS: n.TLS}
	facts, most, err := look(ctx, login)
	if err != nil {
		return nil, err
	}
	if n.Connections, err = budgetOf(n.Name, n.Connections, most); err != nil {
		return nil, err
	}
	if n.DryRun {
		return described(n, facts, most, nil), nil
	}
	skipped, err := harden(ctx, login)
	if err != nil {
		return nil, err
	}
	var row *ent.Cluster
	err = s.cat.InTx(ctx, func(tx *catalog.Tx) error {
		detail := n
		detail.Password = ""
		if err := s.guard.Permit(ctx, tx, by, "cluster.add", n.Name, detail); err != nil {
			return err
		}
		if row, err = s.insert(ctx, tx, described(n, facts, most, skipped), n.Password); err != nil {
			return err
		}
		return event.Emit(ctx, tx, controlplane.EventClusterAdded, row.ID, map[string]string{"name": n.Name})
	})
	if err != nil {
		return nil, err
	}
	return noun(row, 0), nil
}

// look connects with the control login, checks what the server and the login
// can do, and returns how many connections the server has.
func look(ctx context.Context, login pg.Login) (pg.Facts, int, error) {
	conn, err := pg.Connect(ctx, login, maintenanceDatabase, applicationName)
	if err != nil {
		return pg.Facts{}, 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return lookAt(ctx, conn, login)
}

func lookAt(ctx context.Context, conn *pgx.Conn, login pg.Login) (pg.Facts, int, error) {
	facts, err := pg.Inspect(ctx, conn)
	if err != nil {
		return facts, 0, fmt.Errorf("inspect %s: %w", login.Address, err)
	}
	most, err := maxConnections(ctx, conn)
	if err != nil {
		return facts, 0, err
	}
	return facts, most, facts.Check(login.User)
}

// harden closes what the control login may close, and returns what only a
// superuser or another owner can.
func harden(ctx context.Context, login pg.Login) (skipped []string, err error) {
	conn, err := pg.Connect(ctx, login, maintenanceDatabase, applicationName)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return pg.Harden(ctx, conn)
}

// List returns all clusters by name.
func (s *Service) List(ctx context.Context, by controlplane.Actor) ([]controlplane.Cluster, error) {
	if err := s.guard.See(by, "cluster.list", ""); err != nil {
		return nil, err
	}
	return s.Clusters(ctx)
}

// Clusters is List for the rooms above.
func (s *Service) Clusters(ctx context.Context) ([]controlplane.Cluster, error) {
	rows, err := s.cat.Ent().Cluster.Query().All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the clusters: %w", err)
	}
	homes, err := homesByCluster(ctx, s.cat.Ent())
	if err != nil {
		return nil, err
	}
	slices.SortFunc(rows, func(a, b *ent.Cluster) int { return strings.Compare(a.Name, b.Name) })
	clusters := make([]controlplane.Cluster, len(rows))
	for i, row := range rows {
		clusters[i] = *noun(row, homes[row.ID])
	}
	return clusters, nil
}

// Show returns one cluster.
func (s *Service) Show(ctx context.Context, by controlplane.Actor, name string) (*controlplane.Cluster, error) {
	if err := s.guard.See(by, "cluster.show", name); err != nil {
		return nil, err
	}
	row, err := byName(ctx, s.cat.Ent(), name)
	if err != nil {
		return nil, err
	}
	homes, err := homesByCluster(ctx, s.cat.Ent())
	if err != nil {
		return nil, err
	}
	return noun(row, homes[row.ID]), nil
}

// Set changes a cluster. A change of how it is reached is tried out before it
// is stored, and must lead to the same server.
func (s *Service) Set(ctx context.Context, by controlplane.Actor, name string, c controlplane.ClusterChange) (*controlplane.Cluster, error) {
	if err := s.guard.See(by, "cluster.set", name); err != nil {
		return nil, err
	}
	row, err := byName(ctx, s.cat.Ent(), name)
	if err != nil {
		return nil, err
	}
	after, password, err := s.changed(row, c)
	if err != nil {
		return nil, err
	}
	if err := s.tryOut(ctx, row, c, after, password); err != nil {
		return nil, err
	}
	if c.DryRun {
		return after, nil
	}
	err = s.cat.InTx(ctx, func(tx *catalog.Tx) error {
		detail := c
		detail.Password = nil
		if err := s.guard.Permit(ctx, tx, by, "cluster.set", name, detail); err != nil {
			return err
		}
		if row, err = s.update(ctx, tx, after, password); err != nil {
			return err
		}
		return event.Emit(ctx, tx, controlplane.EventClusterChanged, row.ID, map[string]string{"name": name})
	})
	if err != nil {
		return nil, err
	}
	if len(c.Extensions) > 0 {
		if err := s.furnishAll(ctx, row); err != nil {
			return nil, err
		}
	}
	return noun(row, after.Tenants), nil
}

// tryOut looks at a cluster the way it is going to be reached, and settles how
// many connections Manor opens there.
func (s *Service) tryOut(ctx context.Context, row *ent.Cluster, c controlplane.ClusterChange, after *controlplane.Cluster, password controlplane.Secret) (err error) {
	moved := c.Address != nil || c.Password != nil || c.TLS != nil
	if !moved && c.Connections == nil {
		return nil
	}
	facts, most, err := s.lookAgain(ctx, row, pg.Login{Address: after.Address, User: row.Login, Password: password, TLS: after.TLS})
	switch {
	case err != nil && (moved || row.MaxConnections == 0 || controlplane.CodeOf(err) != controlplane.Unavailable):
		return err
	case err != nil: // it does not answer now: what it had will do
		most = row.MaxConnections
	case facts.SystemID != row.SystemID:
		return controlplane.Errorf(controlplane.Refused, "%s is another server than cluster %s (system identifier %s, not %s)",
			after.Address, row.Name, facts.SystemID, row.SystemID).WithHint("add it as a cluster of its own")
	}
	wanted := after.Connections
	if c.Connections == nil {
		wanted = min(wanted, most)
	}
	after.MaxConnections = most
	after.Connections, err = budgetOf(row.Name, wanted, most)
	return err
}

// lookAgain is look for a cluster that is known: the connection counts among
// those that Manor may have.
func (s *Service) lookAgain(ctx context.Context, row *ent.Cluster, login pg.Login) (facts pg.Facts, most int, err error) {
	way := s.way(row, login, maintenanceDatabase, "cluster "+row.Name)
	way.prove = nil // the caller has words of its own for another server
	err = way.Beside(ctx, func(conn *pgx.Conn) error {
		facts, most, err = lookAt(ctx, conn, login)
		return err
	})
	return facts, most, err
}

// Remove forgets a cluster that holds no tenants. Databases that Manor made on
// it are dropped first, unless one holds a home that the catalog does not know.
func (s *Service) Remove(ctx context.Context, by controlplane.Actor, name string, dryRun bool) error {
	if err := s.guard.See(by, "cluster.remove", name); err != nil {
		return err
	}
	row, err := byName(ctx, s.cat.Ent(), name)
	if err != nil {
		return err
	}
	homes, err := homesByCluster(ctx, s.cat.Ent())
	if err != nil {
		return err
	}
	if n := homes[row.ID]; n > 0 {
		return controlplane.Errorf(controlplane.Refused, "cluster %s holds %d tenants", name, n).
			WithHint("`manor tenant list --select 'tenant.cluster == %q'` lists them; purge or move them first", name)
	}
	databases, err := s.checkDatabases(ctx, row.ID)
	if err != nil || dryRun {
		return err
	}
	if err := s.dropEmptyDatabases(ctx, databases); err != nil {
		return err
	}
	return s.cat.InTx(ctx, func(tx *catalog.Tx) error {
		if err := s.guard.Permit(ctx, tx, by, "cluster.remove", name, nil); err != nil {
			return err
		}
		if err := remove(ctx, tx, row.ID); err != nil {
			return err
		}
		return event.Emit(ctx, tx, controlplane.EventClusterRemoved, row.ID, map[string]string{"name": name})
	})
}
