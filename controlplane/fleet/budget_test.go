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
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/work"
)

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
	second := func(p *process, conn *pgx.Conn) error {
		if err := p.way.Beside(t.Context(), func(other *pgx.Conn) error { return other.Ping(t.Context()) }); err != nil {
			return err
		}
		config := conn.Config() // as package pg does to look into another database
		config.Database, config.ConnectTimeout = "template1", patience
		inside, err := pgx.ConnectConfig(t.Context(), config)
		if err != nil {
			return err
		}
		return inside.Close(t.Context())
	}
	for range 5 {
		var working, seated sync.WaitGroup
		seated.Add(2)
		for _, p := range []*process{one, two} {
			working.Go(func() {
				err := p.way.Do(t.Context(), func(conn *pgx.Conn) error {
					seated.Done()
					seated.Wait() // each has one of the two, and both want the last
					return second(p, conn)
				})
				if err != nil {
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

func TestConnectionBeingOpenedWhenEverythingIsLostIsNotUsed(t *testing.T) {
	t.Parallel()
	for when, lose := range map[string]func(w *Way, loss func()){
		"dialled": func(w *Way, loss func()) {
			w.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
				loss()
				return conn, err
			}
		},
		"logged in": func(w *Way, loss func()) {
			w.prove = func(context.Context, *pgconn.PgConn) error { loss(); return nil }
		},
	} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			p := newSite(t, 3).process("one")
			w := *p.way
			lose(&w, p.cutAll)
			err := w.Do(t.Context(), func(*pgx.Conn) error {
				t.Error("it is used")
				return nil
			})
			if !errors.Is(err, ErrNoConnection) || controlplane.CodeOf(err) != controlplane.Unavailable {
				t.Errorf("%v (%q)", err, controlplane.CodeOf(err))
			}
			if err := p.try(); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
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

// TestConnectionsAreCountedWhileTenantsArePlaced: who places tenants holds the
// rows of the clusters, for seconds where there are many.
func TestConnectionsAreCountedWhileTenantsArePlaced(t *testing.T) {
	t.Parallel()
	s := newSite(t, 10)
	err := s.cat.InTx(t.Context(), func(tx *catalog.Tx) error {
		if _, err := tx.Cluster.Query().ForUpdate().All(t.Context()); err != nil {
			return err
		}
		return s.process("another").AsControl(t.Context(), s.cluster.ID, func(conn *pgx.Conn) error { return conn.Ping(t.Context()) })
	})
	if err != nil {
		t.Errorf("a connection while tenants are placed: %v", err)
	}
}
