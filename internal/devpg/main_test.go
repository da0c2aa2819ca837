package devpg

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

// childEnv holds a Config in JSON: this test binary then starts such a server and waits, for the tests that need
// another process.
const childEnv = "MANOR_DEVPG_TEST_CHILD"

func TestMain(m *testing.M) {
	if config, ok := os.LookupEnv(childEnv); ok {
		if err := runChild(config); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// runChild prints where its server is, then waits for the end of its standard input.
func runChild(config string) error {
	var c Config
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	s, err := Start(context.Background(), c)
	if err != nil {
		return err
	}
	fmt.Println(s.base, s.Port())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return s.Stop()
}

// child is another process with a server.
type child struct {
	cmd  *exec.Cmd
	in   io.Closer
	out  *bufio.Reader
	base string
	port int
}

// startChild starts it as the leader of a process group, as a shell would.
func startChild(t *testing.T, c Config) *child {
	t.Helper()
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(config))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = os.Stderr
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	return &child{cmd: cmd, in: in, out: bufio.NewReader(out)}
}

// kill ends its whole process group, as a terminal or a CI runner does.
func (c *child) kill(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

func (c *child) awaitReady(t *testing.T) {
	t.Helper()
	line, _ := c.out.ReadString('\n')
	if _, err := fmt.Sscan(line, &c.base, &c.port); err != nil {
		t.Fatalf("the child printed %q", line)
	}
}

func start(t *testing.T, c Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask returns the one value that a query yields.
func ask(t *testing.T, url, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var answer string
	if err := conn.QueryRow(t.Context(), sql).Scan(&answer); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatalf("%s: %v", sql, err)
	}
	return answer
}

// passableDir is a temporary folder whose parents other users may pass, unlike those of t.TempDir.
func passableDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "manor-devpg-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func listens(port int) bool {
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := poll(ctx, func() (bool, error) { return holds(), nil }); err != nil {
		t.Errorf("not within 20 s: %s", what)
	}
}

// writeTestFile makes the folders too.
func writeTestFile(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func writeProgram(t *testing.T, path string, lines ...string) {
	t.Helper()
	writeTestFile(t, path, "#!/bin/sh\n"+strings.Join(lines, "\n")+"\n", 0o755)
}

// writeServer makes a folder look like that of a server.
func writeServer(t *testing.T, dir, version string) {
	t.Helper()
	writeProgram(t, filepath.Join(dir, "initdb"))
	writeProgram(t, filepath.Join(dir, "postgres"), "echo 'postgres (PostgreSQL) "+version+"'")
}
