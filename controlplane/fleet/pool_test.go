package fleet

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/ent"
)

func TestUnusedConnectionsToOtherDatabasesMakeRoom(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	p := s.process("one")
	ways := []*Way{p.way}
	for _, name := range []string{"template1", "template1", "postgres"} {
		w := p.Service.way(s.cluster, p.way.login, name, name)
		w.key.user += strings.Repeat("'", len(ways)) // as if they were logins of their own
		ways = append(ways, w)
	}
	for range 3 {
		for _, w := range ways {
			if err := w.Do(t.Context(), func(conn *pgx.Conn) error { return conn.Ping(t.Context()) }); err != nil {
				t.Fatal(err)
			}
			if now := p.tallied(s); now.open > 2 {
				t.Fatalf("%d connections are open", now.open)
			}
		}
	}
}

func TestOwnersAreTheWaysIntoTheirDatabases(t *testing.T) {
	t.Parallel()
	s := newSite(t, 4)
	p := s.process("one")
	var rows []*ent.Database
	var ids []string
	for range 2 {
		err := s.cat.InTx(t.Context(), func(tx *catalog.Tx) error {
			row, err := p.plan(t.Context(), tx, s.cluster.ID, pg.NewName("t_"), string(controlplane.IsolationDatabase), 1)
			rows, ids = append(rows, row), append(ids, row.ID)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.EnsureDatabase(t.Context(), ids[len(ids)-1]); err != nil {
			t.Fatal(err)
		}
	}
	ways, err := p.Owners(t.Context(), append(ids, "d_gone"))
	if err != nil || len(ways) != len(rows) {
		t.Fatalf("%v, %v", ways, err)
	}
	for _, row := range rows {
		err := ways[row.ID].Do(t.Context(), func(conn *pgx.Conn) error {
			var database, owner string
			err := conn.QueryRow(t.Context(), "SELECT current_database(), current_user").Scan(&database, &owner)
			if database != row.Name || owner != row.Owner {
				t.Errorf("the way to %s leads %s to %s", row.Name, owner, database)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		if err := p.DropDatabaseIf(t.Context(), row, pg.ProveEmpty); err != nil { // also while a connection to it is open
			t.Error(err)
		}
	}
}

// slow is a connection to a server that takes its time to end a session.
type slow struct {
	net.Conn
	over <-chan struct{}
}

func (c *slow) Read(b []byte) (n int, err error) {
	if n, err = c.Conn.Read(b); err != nil {
		<-c.over
	}
	return n, err
}

func TestPlaceIsFreeOnlyWhenTheServerHasLetGo(t *testing.T) {
	t.Parallel()
	s := newSite(t, fewest)
	p := s.process("one")
	over := make(chan struct{})
	first, second := *p.way, *p.way
	second.key.user += "'" // as if it were another login
	first.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return &slow{conn, over}, err
	}
	ping := func(conn *pgx.Conn) error { return conn.Ping(t.Context()) }
	if err := first.Do(t.Context(), ping); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- second.Do(t.Context(), ping) }()
	p.eventually("the first connection has to make room", func() bool {
		pool := p.pool(s.cluster.ID)
		pool.mu.Lock()
		defer pool.mu.Unlock()
		return pool.openers == 1 && pool.closing == 1
	})
	if now := p.tallied(s); now.open != 1 || len(done) > 0 {
		t.Errorf("the server has not let go of it, and already %+v", now)
	}
	close(over)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestConnectionsAreUsedAgainAndReplacedAfterAHundredTenants(t *testing.T) {
	t.Parallel()
	p := newSite(t, 4).process("one")
	backends := map[uint32]int{}
	for range 2*usesPerBackend + 1 {
		err := p.way.Do(t.Context(), func(conn *pgx.Conn) error {
			backends[conn.PgConn().PID()]++
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(backends) != 3 {
		t.Errorf("the backends and their uses: %v", backends)
	}
	for _, uses := range backends {
		if uses > 100 {
			t.Errorf("a backend was used %d times", uses)
		}
	}
}

func TestConnectionsThatNobodyUsesAreClosedAndGivenBack(t *testing.T) {
	t.Parallel()
	s := newSite(t, 24)
	p := s.process("one")
	p.hold(5)()
	p.eventually("nothing is open or on record", func() bool {
		var none bool
		if err := s.cat.Pool().QueryRow(t.Context(), "SELECT NOT EXISTS (SELECT FROM allotments)").Scan(&none); err != nil {
			t.Error(err)
		}
		now := p.tallied(s)
		return none && now.open == 0 && now.allotted == 0
	})
}

func TestConnectionsOutOfOrderAreNotUsedAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	p := s.process("one")
	for what, spoil := range map[string]func(*pgx.Conn){
		"a transaction is open": func(conn *pgx.Conn) { _, _ = conn.Exec(t.Context(), "BEGIN") },
		"it was terminated":     func(conn *pgx.Conn) { _, _ = conn.Exec(t.Context(), "SELECT pg_terminate_backend(pg_backend_pid())") },
		"an answer is not read": func(conn *pgx.Conn) { _, _ = conn.Query(t.Context(), "SELECT generate_series(1, 1e6)") },
		"it was cut short": func(conn *pgx.Conn) {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, _ = conn.Exec(ctx, "SELECT pg_sleep(60)")
		},
	} {
		var spoiled uint32
		_ = p.way.Do(t.Context(), func(conn *pgx.Conn) error {
			spoiled = conn.PgConn().PID()
			spoil(conn)
			return nil
		})
		err := p.way.Do(t.Context(), func(conn *pgx.Conn) error {
			if conn.PgConn().PID() == spoiled {
				t.Errorf("%s: used again", what)
			}
			return conn.Ping(t.Context())
		})
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestPanicGivesTheConnectionBack(t *testing.T) {
	t.Parallel()
	p := newSite(t, 2).process("one")
	func() {
		defer func() { _ = recover() }()
		_ = p.way.Do(t.Context(), func(*pgx.Conn) error { panic("on purpose") })
	}()
	if err := p.try(); err != nil {
		t.Error(err)
	}
}

func TestAnotherServerBehindTheAddressIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, 4)
	s.exec("UPDATE clusters SET system_id = '4711'") // the server that was added
	err := s.process("one").try()
	if !errors.Is(err, ErrOtherServer) || controlplane.CodeOf(err) != controlplane.Refused || pg.TroubleOf(err) != pg.Cluster ||
		!strings.HasPrefix(err.Error(), "cannot reach cluster one: there is another server behind the address (system identifier ") {
		t.Errorf("%v (%q, trouble %q)", err, controlplane.CodeOf(err), pg.TroubleOf(err))
	}
}

// TestConnectionToTheNextHostIsCounted has a first host that answers, and takes
// no session: a standby that starts up.
func TestConnectionToTheNextHostIsCounted(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	p := s.process("one")
	address, err := controlplane.ParseAddress(startingUp(t) + "," + p.way.login.Address.String())
	if err != nil {
		t.Fatal(err)
	}
	login := p.way.login
	login.Address = address
	most := 0
	for range 2 {
		for i := range 8 {
			w := p.Service.way(s.cluster, login, "postgres", "x")
			w.key.user += strings.Repeat("'", i) // as if they were logins of their own
			err := w.Do(t.Context(), func(conn *pgx.Conn) error {
				var n int
				err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE usename = current_user").Scan(&n)
				most = max(most, n)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if most > 3 {
		t.Errorf("%d connections, with a budget of 3", most)
	}
}

// startingUp is the address of a server that refuses everybody.
func startingUp(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b := pgproto3.NewBackend(c, c)
			if _, err := b.ReceiveStartupMessage(); err == nil {
				b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "57P03", Message: "the database system is starting up"})
				_ = b.Flush()
			}
			_ = c.Close()
		}
	})
	return l.Addr().String()
}
