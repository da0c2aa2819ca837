package faultproxy

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long something may take that is on its way; short is how long a test waits for what never comes.
const (
	patience = 30 * time.Second
	short    = 100 * time.Millisecond
)

type server interface {
	Host() string
	Port() int
	URL(database string) string
}

func address(s server) string { return net.JoinHostPort(s.Host(), strconv.Itoa(s.Port())) }

// setup makes a database with an empty table and a proxy before its server. direct goes past the proxy.
func setup(t *testing.T) (p *Proxy, through string, direct *pgx.Conn) {
	t.Helper()
	p, err := Start(address(pgtest.Server(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	database := pgtest.Database(t)
	direct = connect(t, database)
	exec(t, direct, "CREATE TABLE lines (line text)")
	return p, via(t, p, database), direct
}

// via is a URL that leads through the proxy.
func via(t *testing.T, p *Proxy, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = net.JoinHostPort(p.Host(), strconv.Itoa(p.Port()))
	return u.String()
}

func connect(t *testing.T, address string) *pgx.Conn {
	t.Helper()
	conn, err := try(t, address, patience)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func try(t *testing.T, address string, within time.Duration) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	conn, err := pgx.Connect(ctx, address)
	if err == nil {
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), short)
			defer cancel()
			_ = conn.Close(ctx)
		})
	}
	return conn, err
}

func exec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if err := send(t, conn, sql, patience); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// send runs SQL as one simple query.
func send(t *testing.T, conn *pgx.Conn, sql string, within time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	_, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	return err
}

func ask(t *testing.T, conn *pgx.Conn, sql string, args ...any) string {
	t.Helper()
	var answer string
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return answer
}

func lines(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	return ask(t, conn, "SELECT coalesce(string_agg(line, ',' ORDER BY line), '') FROM lines")
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick, deadline := time.NewTicker(5*time.Millisecond), time.After(patience)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

const write = "BEGIN; INSERT INTO lines VALUES ('a'); Commit"

func TestWithoutFaultsNothingChanges(t *testing.T) {
	t.Parallel()
	p, through, direct := setup(t)
	for _, mode := range []string{"disable", "prefer"} { // the second asks for TLS first
		conn := connect(t, through+"&sslmode="+mode)
		exec(t, conn, write)
		if got := ask(t, conn, "SELECT repeat('x', $1)", 1<<20); len(got) != 1<<20 {
			t.Errorf("%s: a long answer has %d bytes", mode, len(got))
		}
	}
	if got := lines(t, direct); got != "a,a" {
		t.Errorf("got lines %q", got)
	}
	if n := p.Accepted(); n != 3 { // pgx does without TLS on another connection
		t.Errorf("%d connections were accepted, want 3", n)
	}
	exec(t, direct, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()")
	eventually(t, "both ends learn of the other's end", func() bool { return len(p.Conns()) == 0 })
}

func TestStrikeBeforeDuringAndAfterCommit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		strike Strike
		want   []string // lines that may be there
	}{
		{Strike{When: Before}, []string{""}},
		{Strike{When: During}, []string{"", "a"}},
		{Strike{When: After}, []string{"a"}},
		{Strike{When: Before, Silent: true}, []string{""}},
		{Strike{When: During, Silent: true}, []string{"", "a"}},
		{Strike{When: After, Silent: true}, []string{"a"}},
	} {
		t.Run(c.strike.When.String()+map[bool]string{true: ", silently"}[c.strike.Silent], func(t *testing.T) {
			t.Parallel()
			p, through, direct := setup(t)
			first, second := connect(t, through), connect(t, through)
			c.strike.On, c.strike.Nth = "COMMIT", 2
			struck := p.Arm(c.strike)
			exec(t, first, "SELECT 'no such word'")
			exec(t, first, "BEGIN; COMMIT")
			within := patience
			if c.strike.Silent {
				within = short
			}
			err := send(t, second, write, within)
			if err == nil || errors.Is(err, context.DeadlineExceeded) != c.strike.Silent {
				t.Errorf("got %v", err)
			}
			<-struck
			exec(t, first, "BEGIN; COMMIT") // it strikes once, and only there
			if got := lines(t, direct); got != c.want[0] && got != c.want[len(c.want)-1] {
				t.Errorf("got lines %q, want %q", got, c.want)
			}
		})
	}
}

func TestStrikesCountEachForItself(t *testing.T) {
	t.Parallel()
	p, through, direct := setup(t)
	second, first := p.Arm(Strike{On: "COMMIT", Nth: 2}), p.Arm(Strike{On: "lines", When: After})
	if err := send(t, connect(t, through), write, patience); err == nil {
		t.Error("the first write was answered")
	}
	<-first
	if err := send(t, connect(t, through), write, patience); err == nil {
		t.Error("the second write was answered")
	}
	<-second
	if got := lines(t, direct); got != "a" {
		t.Errorf("got lines %q", got)
	}
}

