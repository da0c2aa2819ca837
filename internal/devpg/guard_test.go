package devpg

import (
	"errors"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

func TestKilledParentLeavesNeitherServerNorFolder(t *testing.T) {
	t.Parallel()
	c := startChild(t, Config{})
	c.awaitReady(t)
	if !exists(c.base) || !listens(c.port) {
		t.Fatal("the child has no server")
	}
	c.kill(t)
	eventually(t, "the folder is gone", func() bool { return !exists(c.base) })
	eventually(t, "the server is gone", func() bool { return !listens(c.port) })
}

func TestDirOfAKilledParentCanBeStartedAtOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(passableDir(t), "pg")
	c := startChild(t, Config{Dir: dir})
	c.awaitReady(t)
	c.kill(t)
	s := start(t, Config{Dir: dir})
	if got := ask(t, s.URL("postgres"), "SELECT current_user::text"); got != "postgres" {
		t.Errorf("got %q", got)
	}
}

func TestGuardEndsOnlyWhatItStillWatches(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		release bool
		want    syscall.Signal
	}{
		"watched":  {false, syscall.SIGQUIT},
		"released": {true, syscall.SIGTERM}, // ours
	} {
		cmd := exec.Command("sleep", "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		g, err := startGuard(t.TempDir(), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		err = g.watch(cmd.Process.Pid)
		if c.release {
			err = errors.Join(err, g.watch(0))
		}
		g.close()
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if got := cmd.ProcessState.Sys().(syscall.WaitStatus).Signal(); got != c.want || err != nil {
			t.Errorf("%s: ended by %v (%v), want %v", name, got, err, c.want)
		}
	}
}

func TestGuardRemovesTheTemporaryFolderOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	temporary, other := filepath.Join(dir, "it's temporary"), filepath.Join(dir, "other")
	writeTestFile(t, filepath.Join(temporary, "data", "file"), "", 0o600)
	writeTestFile(t, filepath.Join(other, "data", "file"), "", 0o600)
	for data, remove := range map[string]string{temporary: temporary, other: ""} {
		g, err := startGuard(filepath.Join(data, "data"), remove, nil)
		if err != nil {
			t.Fatal(err)
		}
		g.close()
	}
	if exists(temporary) {
		t.Error("the temporary folder is left")
	}
	if !exists(filepath.Join(other, "data", "file")) {
		t.Error("the other folder's data is gone")
	}
}
