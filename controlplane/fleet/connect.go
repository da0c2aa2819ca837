package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/cluster"
	"github.com/manorhq/manor/ent/database"
	"github.com/manorhq/manor/internal/failpoint"
)

const (
	maintenanceDatabase = "postgres" // every cluster has it, managed ones too
	applicationName     = "manor"

	// restTime is when a server ends a session that does nothing, also in a
	// transaction. No pool keeps one as long, but a process that was stopped does:
	// its sessions are gone before others take over what was allotted to it.
	restTime = "15s"
)

// Way is the way into a database with one login. Its connections are pooled,
// and count among those that Manor may have to the cluster.
type Way struct {
	pool  *pool
	key   wayKey
	login pg.Login
	dial  pgconn.DialFunc         // nil: as pgx does
	prove pgconn.AfterConnectFunc // nil: any server will do
	where string                  // for errors
}

// Do runs f on a connection, which goes back when f returns. When there is none
// for some seconds the error is [ErrNoConnection]. f must not ask for another
// one by Do, since others may do the same: that is what Beside is for. Should the
// connection go half-open, what f waits for fails.
func (w *Way) Do(ctx context.Context, f func(*pgx.Conn) error) error {
	return w.do(ctx, failpoint.Caller(), f)
}

// Beside is Do for who has a connection to the same cluster in hand already,
// or is done with this one at once: it gets one also when all are in use.
func (w *Way) Beside(ctx context.Context, f func(*pgx.Conn) error) error {
	return w.on(ctx, true, f)
}

func (w *Way) do(ctx context.Context, place failpoint.Place, f func(*pgx.Conn) error) error {
	return w.on(ctx, false, func(conn *pgx.Conn) error {
		place.Reach("before")
		err := f(conn)
		place.Reach("after")
		return err
	})
}

func (w *Way) on(ctx context.Context, second bool, f func(*pgx.Conn) error) error {
	s, err := w.pool.borrow(ctx, w, second)
	if err != nil {
		return w.failed(err)
	}
	defer w.pool.giveBack(s, second)
	defer w.watched(ctx, s)()
	return f(s.conn)
}

// failed is the error of who got no connection. That of another server behind
// the address stays what it is for package pg: trouble of the cluster's.
func (w *Way) failed(err error) error {
	err = pg.ConnectError(w.where, err)
	if e, ok := errors.AsType[*controlplane.Error](err); ok && errors.Is(err, ErrOtherServer) {
		e.Code = controlplane.Refused
		return e.WithHint("`manor cluster set %s --host HOST` gives the address that it has now; add another server as a cluster of its own", w.pool.called())
	}
	return err
}

// config is how a connection is opened.
func (w *Way) config() (*pgx.ConnConfig, error) {
	config, err := w.login.Config(w.key.database, applicationName)
	if err != nil {
		return nil, err
	}
	if w.dial != nil {
		config.DialFunc = w.dial
	}
	config.DialFunc = failpoint.Dial("cluster", config.DialFunc)
	config.RuntimeParams["idle_session_timeout"] = restTime
	config.RuntimeParams["idle_in_transaction_session_timeout"] = restTime
	config.AfterConnect = w.prove
	return config, nil
}

// AsControl runs f on a connection of a cluster's control login.
func (s *Service) AsControl(ctx context.Context, clusterID string, f func(*pgx.Conn) error) error {
	place := failpoint.Caller()
	way, err := s.control(ctx, clusterID)
	if err != nil {
		return err
	}
	return way.do(ctx, place, f)
}

// AsOwner runs f on a connection of a database's owner.
func (s *Service) AsOwner(ctx context.Context, databaseID string, f func(*pgx.Conn) error) error {
	place := failpoint.Caller()
	way, err := s.Owner(ctx, databaseID)
	if err != nil {
		return err
	}
	return way.do(ctx, place, f)
}

// control resolves a cluster to the way in as its control login.
func (s *Service) control(ctx context.Context, clusterID string) (*Way, error) {
	row, err := s.cat.Ent().Cluster.Get(ctx, clusterID)
	if err != nil {
		return nil, fmt.Errorf("read cluster %s: %w", clusterID, err)
	}
	password, err := s.keys.Open(row.SealedPassword, row.ID, sealedControl)
	if err != nil {
		return nil, fmt.Errorf("open the password of cluster %s: %w", row.Name, err)
	}
	login := pg.Login{Address: row.Address, User: row.Login, Password: password, TLS: row.TLS}
	return s.way(row, login, maintenanceDatabase, "cluster "+row.Name), nil
}

