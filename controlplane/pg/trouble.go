package pg

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Trouble says whose fault an error is, where it is no tenant's.
type Trouble string

// The kinds of trouble.
const (
	NoTrouble   Trouble = ""            // the tenant's own, or nobody's: the server did as it should
	Connections Trouble = "connections" // the server, or the role or database asked for, has none left
	Cluster     Trouble = "cluster"     // nothing answers, the login is refused, no writes, no disk, no memory
)

// unconnected marks the cause of an error of [ConnectError] where a server was
// tried: what comes before there is a session means more than the same later.
type unconnected struct{ error }

func (u *unconnected) Unwrap() error { return u.error }

// TroubleOf classifies an error of a cluster: of connecting, as [Connect] and
// [ConnectError] return it, or of a statement. A missing or closed database is
// the trouble of whoever lives in it, and a lost connection nobody's as long as
// a new one can be had. Errors of the catalog's own server are none.
func TroubleOf(err error) Trouble {
	_, ours := errors.AsType[*unconnected](err)
	_, others := errors.AsType[*pgconn.ConnectError](err) // through ConnectError goes who connects to a cluster
	refused, answered := errors.AsType[*pgconn.PgError](err)
	switch {
	case others, errors.Is(err, context.Canceled):
		return NoTrouble
	case answered && refused.Code == "53300": // too_many_connections, for the role and for the database too
		return Connections
	case answered && isClusters(refused.Code, ours), ours && !answered:
		return Cluster
	}
	return NoTrouble
}

// SQLSTATEs, or their first characters, that tell of the cluster.
var (
	clusters = []string{
		"25006",          // read_only_sql_transaction: a standby, or an administrator said so
		"28",             // invalid_authorization_specification
		"53100", "53200", // disk_full, out_of_memory: also of the table of locks
		"58030",          // io_error
		"XX001", "XX002", // data_corrupted, index_corrupted
	}
	closed = []string{"08", "57P01", "57P02", "57P03"} // going down, or not up yet: of a session that there is, it is a lost connection
)

func isClusters(state string, connecting bool) bool {
	begins := func(prefix string) bool { return strings.HasPrefix(state, prefix) }
	return slices.ContainsFunc(clusters, begins) || connecting && slices.ContainsFunc(closed, begins)
}