func TestHealEndsAStrikeThatHasNotHappened(t *testing.T) {
	t.Parallel()
	p, through, direct := setup(t)
	p.Arm(Strike{On: "COMMIT"})
	p.Heal()
	exec(t, connect(t, through), write)
	if got := lines(t, direct); got != "a" {
		t.Errorf("got lines %q", got)
	}
}

func TestCutEndsOneConnectionOrAll(t *testing.T) {
	t.Parallel()
	p, through, _ := setup(t)
	first, second := connect(t, through), connect(t, through)
	p.Conns()[0].Cut()
	if err := send(t, first, "SELECT", patience); err == nil {
		t.Error("the first one lives")
	}
	exec(t, second, "SELECT")
	p.Cut()
	if err := send(t, second, "SELECT", patience); err == nil {
		t.Error("the second one lives")
	}
	exec(t, connect(t, through), "SELECT")
}

func TestHalfOpenTowardsTheClientHidesWhatTheServerDoes(t *testing.T) {
	t.Parallel()
	p, through, direct := setup(t)
	conn := connect(t, through)
	p.HalfOpen(ToClient)
	if err := send(t, conn, write, short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	eventually(t, "the server has done it", func() bool { return lines(t, direct) == "a" })
	exec(t, connect(t, through), "SELECT") // new ones are as ever
}

func TestHalfOpenTowardsTheServerHidesWhatTheClientDoes(t *testing.T) {
	t.Parallel()
	p, through, direct := setup(t)
	conn := connect(t, through)
	pid := ask(t, conn, "SELECT pg_backend_pid()::text")
	p.HalfOpen(ToServer)
	if err := send(t, conn, write, short); err == nil {
		t.Error("it was answered")
	}
	if err := conn.PgConn().Conn().Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	p.Heal()
	exec(t, connect(t, through), "INSERT INTO lines VALUES ('after')") // long enough for an end to arrive
	if got := lines(t, direct); got != "after" {
		t.Errorf("got lines %q", got)
	}
	if got := ask(t, direct, "SELECT count(*)::text FROM pg_stat_activity WHERE pid = $1::int", pid); got != "1" {
		t.Error("the server heard that the client had gone")
	}
}

func TestBlackHoleTakesNewConnectionsTooUntilHealed(t *testing.T) {
	t.Parallel()
	p, through, _ := setup(t)
	old := connect(t, through)
	p.BlackHole(BothWays)
	if _, err := try(t, through, short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a new connection: %v", err)
	}
	p.Heal()
	exec(t, connect(t, through), "SELECT")
	if err := send(t, old, "SELECT", short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("what was half-open: %v", err)
	}
}

func TestRefuseTurnsNewConnectionsAwayAndNoOthers(t *testing.T) {
	t.Parallel()
	p, through, _ := setup(t)
	old := connect(t, through)
	p.Refuse()
	if _, err := try(t, through, patience); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a new connection: %v", err)
	}
	exec(t, old, "SELECT")
	p.Heal()
	exec(t, connect(t, through), "SELECT")
}

func TestDelayHoldsUpBothWays(t *testing.T) {
	t.Parallel()
	p, through, _ := setup(t)
	conn := connect(t, through)
	const by = 50 * time.Millisecond
	p.Delay(by)
	began := time.Now()
	exec(t, conn, "SELECT")
	if took := time.Since(began); took < 2*by {
		t.Errorf("there and back took %s", took)
	}
}

func TestLeadTakesNewConnectionsToAnotherServer(t *testing.T) {
	t.Parallel()
	p, through, _ := setup(t)
	old := connect(t, through)
	other := pgtest.NewServer(t, devpg.Config{})
	p.Lead(address(other))
	if got, want := ask(t, connect(t, via(t, p, other.URL("postgres"))), "SHOW port"), strconv.Itoa(other.Port()); got != want {
		t.Errorf("a new connection leads to port %s, not %s", got, want)
	}
	if got, want := ask(t, old, "SHOW port"), strconv.Itoa(pgtest.Server(t).Port()); got != want {
		t.Errorf("the old connection leads to port %s, not %s", got, want)
	}
	if conns := p.Conns(); conns[0].Server() == conns[1].Server() {
		t.Errorf("both are said to lead to %s", conns[0].Server())
	}
	if err := other.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := try(t, through, patience); err == nil {
		t.Error("nobody is there, and yet somebody answers")
	}
}

func TestCloseEndsEverything(t *testing.T) {
	t.Parallel()
	p, through, direct := setup(t)
	connect(t, through)
	connect(t, through)
	p.HalfOpen(BothWays)
	p.Close()
	if n := len(p.Conns()); n != 0 {
		t.Errorf("%d connections are left", n)
	}
	if _, err := try(t, through, patience); err == nil {
		t.Error("it still listens")
	}
	eventually(t, "the server's sessions end", func() bool {
		return ask(t, direct, "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database()") == "1"
	})
}

func TestWhatIsNotPostgresIsCut(t *testing.T) {
	t.Parallel()
	p, _, _ := setup(t)
	conn, err := net.Dial("tcp", net.JoinHostPort(p.Host(), strconv.Itoa(p.Port())))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\n")); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("got %d bytes", n)
	}
}
