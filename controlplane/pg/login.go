package pg

import (
	"cmp"
	"context"
	"net"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
)

const (
	// dialTimeout bounds the way to one address.
	dialTimeout = 5 * time.Second
	// connectTimeout bounds one attempt at one address, log-in included. A server
	// that is busy with a burst of log-ins takes seconds for one and is not down.
	connectTimeout = 15 * time.Second
)

// That a server has gone without a word is found out within 15 s: by keepAlive
// on a connection that waits, by unacknowledged where something was sent.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 3 * time.Second, Count: 3}

const unacknowledged = 12 * time.Second // less than keepAlive takes: it ends that, too, and only at one of its probes

// What the server does with a session of ours whose process has vanished or
// been stopped. RESET ALL goes back to these.
const (
	checkClient     = "2s"   // while a statement runs or waits: is the client still there
	idleTransaction = "1min" // and its locks; none of ours waits for anything else
	idleSession     = "2min" // longer than any pool keeps one
)

// Dialer opens connections to PostgreSQL that end soon when nothing is heard of
// the server's machine any more.
func Dialer() *net.Dialer {
	return &net.Dialer{Timeout: dialTimeout, KeepAliveConfig: keepAlive, Control: boundSilence}
}

// Login is a role of a cluster and the way there.
type Login struct {
	Address  controlplane.Address
	User     string
	Password controlplane.Secret
	TLS      controlplane.TLS
}

// blank is a configuration that holds pgx's defaults and nothing of this
// machine: pgx accepts no other than those it parsed itself, and would take
// hosts, passwords and options from PG* variables and ~/.pgpass.
var blank = parseBlank()

func parseBlank() *pgx.ConnConfig {
	for _, entry := range os.Environ() {
		if name, value, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "PG") {
			os.Unsetenv(name)
			defer os.Setenv(name, value)
		}
	}
	c, err := pgx.ParseConfig("host=none user=none password=none dbname=none sslmode=disable sslrootcert='' sslcert='' sslkey=''")
	if err != nil {
		panic(err) // the string above is a constant
	}
	return c
}

// Config is how pgx connects to a database with this login. It comes from the
// login's fields only, never from the environment. Several hosts are tried in
// order, and the first that takes writes is used.
func (l Login) Config(database, application string) (*pgx.ConnConfig, error) {
	hosts, ports, err := l.Address.Split()
	if err != nil {
		return nil, err
	}
	if l.User == "" || database == "" {
		return nil, controlplane.Errorf(controlplane.Invalid, "connect to %s: the user or the database is missing", l.Address)
	}
	c := blank.Copy()
	c.User, c.Password, c.Database = l.User, l.Password.Reveal(), database
	c.RuntimeParams = map[string]string{
		"application_name":                    application,
		"client_encoding":                     "UTF8",
		"search_path":                         "pg_catalog", // nothing that somebody put into a schema may stand in for what we call
		"standard_conforming_strings":         "on",
		"client_connection_check_interval":    checkClient,
		"idle_in_transaction_session_timeout": idleTransaction,
		"idle_session_timeout":                idleSession,
	}
	c.ConnectTimeout = connectTimeout
	c.DialFunc = Dialer().DialContext
	c.Fallbacks = nil
	for i, host := range hosts {
		tlsConfig, err := newTLS(l.TLS, host)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			c.Host, c.Port, c.TLSConfig = host, ports[0], tlsConfig
			continue
		}
		c.Fallbacks = append(c.Fallbacks, &pgconn.FallbackConfig{Host: host, Port: ports[i], TLSConfig: tlsConfig})
	}
	if len(hosts) > 1 {
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite // of a primary and its standbys, the primary
	}
	if cmp.Or(l.TLS.Mode, verifyFull) == disable {
		c.RequireAuth = "!password" // a server could ask for the password in the clear
	}
	return c, nil
}

// Connect opens a connection. Its errors are *controlplane.Error: Unavailable
// when nothing answers, Refused when the server turns the login away.
func Connect(ctx context.Context, l Login, database, application string) (*pgx.Conn, error) {
	config, err := l.Config(database, application)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, ConnectError("", err)
	}
	return conn, nil
}
