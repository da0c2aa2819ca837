package devpg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// superuser is the role that initdb makes. It is no account of the operating system.
const superuser = "postgres"

// dirPatience is for the guard of a process that was killed to leave a Dir.
const dirPatience = 5 * time.Second

// Config says which PostgreSQL to run. The zero value is any version, a temporary folder and fast, unsafe settings.
type Config struct {
	// Version is a major version such as "18". Default: that of the data in Dir, else the newest installed.
	Version string
	// Dir keeps data, log and password over Stop, and belongs to one server at a time. Default: a temporary folder,
	// removed at Stop.
	Dir string
	// Port on 127.0.0.1. Default: the one Dir had last if it is free, else any free one.
	Port int
	// Settings go to postgresql.conf, on top of the defaults. The port and the addresses stay as they are.
	Settings map[string]string
	// Durable keeps fsync and full_page_writes on, as in production.
	Durable bool
	// CacheDir holds fetched binaries and initialised data folders. Default: manor/devpg in /var/cache for root, in the
	// user's cache folder for others.
	CacheDir string
}

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

func (c Config) validate() error {
	if c.Version != "" {
		if major, err := strconv.Atoi(c.Version); err != nil || major < oldestMajor {
			return fmt.Errorf("version %q: want a major version from %d on, such as %q", c.Version, oldestMajor, newestPinned)
		}
	}
	if c.Port < 0 || c.Port > 65535 {
		return fmt.Errorf("port %d: not a TCP port", c.Port)
	}
	for name := range c.Settings {
		if !settingName.MatchString(name) {
			return fmt.Errorf("settings: %q is no name of a setting", name)
		}
	}
	return nil
}

// Server is a running PostgreSQL, or one that was stopped or crashed and can be started again.
type Server struct {
	config   Config
	bin      binaries
	run      account
	base     string // holds data, devpg.conf and server.log
	port     int
	password string

	mu         sync.Mutex
	guard      *guard      // nil after Stop
	postmaster *postmaster // nil when not running
}

// Start finds, prepares and starts a server, and returns once it accepts connections. ctx bounds the start only. When
// the server does not come up, the error ends with the last lines of its log.
//
// The caller keeps the Server until it calls Stop: one that nothing refers to is ended by the garbage collector.
func Start(ctx context.Context, c Config) (*Server, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("devpg: %w", err)
	}
	s := &Server{config: c}
	if err := s.start(ctx); err != nil {
		return nil, fmt.Errorf("devpg: starting PostgreSQL: %w", errors.Join(err, s.Stop()))
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	m, err := thisMachine(s.config.CacheDir)
	if err != nil {
		return err
	}
	version, err := s.config.version()
	if err != nil {
		return err
	}
	if s.bin, err = m.binaries(ctx, version); err != nil {
		return err
	}
	if s.run, err = chooseAccount(ctx, s.bin); err != nil {
		return err
	}
	if err := s.makeBase(ctx); err != nil {
		return err
	}
	if s.config.Dir != "" {
		return s.startKept(ctx)
	}
	return s.startTemporary(ctx, m)
}

// version is the one asked for, or the one that wrote the data in Dir: PostgreSQL cannot open another's.
func (c Config) version() (string, error) {
	if c.Dir == "" {
		return c.Version, nil
	}
	wrote, err := dataVersion(filepath.Join(c.Dir, "data"))
	if err != nil || wrote == "" {
		return c.Version, err
	}
	if c.Version != "" && c.Version != wrote {
		return "", fmt.Errorf("%s holds data of PostgreSQL %s, but version %s was asked for", c.Dir, wrote, c.Version)
	}
	return wrote, nil
}

// makeBase makes the server's folder, and at once the guard that removes a temporary one.
func (s *Server) makeBase(ctx context.Context) error {
	if s.config.Dir != "" {
		if err := s.makeDir(); err != nil {
			return err
		}
		return s.protect(ctx)
	}
	var err error
	if s.base, err = os.MkdirTemp("", "manor-pg-"); err != nil {
		return err
	}
	if err := s.protect(ctx); err != nil {
		return errors.Join(err, os.RemoveAll(s.base))
	}
	return s.run.letThrough(s.base)
}

