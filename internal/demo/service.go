package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// serve starts `manor serve`. From then on the commands speak to it and see neither catalog nor key.
func (d *demo) serve(ctx context.Context) error {
	socket := d.path("manor.sock")
	server := "unix://" + socket
	d.command("manor serve --listen " + server + " 2> " + d.path(serviceLog) + " &")
	s, err := d.startService(server)
	if err != nil {
		return err
	}
	d.after(func() error { return errors.Join(s.stop(), d.guard.watch(0)) })
	if err := errors.Join(d.guard.watch(s.cmd.Process.Pid), s.answers(ctx, socket)); err != nil {
		return err
	}
	d.command("export MANOR_SERVER=" + server)
	d.env = []string{"MANOR_SERVER=" + server}
	return nil
}

// service is the running `manor serve`.
type service struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has
	err   error         // how; after ended
}

// startService starts it in a session of its own: a Ctrl-C is for the command in the foreground, and the service is
// stopped in its turn.
func (d *demo) startService(listen string) (*service, error) {
	log, err := os.OpenFile(d.path(serviceLog), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s := &service{cmd: exec.Command(d.bin, "serve", "--listen", listen), ended: make(chan struct{})}
	s.cmd.Env = append(os.Environ(), d.env...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("manor serve did not start: %w", err)
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.ended)
	}()
	return s, nil
}

// answers returns once the service listens on its socket.
func (s *service) answers(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if conn, err := net.Dial("unix", socket); err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("manor serve does not answer: %w", ctx.Err())
		case <-s.ended:
			return fmt.Errorf("manor serve ended while starting: %v", s.err)
		case <-tick.C:
		}
	}
}

// stop asks the service to end, which takes as long as the tenants in hand.
func (s *service) stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it fails only if the service has ended
	select {
	case <-s.ended:
		if s.err != nil {
			return fmt.Errorf("manor serve did not end in order: %w", s.err)
		}
		return nil
	case <-time.After(endPatience):
		return errors.Join(errors.New("manor serve did not end when asked"), s.cmd.Process.Kill())
	}
}
