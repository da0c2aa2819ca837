package controlplanetest

import (
	"bytes"
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
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/daemon"
)

// victimEnv says that this process is a victim, and of what.
const victimEnv = "MANOR_TEST_VICTIM"

// Main is the TestMain of a package whose tests crash processes ([Plane.Crash]).
// It also fails when a goroutine outlives the tests.
func Main(m *testing.M) {
	if order := os.Getenv(victimEnv); order != "" {
		if err := die(order); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// Death is the moment at which a process is killed: at its Write-th write to a
// cluster, counted from 1, before the bytes are sent or right after.
type Death struct {
	Write int
	Sent  bool
	Sleep bool // it is not killed but stopped, and may be woken: see [Plane.Sleeper]
}

func (d Death) String() string {
	if d.Sent {
		return fmt.Sprintf("after write %d", d.Write)
	}
	return fmt.Sprintf("before write %d", d.Write)
}

// everyEnv thins the moments of death out: only every n-th is tried, so that
// the tests stay short. 1 is the full run.
const everyEnv = "MANOR_TEST_CRASH_EVERY"

const every = 7

// Deaths calls f with one moment of death after the other until f reports that
// nobody died, and returns how many it tried.
func Deaths(t testing.TB, f func(Death) (died bool)) int {
	t.Helper()
	step := every
	if text := os.Getenv(everyEnv); text != "" {
		var err error
		if step, err = strconv.Atoi(text); err != nil || step < 1 {
			t.Fatalf("%s=%s: not a positive number", everyEnv, text)
		}
	}
	for n, tried := 0, 1; ; n, tried = n+step, tried+1 {
		if !f(Death{Write: n/2 + 1, Sent: n%2 == 1}) {
			return tried
		}
	}
}

// victim is what the process to crash is told.
type victim struct {
	Catalog, KeyFile string
	Death            Death
}

// Crash starts a process that works the catalog's jobs until it is killed, by
// SIGKILL, at the given moment, or until done. It reports whether it died.
func (p *Plane) Crash(d Death, done func() (bool, error)) (died bool) {
	p.t.Helper()
	var said bytes.Buffer
	cmd, leave := p.victim(d, &said)
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	p.Eventually("the victim dies or is done", func() (bool, error) {
		select {
		case <-ended:
			return true, nil
		default:
			return done()
		}
	})
	_ = leave.Close()
	<-ended
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !status.Signaled() && status.ExitStatus() != 0 {
		p.t.Fatalf("the process to be killed %s ended by itself: %s\n%s", d, cmd.ProcessState, &said)
	}
	return status.Signaled()
}

// victim starts a process that dies at the given moment, or ends when leave is closed.
func (p *Plane) victim(d Death, said io.Writer) (cmd *exec.Cmd, leave io.Closer) {
	p.t.Helper()
	order, err := json.Marshal(victim{p.Config.Catalog.Reveal(), p.Config.KeyFile, d})
	if err != nil {
		p.t.Fatal(err)
	}
	cmd = exec.CommandContext(p.t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), victimEnv+"="+string(order))
	cmd.Stdout, cmd.Stderr = said, said
	if leave, err = cmd.StdinPipe(); err == nil {
		err = cmd.Start()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return cmd, leave
}

// Worker starts a process that works the catalog's jobs until the test ends,
// for tests that stop one and let it go on.
func (p *Plane) Worker() *os.Process {
	p.t.Helper()
	cmd, _ := p.victim(Death{}, io.Discard)
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process
}

// die is the victim's life: it works until it kills itself or standard input ends.
func die(order string) error {
	var v victim
	if err := json.Unmarshal([]byte(order), &v); err != nil {
		return err
	}
	d, err := daemon.New(context.Background(), daemon.Config{Catalog: controlplane.NewSecret(v.Catalog), KeyFile: v.KeyFile,
		Workers: true, Version: "test", Dial: v.Death.dial()})
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
func (d Death) dial() func(ctx context.Context, network, address string) (net.Conn, error) {
	var writes atomic.Int64
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, address)
		return &mortal{conn, d, &writes}, err
	}
}

type mortal struct {
	net.Conn
	death  Death
	writes *atomic.Int64
}

func (c *mortal) Write(b []byte) (n int, err error) {
	last := c.writes.Add(1) == int64(c.death.Write)
	if !last || c.death.Sent {
		n, err = c.Conn.Write(b)
	}
	if last {
		c.death.come()
	}
	if last && !c.death.Sent { // it slept
		n, err = c.Conn.Write(b)
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

// Recover has another process take over from a dead one, until done.
func (p *Plane) Recover(what string, done func() (bool, error)) {
	p.t.Helper()
	p.Expire()
	p.Working(func() { p.Eventually(what, done) })
}
