package chaos_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/manorhq/manor/controlplane/controlplanetest"
)

// binary is the real program, with failpoints in it, built once.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "manor-chaos-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "manor")
	args := []string{"build", "-tags", "failpoints", "-buildvcs=false", "-ldflags", "-s -w", "-o", path}
	if race { // as these tests are, so that what they are made of is compiled once
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "github.com/manorhq/manor/cmd/manor")...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("build manor with failpoints: %w\n%s", err, out)
	}
	return path, err
})

// worker is a process of its own that works the jobs of a catalog.
type worker struct {
	t     testing.TB
	cmd   *exec.Cmd
	said  bytes.Buffer
	ended chan struct{}
}

// startWorker starts a process on the plane's catalog. deaths are what
// MANOR_FAILPOINT says, log is where it tells which points it reaches.
func startWorker(p *controlplanetest.Plane, t testing.TB, deaths, log string) (*worker, error) {
	path, err := binary()
	if err != nil {
		return nil, err
	}
	w := &worker{t: t, ended: make(chan struct{})}
	w.cmd = exec.Command(path, "worker")
	w.cmd.Env = append(os.Environ(), "MANOR_CATALOG="+p.Config.Catalog.Reveal(), "MANOR_KEY_FILE="+p.Config.KeyFile,
		"MANOR_FAILPOINT="+deaths, "MANOR_FAILPOINT_LOG="+log)
	w.cmd.Stdout, w.cmd.Stderr = &w.said, &w.said
	w.cmd.SysProcAttr = withParent()
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	sum.starts.Add(1)
	go func() { _ = w.cmd.Wait(); close(w.ended) }()
	t.Cleanup(w.kill)
	return w, nil
}

func (w *worker) signal(s syscall.Signal) { _ = w.cmd.Process.Signal(s) } // it may have ended meanwhile

// kill ends the process, if it has not ended, as kill -9 does.
func (w *worker) kill() {
	w.signal(syscall.SIGKILL)
	<-w.ended
}

// dead reports whether the process was killed. One that ended by itself has
// no business to.
func (w *worker) dead() (bool, error) {
	select {
	case <-w.ended:
	default:
		return false, nil
	}
	if status := w.cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() {
		return true, fmt.Errorf("the worker ended by itself: %s\n%s", w.cmd.ProcessState, &w.said)
	}
	return true, nil
}

// removeBinary is for the end of the tests.
func removeBinary() {
	if path, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
}
