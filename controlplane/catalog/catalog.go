package catalog

import (
	"context"
	"database/sql"
	"net"
	"strconv"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/ent"
)

// Config says how a process uses the catalog.
type Config struct {
	Connections int    // at most; default: 16, never below 4
	Application string // application_name; default: manor
	Copy        bool   // whether to write also to a copy that was not claimed: to migrate and to claim it
}

// Catalog is an open catalog. Safe for concurrent use.
type Catalog struct {
	pool  *pgxpool.Pool
	db    *sql.DB
	ent   *ent.Client
	watch *watch
}

// schemaName is where the catalog's tables are. search_path is set to it on
// every connection, so that a schema named like the login cannot get in between.
const schemaName = "public"

// minConnections are one each for River's LISTEN, its leader, a transaction and a watch.
const minConnections = 4

// pingTimeout is how long a connection that was unused may take to show that it
// works: it may be half-open.
const pingTimeout = time.Second

// transactionSilence ends a transaction of which nothing is heard, as of a
// process that was stopped: it holds rows that others wait for, and events back
// from every reader.
const transactionSilence = "10s"

// connectTimeout bounds one attempt on one host.
const connectTimeout = 5 * time.Second

// Open connects to the catalog. Unavailable when nothing answers, Refused when
// the login is, when the database does not exist or the server is too old.
func Open(ctx context.Context, url controlplane.Secret, c Config) (*Catalog, error) {
	watch := &watch{trusted: c.Copy}
	config, err := poolConfig(url, c, watch)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, explain(err, where(config.ConnConfig))
	}
	if err := checkServer(ctx, pool); err != nil {
		pool.Close()
		return nil, explain(err, where(config.ConnConfig))
	}
	cat := &Catalog{pool: pool, db: stdlib.OpenDBFromPool(pool), watch: watch}
	cat.ent = ent.NewClient(ent.Driver(explained{entsql.OpenDB(dialect.Postgres, cat.db), cat}))
	return cat, nil
}

// explained is the ent driver outside of transactions: what [Catalog.InTx] does
// for its errors, it does for each statement's.
type explained struct {
	*entsql.Driver
	catalog *Catalog
}

func (d explained) Query(ctx context.Context, query string, args, rows any) error {
	return d.catalog.Explain(d.Driver.Query(ctx, query, args, rows))
}

func (d explained) Exec(ctx context.Context, query string, args, result any) error {
	return d.catalog.Explain(d.Driver.Exec(ctx, query, args, result))
}

func poolConfig(url controlplane.Secret, c Config, w *watch) (*pgxpool.Config, error) {
	if url.Empty() {
		return nil, controlplane.Errorf(controlplane.Invalid, "the catalog's URL is missing").
			WithHint("set MANOR_CATALOG=postgres://user@host/database")
	}
	config, err := pgxpool.ParseConfig(url.Reveal())
	if err != nil {
		// pgx's error is left out: it quotes the URL, and its redaction is best effort.
		return nil, controlplane.Errorf(controlplane.Invalid, "the catalog's URL cannot be read").
			WithHint("MANOR_CATALOG looks like postgres://user:password@host:5432/database?sslmode=verify-full")
	}
	config.PingTimeout = pingTimeout
	config.MaxConns = 16
	if c.Connections > 0 {
		config.MaxConns = int32(min(max(c.Connections, minConnections), 10_000))
	}
	conn := config.ConnConfig
	if conn.ConnectTimeout == 0 || conn.ConnectTimeout > connectTimeout {
		conn.ConnectTimeout = connectTimeout
	}
	conn.DialFunc = pg.Dialer().DialContext
	conn.RuntimeParams["application_name"] = "manor"
	if c.Application != "" {
		conn.RuntimeParams["application_name"] = c.Application
	}
	conn.RuntimeParams["search_path"] = schemaName
	conn.RuntimeParams["idle_in_transaction_session_timeout"] = transactionSilence
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		readTimesAsUTC(conn)
		return w.connected(ctx, conn)
	}
	return config, nil
}

func readTimesAsUTC(conn *pgx.Conn) {
	conn.TypeMap().RegisterType(&pgtype.Type{
		Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
	})
}

func checkServer(ctx context.Context, pool *pgxpool.Pool) error {
	var version int
	if err := pool.QueryRow(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&version); err != nil {
		return err
	}
	if version < controlplane.MinServerVersion {
		return controlplane.Errorf(controlplane.Refused, "the catalog's server is PostgreSQL %s; Manor needs %s or newer",
			controlplane.VersionString(version), controlplane.VersionString(controlplane.MinServerVersion))
	}
	return nil
}

func where(c *pgx.ConnConfig) string {
	return "database " + strconv.Quote(c.Database) + " at " + net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))
}

// Close waits for what is running and closes the connections.
func (c *Catalog) Close() {
	_ = c.db.Close() // it has no connections of its own
	c.pool.Close()
}

// Pool is the connection pool, for package work only.
func (c *Catalog) Pool() *pgxpool.Pool { return c.pool }

// Ent is the client for reads outside a transaction. Inside [Catalog.InTx] it
// would silently use another connection.
func (c *Catalog) Ent() *ent.Client { return c.ent }

// Name is the name of the catalog's database.
func (c *Catalog) Name() string { return c.pool.Config().ConnConfig.Database }
