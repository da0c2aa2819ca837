package controlplanetest

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

// stop stops this process until it is woken.
func stop() {
	woken := make(chan os.Signal, 1)
	signal.Notify(woken, syscall.SIGCONT)
	defer signal.Stop(woken)
	_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	<-woken
}

// Sleeper is a process that was stopped at its work and believes, when it is
// woken, that no time has passed.
type Sleeper struct {
	plane  *Plane
	cmd    *exec.Cmd
	leave  io.Closer
	log    string
	status syscall.WaitStatus
	ended  bool
}

// Sleeper starts a process that works the catalog's jobs until it is stopped,
// by SIGSTOP, at the given moment. It returns nil if it was done before.
func (p *Plane) Sleeper(at Moment, done func() (bool, error)) *Sleeper {
	p.t.Helper()
	s := p.sleeper(at)
	over := false
	p.Eventually("the process sleeps or is done", func() (bool, error) {
		if s.look(); s.status.Stopped() || s.ended {
			return true, nil
		}
		var err error
		over, err = done()
		return over, err
	})
	if over || s.ended { // by itself, which is wrong
		s.Wake()
		return nil
	}
	return s
}

func (p *Plane) sleeper(at Moment) *Sleeper {
	p.t.Helper()
	log, err := os.Create(filepath.Join(p.t.TempDir(), "log"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	cmd := p.process(at)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // should we die, the kernel wakes and ends it
	cmd.Stdout, cmd.Stderr = log, log
	leave, err := cmd.StdinPipe()
	if err = errors.Join(err, cmd.Start()); err != nil {
		p.t.Fatal(err)
	}
	s := &Sleeper{plane: p, cmd: cmd, leave: leave, log: log.Name()}
	p.t.Cleanup(s.kill)
	return s
}

// look collects what has become of the process. Nobody else waits for it.
func (s *Sleeper) look() {
	if s.ended {
		return
	}
	var status syscall.WaitStatus
	pid, err := syscall.Wait4(s.cmd.Process.Pid, &status, syscall.WNOHANG|syscall.WUNTRACED, nil)
	if pid == s.cmd.Process.Pid {
		s.status, s.ended = status, status.Exited() || status.Signaled()
	} else if err != nil && !errors.Is(err, syscall.EINTR) {
		s.ended = true
	}
}

// Wake lets the process go on with what it was doing, and waits until it has
// finished that and ended.
func (s *Sleeper) Wake() {
	s.plane.t.Helper()
	_ = s.leave.Close()
	s.plane.Eventually("the process ends", func() (bool, error) {
		if s.status.Stopped() { // also at the last of its writes, when it leaves
			s.status = 0
			_ = syscall.Kill(s.cmd.Process.Pid, syscall.SIGCONT)
		}
		s.look()
		return s.ended, nil
	})
	if s.status.ExitStatus() != 0 {
		said, _ := os.ReadFile(s.log)
		s.plane.t.Fatalf("the process did not end as it should: %v\n%s", s.status, said)
	}
}

func (s *Sleeper) kill() {
	_ = s.leave.Close()
	if s.ended {
		return
	}
	_ = syscall.Kill(s.cmd.Process.Pid, syscall.SIGKILL)
	_, _ = syscall.Wait4(s.cmd.Process.Pid, nil, 0, nil)
	s.ended = true
}
