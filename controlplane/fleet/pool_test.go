package fleet

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/catalog/catalogtest"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/controlplane/secret"
	"github.com/manorhq/manor/controlplane/work"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/internal/pgtest"
)

const patience = 30 * time.Second

// site is a catalog with one cluster, for processes to share.
type site struct {
	t       *testing.T
	url     string
	keys    *secret.Keyring
	cat     *catalog.Catalog
	cluster *ent.Cluster
}

func newSite(t *testing.T, connections int) *site {
	t.Helper()
	s := &site{t: t, url: catalogtest.URL(t)}
	var err error
	if s.keys, err = secret.CreateKeyring(filepath.Join(t.TempDir(), "key")); err != nil {
		t.Fatal(err)
	}
	s.cat = catalogtest.Open(t, s.url)
	server := pgtest.Server(t)
	user, password := pgtest.ControlLogin(t)
	address, err := controlplane.ParseAddress(strings.Split(strings.Split(server.URL("postgres"), "@")[1], "/")[0])
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(s.cat, s.keys, work.Join(s.cat, work.Process{ID: "adds"}, discard), nil).Add(t.Context(), controlplane.Loop("test"),
		controlplane.NewCluster{Name: "one", Address: address, Login: user, Password: password, TLS: controlplane.TLS{Mode: "disable"}, Connections: connections})
	if err != nil {
		t.Fatal(err)
	}
	if s.cluster, err = s.cat.Ent().Cluster.Get(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	return s
}

var discard = slog.New(slog.DiscardHandler)

// process is one of those that share the cluster.
type process struct {
	*Service
	t        *testing.T
	way      *Way
	presence *work.Presence
}

// process starts one; it ends with the test.
func (s *site) process(id string) *process {
	s.t.Helper()
	p := &process{t: s.t, presence: work.Join(s.cat, work.Process{ID: id}, discard)}
	p.Service = New(s.cat, s.keys, p.presence, nil)
	var err error
	if p.way, err = p.control(s.t.Context(), s.cluster.ID); err != nil {
		s.t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = p.presence.Run(ctx) })
	running.Go(func() { _ = p.Run(ctx) })
	s.t.Cleanup(func() { p.Close(); end(); running.Wait() })
	return p
}

// hold takes n connections and keeps them until release is called.
func (p *process) hold(n int) (release func()) {
	p.t.Helper()
	let, held := make(chan struct{}), make(chan error, n)
	var holding sync.WaitGroup
	for range n {
		holding.Go(func() {
			err := p.way.Do(p.t.Context(), func(*pgx.Conn) error {
				held <- nil
				<-let
				return nil
			})
			if err != nil {
				held <- err
			}
		})
	}
	for range n {
		if err := <-held; err != nil {
			p.t.Fatal(err)
		}
	}
	return sync.OnceFunc(func() { close(let); holding.Wait() })
}

// try asks for a connection and returns the error.
func (p *process) try() error {
	return p.way.Do(p.t.Context(), func(conn *pgx.Conn) error { return conn.Ping(p.t.Context()) })
}

func (s *site) exec(statement string, args ...any) {
	s.t.Helper()
	if _, err := s.cat.Pool().Exec(s.t.Context(), statement, args...); err != nil {
		s.t.Fatal(err)
	}
}

func TestWhoFindsAllConnectionsInUseIsToldSo(t *testing.T) {
	t.Parallel()
	s := newSite(t, 4)
	one, two := s.process("one"), s.process("two")
	release := one.hold(3)
	defer release()
	err := two.try()
	e, _ := errors.AsType[*controlplane.Error](err)
	if !errors.Is(err, ErrNoConnection) || e == nil || e.Code != controlplane.Unavailable ||
		!strings.Contains(e.Message, "cluster one") || !strings.Contains(e.Message, "4") || !strings.Contains(e.Hint, "cluster set one --connections") {
		t.Fatalf("%v (%+v)", err, e)
	}
	release()
	if err := two.try(); err != nil {
		t.Errorf("when they are free again: %v", err)
	}
}

func TestWhoHasAConnectionGetsASecondOneAlsoWhenAllAreInUse(t *testing.T) {
	t.Parallel()
	s := newSite(t, fewest+1)
	one, two := s.process("one"), s.process("two")
	nested := func(p *process) func() error {
		return func() error {
			return p.way.Do(t.Context(), func(conn *pgx.Conn) error {
				if err := p.way.Beside(t.Context(), func(other *pgx.Conn) error { return other.Ping(t.Context()) }); err != nil {
					return err
				}
				config := conn.Config() // as package pg does to look into another database
				config.Database = "template1"
				inside, err := pgx.ConnectConfig(t.Context(), config)
				if err != nil {
					return err
				}
				return inside.Close(t.Context())
			})
		}
	}
	for range 5 { // each has one of the two, and all want the last
		var working sync.WaitGroup
		for _, p := range []*process{one, two} {
			working.Go(func() {
				if err := nested(p)(); err != nil {
					t.Error(err)
				}
			})
		}
		working.Wait()
	}
}

func TestWhatADeadProcessHadComesFree(t *testing.T) {
	t.Parallel()
	s := newSite(t, 4)
	s.exec("INSERT INTO workers (id, seen_at) VALUES ('other', clock_timestamp() + interval '1 hour')")
	s.exec("INSERT INTO allotments (worker_id, cluster_id, connections) VALUES ('other', $1, 3)", s.cluster.ID)
	p := s.process("one")
	if err := p.try(); !errors.Is(err, ErrNoConnection) {
		t.Fatalf("while the other process lives: %v", err)
	}
	s.exec("UPDATE workers SET seen_at = clock_timestamp() - interval '19 s' WHERE id = 'other'")
	if err := p.try(); err != nil { // waits for a second or two
		t.Errorf("20 s after the other process was seen last: %v", err)
	}
}

