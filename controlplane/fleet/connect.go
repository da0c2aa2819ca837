package fleet

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/cluster"
)

const (
	maintenanceDatabase = "postgres" // every cluster has it, managed ones too
	applicationName     = "manor"

	maxControlConns = 4  // per cluster and process
	maxSharedConns  = 16 // per shared database and process
	maxOwnConns     = 2  // per tenant's own database and process

	// idleTime is how long an unused connection stays. Short: a backend of a
	// tenant's database is of use to nobody else.
	idleTime = 5 * time.Second

	// usesPerBackend replaces a backend before its relation cache has grown by
	// 370 KiB for each of more tenants than this.
	usesPerBackend = 200
)

// Way is the way into a database with one login.
type Way struct {
	pool  *pgxpool.Pool
	where string // for errors
}

// Do runs f on a connection, which goes back when f returns.
func (w *Way) Do(ctx context.Context, f func(*pgx.Conn) error) error {
	loan, err := w.pool.Acquire(ctx)
	if err != nil {
		return pg.ConnectError(w.where, err)
	}
	defer loan.Release()
	return f(loan.Conn())
}

// AsControl runs f on a connection of a cluster's control login.
func (s *Service) AsControl(ctx context.Context, clusterID string, f func(*pgx.Conn) error) error {
	way, err := s.control(ctx, clusterID)
	if err != nil {
		return err
	}
	return way.Do(ctx, f)
}

// AsOwner runs f on a connection of a database's owner.
func (s *Service) AsOwner(ctx context.Context, databaseID string, f func(*pgx.Conn) error) error {
	way, err := s.Owner(ctx, databaseID)
	if err != nil {
		return err
	}
	return way.Do(ctx, f)
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
	pool, err := s.pools.get(row.ID, login, maintenanceDatabase, maxControlConns)
	if err != nil {
		return nil, err
	}
	return &Way{pool: pool, where: "cluster " + row.Name}, nil
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

// Owner resolves a database to the way in as its owner; connections are
// pooled per database.
func (s *Service) Owner(ctx context.Context, databaseID string) (*Way, error) {
	row, err := s.Database(ctx, databaseID)
	if err != nil {
		return nil, err
	}
	c, err := s.cat.Ent().Cluster.Get(ctx, row.ClusterID)
	if err != nil {
		return nil, fmt.Errorf("read the cluster of database %s: %w", row.Name, err)
	}
	password, err := s.keys.Open(row.SealedPassword, row.Owner, sealedOwner)
	if err != nil {
		return nil, fmt.Errorf("open the password of %s: %w", row.Owner, err)
	}
	size := int32(maxOwnConns)
	if row.Isolation == string(controlplane.IsolationSchema) {
		size = maxSharedConns
	}
	login := pg.Login{Address: c.Address, User: row.Owner, Password: password, TLS: c.TLS}
	pool, err := s.pools.get(row.ID, login, row.Name, size)
	if err != nil {
		return nil, err
	}
	return &Way{pool: pool, where: "database " + row.Name + " on cluster " + c.Name}, nil
}

// pools holds one pool per cluster (control) and database (owner), by id.
type pools struct {
	dial pgconn.DialFunc // nil: as pgx does
	mu   sync.Mutex
	byID map[string]pooled
}

type pooled struct {
	login    pg.Login
	database string
	pool     *pgxpool.Pool
}

func newPools(dial pgconn.DialFunc) *pools { return &pools{dial: dial, byID: map[string]pooled{}} }

// get returns the pool for an id, a new one when the way there has changed.
func (p *pools) get(id string, login pg.Login, database string, size int32) (*pgxpool.Pool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if had, ok := p.byID[id]; ok {
		if had.database == database && reflect.DeepEqual(had.login, login) {
			return had.pool, nil
		}
		go had.pool.Close() // waits for its loans to come back
	}
	pool, err := p.open(login, database, size)
	if err != nil {
		return nil, err
	}
	p.byID[id] = pooled{login, database, pool}
	return pool, nil
}

// drop closes a pool whose database goes away.
func (p *pools) drop(id string) {
	p.mu.Lock()
	had, ok := p.byID[id]
	delete(p.byID, id)
	p.mu.Unlock()
	if ok {
		had.pool.Close()
	}
}

func (p *pools) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, s := range p.byID {
		s.pool.Close()
		delete(p.byID, id)
	}
}

func (p *pools) open(login pg.Login, database string, size int32) (*pgxpool.Pool, error) {
	conn, err := login.Config(database, applicationName)
	if err != nil {
		return nil, err
	}
	if p.dial != nil {
		conn.DialFunc = p.dial
	}
	config, err := pgxpool.ParseConfig("host=localhost sslmode=disable")
	if err != nil {
		return nil, err
	}
	config.ConnConfig = conn
	config.MaxConns, config.MinConns = size, 0
	config.MaxConnIdleTime, config.HealthCheckPeriod = idleTime, idleTime
	config.AfterRelease = countUses
	// The pool lives longer than any one call, so it takes no caller's context.
	return pgxpool.NewWithConfig(context.Background(), config)
}

const usesKey = "manor.uses"

// countUses keeps a connection until its backend has served enough loans.
func countUses(conn *pgx.Conn) bool {
	uses, _ := conn.PgConn().CustomData()[usesKey].(int)
	conn.PgConn().CustomData()[usesKey] = uses + 1
	return uses+1 < usesPerBackend
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
			if err := s.ping(ctx, c.ID); err != nil {
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
	return s.AsControl(ctx, clusterID, func(control *pgx.Conn) error { return control.Ping(ctx) })
}
