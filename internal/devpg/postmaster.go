package devpg

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	startPatience   = 60 * time.Second
	connectPatience = 3 * time.Second
	stopPatience    = 20 * time.Second // for each signal
	pollInterval    = 5 * time.Millisecond
	logTailLines    = 20
	portsToTry      = 5
)

// postmaster is a started server process. It is collected by polling, not by a waiting goroutine: that would look like
// a leak to goleak, and until we collect it nobody else can get its process id.
type postmaster struct {
	cmd *exec.Cmd
}

func (p *postmaster) pid() int { return p.cmd.Process.Pid }

// ended collects the process if it has ended.
func (p *postmaster) ended() bool {
	for {
		pid, err := syscall.Wait4(p.pid(), nil, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		return err != nil || pid == p.pid()
	}
}

// end signals the process and reports whether it ended in time.
func (p *postmaster) end(signal syscall.Signal, patience time.Duration) bool {
	if p.ended() {
		return true
	}
	_ = p.cmd.Process.Signal(signal) // it fails only if the process has ended meanwhile
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return poll(ctx, func() (bool, error) { return p.ended(), nil }) == nil
}

// launchOnOneOf starts the server on the first of the ports that nobody else has. That a port was free a moment ago is
// no promise.
func (s *Server) launchOnOneOf(ctx context.Context, ports []int, password string) error {
	var err error
	for _, s.port = range ports {
		if err = s.launch(ctx, password); err == nil || isFree(s.port) {
			return err
		}
	}
	return err
}

// launch starts the server process and waits until it accepts the password.
func (s *Server) launch(ctx context.Context, password string) error {
	if err := os.WriteFile(s.configFile(), s.config.render(s.port), 0o644); err != nil {
		return err
	}
	log, err := os.OpenFile(s.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := s.run.command(s.data(), s.bin.path("postgres"), "-D", s.data(), "-c", "config_file="+s.configFile())
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	s.postmaster = &postmaster{cmd: cmd}
	err = s.guard.watch(s.postmaster.pid())
	if err == nil {
		err = s.awaitReady(ctx, password)
	}
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, tail(s.LogFile()))
		return errors.Join(err, s.shutdown(syscall.SIGQUIT))
	}
	return nil
}

// awaitReady returns when the server lets the superuser in. The password also proves that it is our server which
// answers on the port.
func (s *Server) awaitReady(ctx context.Context, password string) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	var last error
	err := poll(ctx, func() (bool, error) {
		if s.postmaster.ended() {
			return false, errors.New("the server ended while starting")
		}
		last = s.execute(ctx, password, "")
		return last == nil, nil
	})
	if err != nil && last != nil {
		return fmt.Errorf("%w (%v)", err, last)
	}
	return err
}

// execute runs SQL as the superuser. A stranger on the port, who might never answer, does not hold it up for long.
func (s *Server) execute(ctx context.Context, password, sql string) error {
	ctx, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	conn, err := pgconn.Connect(ctx, s.urlAs(password, "postgres"))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql).ReadAll()
	return errors.Join(err, conn.Close(ctx))
}

// poll asks until it is done, fails, or ctx ends.
func poll(ctx context.Context, ask func() (done bool, err error)) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		if done, err := ask(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// ports lists what to try: the port asked for and no other, or the last one and then some free ones. Those lie below
// the range that Linux and macOS take the ports of outgoing connections from, so that the port is still to be had when
// a crashed server starts again.
func (c Config) ports(last int) []int {
	if c.Port != 0 {
		return []int{c.Port}
	}
	var ports []int
	if last != 0 {
		ports = append(ports, last)
	}
	for len(ports) < portsToTry {
		if port := 20000 + rand.IntN(12000); isFree(port) {
			ports = append(ports, port)
		}
	}
	return ports
}

func isFree(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	lines = lines[max(0, len(lines)-logTailLines):]
	return "the end of " + filepath.Base(path) + ":\n  " + strings.Join(lines, "\n  ")
}