// makeDir leaves the rights of a folder that is already there as they are.
func (s *Server) makeDir() error {
	dir, err := filepath.Abs(s.config.Dir)
	if err != nil {
		return err
	}
	s.base = dir
	if isFolder(dir) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return s.run.letThrough(dir)
}

// protect starts the guard. For a Dir it also holds the lock, so that after the death of a process nobody starts on the
// Dir before the guard is done.
func (s *Server) protect(ctx context.Context) (err error) {
	if s.config.Dir == "" {
		s.guard, err = startGuard(s.data(), s.base, nil)
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, dirPatience)
	defer cancel()
	held, err := lock(waiting, filepath.Join(s.base, "devpg.lock"))
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s is in use by another process", s.base)
	}
	if err != nil {
		return err
	}
	s.guard, err = startGuard(s.data(), "", held)
	return errors.Join(err, held.Close())
}

// Stop shuts the server down: a Dir in the fast way (clients are disconnected), a temporary folder without the
// checkpoint, which it would take to its removal. A second Stop does nothing.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.guard == nil {
		return nil
	}
	signal := syscall.SIGINT
	if s.config.Dir == "" {
		signal = syscall.SIGQUIT
	}
	err := s.shutdown(signal)
	s.guard.close()
	s.guard = nil
	if s.config.Dir == "" {
		err = errors.Join(err, os.RemoveAll(s.base))
	}
	return err
}

// Crash ends the server without a checkpoint (SIGQUIT), so that the next start has to recover, and keeps the data.
func (s *Server) Crash() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.postmaster == nil {
		return errors.New("devpg: crashing PostgreSQL: it is not running")
	}
	return s.shutdown(syscall.SIGQUIT)
}

// Restart starts the server again on the same port and data; a running one is shut down first. After Stop this is
// possible only if the Config had a Dir.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.shutdown(syscall.SIGINT); err != nil {
		return err
	}
	if s.guard == nil {
		if s.config.Dir == "" {
			return errors.New("devpg: restarting PostgreSQL: its temporary folder was removed by Stop")
		}
		if err := s.protect(ctx); err != nil {
			return fmt.Errorf("devpg: restarting PostgreSQL: %w", err)
		}
	}
	if err := s.launch(ctx, s.password); err != nil {
		return fmt.Errorf("devpg: restarting PostgreSQL: %w", err)
	}
	return nil
}

// shutdown ends the postmaster, if there is one, first with the signal given and then with harder ones.
func (s *Server) shutdown(first syscall.Signal) error {
	if s.postmaster == nil {
		return nil
	}
	for _, signal := range []syscall.Signal{first, syscall.SIGQUIT, syscall.SIGKILL} {
		if s.postmaster.end(signal, stopPatience) {
			s.postmaster = nil
			return s.guard.watch(0)
		}
	}
	return fmt.Errorf("devpg: stopping PostgreSQL: process %d does not end, even by SIGKILL", s.postmaster.pid())
}

// URL is the superuser's connection string to a database; "postgres" always exists.
func (s *Server) URL(database string) string {
	return s.urlAs(s.password, database)
}

func (s *Server) urlAs(password, database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(superuser, password),
		Host:     net.JoinHostPort(s.Host(), strconv.Itoa(s.port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Host is the address the server listens on: this machine only.
func (s *Server) Host() string { return "127.0.0.1" }

// Port stays the same over Restart.
func (s *Server) Port() int { return s.port }

// User is the superuser's name.
func (s *Server) User() string { return superuser }

// Password is the superuser's password: random, and a different one for each server.
func (s *Server) Password() string { return s.password }

// Version is the server's full version, such as "18.4".
func (s *Server) Version() string { return s.bin.version }

// PID is the postmaster's process id, 0 when it is not running.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.postmaster == nil {
		return 0
	}
	return s.postmaster.pid()
}

// LogFile is the path of the server's log; Stop removes it together with a temporary folder.
func (s *Server) LogFile() string { return filepath.Join(s.base, "server.log") }

func (s *Server) data() string { return filepath.Join(s.base, "data") }

func (s *Server) configFile() string { return filepath.Join(s.base, "devpg.conf") }
