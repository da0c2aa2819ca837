package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
)

// fewest is the smallest budget: one connection to work with, and the one kept back.
const fewest = 1 + keptBack

// maxConnections is how many connections a server has for others than superusers.
func maxConnections(ctx context.Context, conn *pgx.Conn) (n int, err error) {
	err = conn.QueryRow(ctx, `SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
		- coalesce(current_setting('reserved_connections', true)::int, 0)`).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("read how many connections the server has: %w", err)
	}
	return n, nil
}

// budgetOf is how many of a server's connections Manor opens at most: as many
// as wanted or, where that is not said (0), a quarter.
func budgetOf(name string, wanted, most int) (int, error) {
	switch {
	case wanted == 0:
		return min(max(4, most/4), most), nil
	case wanted < fewest:
		return 0, controlplane.Errorf(controlplane.Invalid, "cluster %s: Manor needs %d connections at least, not %d", name, fewest, wanted)
	case wanted > most:
		return 0, controlplane.Errorf(controlplane.Refused, "cluster %s has %d connections, so Manor cannot open %d", name, most, wanted).
			WithHint("give fewer, or raise max_connections on the server; what Manor does not get is kept for applications")
	}
	return wanted, nil
}

// ErrOtherServer says that behind a cluster's address there is another server
// than the one that was added. Nothing was done there.
var ErrOtherServer = errors.New("there is another server behind the address")

type otherServer struct{ got, want string } // system identifiers

func (e *otherServer) Error() string {
	return fmt.Sprintf("%s (system identifier %s, not %s)", ErrOtherServer, e.got, e.want)
}

func (e *otherServer) Is(target error) bool { return target == ErrOtherServer }

// proveServer is a pgconn.AfterConnectFunc that refuses any server but one. It
// costs a round trip per connection, and says nothing where the server hides
// what it is.
func proveServer(systemID string) pgconn.AfterConnectFunc {
	return func(ctx context.Context, conn *pgconn.PgConn) error {
		results, err := conn.Exec(ctx, "SELECT system_identifier FROM pg_control_system()").ReadAll()
		if refused, ok := errors.AsType[*pgconn.PgError](err); ok && slices.Contains([]string{"42501", "0A000", "42883"}, refused.Code) {
			return nil
		}
		if err != nil {
			return err
		}
		if got := string(results[0].Rows[0][0]); got != systemID {
			return &otherServer{got, systemID}
		}
		return nil
	}
}