// way is the way into a database of a cluster.
func (s *Service) way(row *ent.Cluster, login pg.Login, database, where string) *Way {
	pool := s.pool(row.ID)
	pool.know(row.Name, row.Connections)
	w := &Way{pool: pool, login: login, dial: s.dial, where: where,
		key: wayKey{database, login.User, login.Address.String(), login.Password, login.TLS}}
	if row.SystemID != "" {
		w.prove = proveServer(row.SystemID)
	}
	return w
}

// CheckKey refuses a keyring that does not open what the catalog holds, before
// anything is sealed with it that the right one could not open.
func (s *Service) CheckKey(ctx context.Context) error {
	row, err := s.cat.Ent().Cluster.Query().Order(cluster.ByName()).First(ctx)
	if ent.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read a cluster: %w", err)
	}
	if _, err := s.keys.Open(row.SealedPassword, row.ID, sealedControl); err != nil {
		return controlplane.Errorf(controlplane.Refused, "the key file does not open the password of cluster %s: it is not this catalog's", row.Name).
			WithHint("MANOR_KEY_FILE must name the file that the catalog was created with")
	}
	return nil
}

// Owner resolves a database to the way in as its owner. What it resolved holds
// for a moment: those who work in a shared database ask for every tenant.
func (s *Service) Owner(ctx context.Context, databaseID string) (*Way, error) {
	if way := s.resolved.get(databaseID); way != nil {
		return way, nil
	}
	row, err := s.Database(ctx, databaseID)
	if err != nil {
		return nil, err
	}
	c, err := s.cat.Ent().Cluster.Get(ctx, row.ClusterID)
	if err != nil {
		return nil, fmt.Errorf("read the cluster of database %s: %w", row.Name, err)
	}
	way, err := s.owner(row, c)
	if err != nil {
		return nil, err
	}
	s.resolved.put(databaseID, way)
	return way, nil
}

// Owners are the ways into several databases, by id, for no more questions than
// one costs. A database that is not there any more is not among them.
func (s *Service) Owners(ctx context.Context, databaseIDs []string) (map[string]*Way, error) {
	rows, err := s.cat.Ent().Database.Query().Where(database.IDIn(databaseIDs...)).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read %d databases: %w", len(databaseIDs), err)
	}
	all, err := s.cat.Ent().Cluster.Query().All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the clusters: %w", err)
	}
	clusters := make(map[string]*ent.Cluster, len(all))
	for _, c := range all {
		clusters[c.ID] = c
	}
	ways := make(map[string]*Way, len(rows))
	for _, row := range rows {
		c := clusters[row.ClusterID]
		if c == nil {
			continue
		}
		if ways[row.ID], err = s.owner(row, c); err != nil {
			return nil, err
		}
	}
	return ways, nil
}

func (s *Service) owner(row *ent.Database, c *ent.Cluster) (*Way, error) {
	password, err := s.keys.Open(row.SealedPassword, row.Owner, sealedOwner)
	if err != nil {
		return nil, fmt.Errorf("open the password of %s: %w", row.Owner, err)
	}
	login := pg.Login{Address: c.Address, User: row.Owner, Password: password, TLS: c.TLS}
	return s.way(c, login, row.Name, "database "+row.Name+" on cluster "+c.Name), nil
}

// Down asks the named clusters whether they answer, all at once, and returns
// those that do not with the reason.
func (s *Service) Down(ctx context.Context, clusters []controlplane.Cluster) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	down := map[string]error{}
	for _, c := range clusters {
		wg.Go(func() {
			if err := s.ping(ctx, c.ID); err != nil && !errors.Is(err, ErrNoConnection) { // which says nothing about the cluster
				mu.Lock()
				defer mu.Unlock()
				down[c.Name] = err
			}
		})
	}
	wg.Wait()
	return down
}

func (s *Service) ping(ctx context.Context, clusterID string) error {
	way, err := s.control(ctx, clusterID)
	if err != nil {
		return err
	}
	return way.Beside(ctx, func(control *pgx.Conn) error { return control.Ping(ctx) })
}
