package controlplanetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/daemon"
)

// orderEnv says that this process is one of a test's, and what it is to do.
const orderEnv = "MANOR_TEST_ORDER"

// Main is the TestMain of a package whose tests have processes ([Plane.Worker]).
// It also fails when a goroutine outlives the tests.
func Main(m *testing.M) {
	if order := os.Getenv(orderEnv); order != "" {
		if err := obey(order); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// Moment is when a process is stopped, as by SIGSTOP: at its Write-th write to a
// cluster, counted from 1, before the bytes are sent or right after. The zero
// Moment never comes.
type Moment struct {
	Write int
	Sent  bool
}

func (m Moment) String() string {
	if m.Sent {
		return fmt.Sprintf("after write %d", m.Write)
	}
	return fmt.Sprintf("before write %d", m.Write)
}

// everyEnv thins the moments out: only every n-th is tried, so that
// the tests stay short. 1 is the full run.
const everyEnv = "MANOR_TEST_CRASH_EVERY"

const every = 7

// Moments calls f with one moment after the other until f reports that nobody
// came by it.
func Moments(t testing.TB, f func(Moment) (stopped bool)) {
	t.Helper()
	step := every
	if text := os.Getenv(everyEnv); text != "" {
		var err error
		if step, err = strconv.Atoi(text); err != nil || step < 1 {
			t.Fatalf("%s=%s: not a positive number", everyEnv, text)
		}
	}
	for n := 0; f(Moment{Write: n/2 + 1, Sent: n%2 == 1}); n += step {
	}
}

// order is what a process of a test is told.
type order struct {
	Catalog, KeyFile string
	Stop             Moment
}

// process is a process of a test that works a catalog's jobs and may be stopped.
func (p *Plane) process(stop Moment) *exec.Cmd {
	p.t.Helper()
	order, err := json.Marshal(order{p.Config.Catalog.Reveal(), p.Config.KeyFile, stop})
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), orderEnv+"="+string(order))
	return cmd
}

// Worker starts a process that works the catalog's jobs until the test ends,
// for tests that stop one and let it go on, or kill it.
func (p *Plane) Worker() *os.Process {
	p.t.Helper()
	cmd := p.process(Moment{})
	leave, err := cmd.StdinPipe() // it ends with us
	if err = errors.Join(err, cmd.Start()); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = leave.Close()
	})
	return cmd.Process
}

// obey is the life of such a process: it works until standard input ends.
func obey(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	d, err := daemon.New(context.Background(), daemon.Config{Catalog: controlplane.NewSecret(o.Catalog), KeyFile: o.KeyFile,
		Workers: true, Version: "test", Dial: o.Stop.dial()})
	if err != nil {
		return err
	}
	if err := d.Start(context.Background()); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, d.Stop(context.Background()))
}

// dial makes connections that count their writes together.
func (m Moment) dial() func(ctx context.Context, network, address string) (net.Conn, error) {
	var writes atomic.Int64
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, address)
		return &stopping{conn, m, &writes}, err
	}
}

type stopping struct {
	net.Conn
	at     Moment
	writes *atomic.Int64
}

func (c *stopping) Write(b []byte) (int, error) {
	now := c.writes.Add(1) == int64(c.at.Write)
	if now && !c.at.Sent {
		stop()
	}
	n, err := c.Conn.Write(b)
	if now && c.at.Sent {
		stop()
	}
	return n, err
}

// runOut is [Plane.Expire]: a test does not wait for leases, nor for loops that
// look every few seconds.
var runOut = []string{
	"UPDATE tenants SET updated_at = updated_at - interval '1 minute' WHERE NOT settled",
	"UPDATE batches SET lease_until = lease_until - interval '1 minute', updated_at = updated_at - interval '1 minute' WHERE state <> 'done'",
	// The other processes on a test's catalog are dead: that they count as such,
	// and what is allotted to them comes free, would take 20 s.
	"DELETE FROM workers WHERE id NOT LIKE '%/" + strconv.Itoa(os.Getpid()) + "-%'",
	"DELETE FROM river.river_leader", // jobs that wait for their time would wait for another one
}

// Expire makes run out what processes hold in the catalog that are dead or were
// cut off from it. The next process to start looks for it at once, those that
// run when their loops come round.
func (p *Plane) Expire() {
	p.t.Helper()
	conn := p.Catalog()
	defer conn.Close(context.WithoutCancel(p.t.Context()))
	p.Eventually("the locks of dead processes are gone", func() (free bool, err error) {
		err = conn.QueryRow(p.t.Context(), `SELECT NOT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
			WHERE l.locktype = 'advisory' AND d.datname = current_database())`).Scan(&free)
		return free, err
	})
	for _, statement := range runOut {
		if _, err := conn.Exec(p.t.Context(), statement); err != nil {
			p.t.Fatalf("%s: %v", statement, err)
		}
	}
}
