package migrator_test

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane/migrator"
)

// cut is a connection to which something happens at its nth message.
type cut struct {
	net.Conn
	left   atomic.Int32 // messages until then; below: it is over, or never to be
	happen func(c *cut, message []byte) (int, error)
}

func (c *cut) Write(message []byte) (int, error) {
	if c.left.Add(-1) == 0 {
		return c.happen(c, message)
	}
	return c.Conn.Write(message)
}

// connectCut opens a session of the owner's to which something happens at its
// nth message after the log-in.
func (db *database) connectCut(n int, happen func(*cut, []byte) (int, error)) (*pgx.Conn, *cut) {
	db.t.Helper()
	config, err := db.login.Config(db.name, "test")
	noError(db.t, err)
	dial, c := config.DialFunc, &cut{happen: happen}
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if c.Conn != nil {
			return conn, err // by which pgx asks to cancel what a lost session does
		}
		c.Conn = conn
		return c, err
	}
	conn, err := pgx.ConnectConfig(db.t.Context(), config)
	noError(db.t, err)
	db.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	c.left.Store(int32(n))
	return conn, c
}

// TestRequirement11KilledBetweenAnyTwoStatementsResumesRight is promise 2 for
// files without a transaction: whatever message is the last one, every
// statement has had its effect once in the end, and nothing is left behind.
func TestRequirement11KilledBetweenAnyTwoStatementsResumesRight(t *testing.T) {
	t.Parallel()
	type happening func(db *database, pid func() uint32) func(*cut, []byte) (int, error)
	terminate := func(db *database, pid uint32) {
		_, err := db.conn.Exec(db.t.Context(), "SELECT pg_terminate_backend($1, 30000)", pid)
		noError(db.t, err)
	}
	for name, happens := range map[string]happening{
		"the connection is lost before": func(*database, func() uint32) func(*cut, []byte) (int, error) {
			return func(c *cut, _ []byte) (int, error) { return 0, c.Close() }
		},
		"the connection is lost after": func(*database, func() uint32) func(*cut, []byte) (int, error) {
			return func(c *cut, message []byte) (int, error) {
				defer c.Close()
				return c.Conn.Write(message)
			}
		},
		"the backend is killed before": func(db *database, pid func() uint32) func(*cut, []byte) (int, error) {
			return func(c *cut, message []byte) (int, error) {
				terminate(db, pid())
				return c.Conn.Write(message)
			}
		},
		"the backend is killed meanwhile": func(db *database, pid func() uint32) func(*cut, []byte) (int, error) {
			return func(c *cut, message []byte) (int, error) {
				defer terminate(db, pid())
				return c.Conn.Write(message)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, r := newDatabase(t), stepsRelease(t)
			points := 0
			for ; ; points++ {
				var conn *pgx.Conn
				conn, c := db.connectCut(points+1, happens(db, func() uint32 { return conn.PgConn().PID() }))
				home := db.apply(r, db.home(fmt.Sprint("acme", points)), "1")
				res := r.Apply(t.Context(), conn, home, "3", migrator.Limits{})
				if c.left.Swap(0) > 0 {
					equal(t, "outcome without an interruption", res.Outcome, migrator.Applied)
					break
				}
				db.resumed(r, home, fmt.Sprintf("at message %d", points+1), res)
			}
			if points < 3*len(steps) {
				t.Errorf("only %d messages were interrupted", points)
			}
			t.Logf("%d points", points)
		})
	}
}

// resumed goes on after an interruption and checks what came of it all.
func (db *database) resumed(r *migrator.Release, home migrator.Target, where string, res migrator.Result) {
	t := db.t
	t.Helper()
	switch at := db.version(home); {
	case res.Outcome == migrator.Applied && at == "3": // the answer was there before the kill
	case res.Outcome != migrator.Deferred && res.Outcome != migrator.Unknown, res.Version > at:
		t.Errorf("%s: %s at %s, is at %s: %v", where, res.Outcome, res.Version, at, res.Err)
	}
	home.Epoch++
	waitFor(t, func() bool { // a backend may not know yet that nobody listens, and come to its end meanwhile
		home.From = db.version(home)
		res = r.Apply(t.Context(), db.conn, home, "3", migrator.Limits{})
		return res.Outcome != migrator.Deferred && res.Outcome != migrator.Unknown
	})
	if res.Outcome != migrator.Applied && res.Outcome != migrator.Current {
		t.Errorf("%s, resumed: %s at %s: %v: %v", where, res.Outcome, res.Version, res.Failure, res.Err)
	}
	equal(t, where+": revisions", db.revisions(home), finished)
	equal(t, where+": rows, indexes, holders", db.read(home, `SELECT concat_ws(' ', (SELECT string_agg(id::text, ' ' ORDER BY id) FROM a),
		(SELECT string_agg(indexrelid::regclass || ' ' || indisvalid, ' ') FROM pg_index WHERE indrelid = 'a'::regclass),
		(SELECT count(*) FROM manor.marker WHERE holder_pid IS NOT NULL), (SELECT count(*) FROM manor.build WHERE holder_pid IS NOT NULL))`), "1 2 3 4 a_i true 0 0")
	equal(t, where+": stamp", stamps(t, db)[home.TenantID].Version, "3")
}