func TestProcessWithNothingGetsItsShareOfWhatAnotherOneWorksOn(t *testing.T) {
	t.Parallel()
	s := newSite(t, 5)
	busy, late := s.process("busy"), s.process("late")
	ctx, stop := context.WithCancel(t.Context())
	var working sync.WaitGroup
	for range 8 {
		working.Go(func() {
			for ctx.Err() == nil {
				err := busy.way.Do(ctx, func(conn *pgx.Conn) error {
					_, err := conn.Exec(ctx, "SELECT pg_sleep(0.1)")
					return err
				})
				if err != nil && ctx.Err() == nil && !errors.Is(err, ErrNoConnection) {
					t.Error(err)
				}
			}
		})
	}
	busy.eventually("all is in use", func() bool { return busy.tallied(s).first == 4 })
	for range 3 {
		if err := late.try(); err != nil {
			t.Error(err)
		}
	}
	stop()
	working.Wait()
}

func (p *process) tallied(s *site) tally {
	pool := p.pool(s.cluster.ID)
	pool.mu.Lock()
	defer pool.mu.Unlock()
	return pool.tally
}

func (p *process) eventually(what string, ask func() bool) {
	p.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); !ask(); {
		select {
		case <-tick.C:
		case <-late:
			p.t.Fatalf("waited in vain until %s", what)
		}
	}
}

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

func TestBudgetCanBeRaisedWhileAllOfItIsInUse(t *testing.T) {
	t.Parallel()
	s := newSite(t, 4)
	one, two := s.process("one"), s.process("two")
	defer one.hold(3)()
	six := 6
	c, err := two.Set(t.Context(), controlplane.Loop("test"), "one", controlplane.ClusterChange{Connections: &six})
	if err != nil || c.Connections != 6 {
		t.Fatalf("%+v, %v", c, err)
	}
	if err := two.try(); err != nil {
		t.Error(err)
	}
}

func TestNewClusterGivesManorAQuarterOfItsConnections(t *testing.T) {
	t.Parallel()
	c := newSite(t, 0).cluster
	if c.MaxConnections < 20 || c.Connections != c.MaxConnections/4 {
		t.Errorf("%d of %d", c.Connections, c.MaxConnections)
	}
	for _, test := range []struct {
		wanted, most, want int
		code               controlplane.Code
	}{
		{wanted: 0, most: 97, want: 24},
		{wanted: 0, most: 10, want: 4},
		{wanted: 0, most: 3, want: 3},
		{wanted: 97, most: 97, want: 97},
		{wanted: 2, most: 97, want: 2},
		{wanted: 98, most: 97, code: controlplane.Refused},
		{wanted: 1, most: 97, code: controlplane.Invalid},
		{wanted: -1, most: 97, code: controlplane.Invalid},
	} {
		got, err := budgetOf("one", test.wanted, test.most)
		if got != test.want || err != nil && controlplane.CodeOf(err) != test.code || err == nil && test.code != "" {
			t.Errorf("%+v: %d, %v", test, got, err)
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
		if err := p.DropDatabase(t.Context(), row); err != nil { // also while a connection to it is open
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

// TestProcessThatIsCountedAsLostHasNothingOpen makes a process look as one does
// that was stopped for long, in the catalog's time.
func TestProcessThatIsCountedAsLostHasNothingOpen(t *testing.T) {
	t.Parallel()
	s := newSite(t, 4)
	p := s.process("zombie")
	cut := make(chan error, 1)
	err := p.way.Do(t.Context(), func(conn *pgx.Conn) error {
		s.exec("DELETE FROM workers")
		s.exec("DELETE FROM allotments")
		_, err := conn.Exec(t.Context(), "SELECT pg_sleep(60)")
		cut <- err
		return nil
	})
	if err != nil || <-cut == nil {
		t.Fatalf("what it did went on: %v", err)
	}
	if err := p.try(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestServerEndsTheSessionsOfAStoppedProcess: before others count it as lost.
func TestServerEndsTheSessionsOfAStoppedProcess(t *testing.T) {
	t.Parallel()
	p := newSite(t, 4).process("one")
	for _, setting := range []string{"idle_session_timeout", "idle_in_transaction_session_timeout"} {
		err := p.way.Do(t.Context(), func(conn *pgx.Conn) error {
			var after time.Duration
			if err := conn.QueryRow(t.Context(), "SELECT current_setting($1)::interval", setting).Scan(&after); err != nil {
				return err
			}
			if after <= idleTime+2*tidyEvery || after >= work.LostAfter {
				t.Errorf("%s is %s", setting, after)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
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

func TestClusterWithoutABudgetNeedsNoAccount(t *testing.T) {
	t.Parallel()
	s := newSite(t, 4)
	s.exec("UPDATE clusters SET connections = 0")
	p := s.process("one")
	p.hold(10)()
	var known int
	if err := s.cat.Pool().QueryRow(t.Context(), "SELECT (SELECT count(*) FROM workers) + (SELECT count(*) FROM allotments)").Scan(&known); err != nil || known > 0 {
		t.Errorf("%d rows, %v", known, err)
	}
}
