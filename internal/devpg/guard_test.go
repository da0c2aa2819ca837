package devpg

import (
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
	watched, released := exec.Command("sleep", "60"), exec.Command("sleep", "60")
	for _, cmd := range []*exec.Cmd{watched, released} {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		g, err := startGuard(t.TempDir(), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.watch(cmd.Process.Pid); err != nil {
			t.Fatal(err)
		}
		if cmd == released {
			if err := g.watch(0); err != nil {
				t.Fatal(err)
			}
		}
		g.close()
	}
	if err := watched.Wait(); err == nil {
		t.Error("the watched process came to its own end")
	}
	if err := released.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the released process was ended: %v", err)
	}
	_ = released.Process.Kill()
	_ = released.Wait()
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
	if exists(temporary) || !exists(other) {
		t.Errorf("temporary there: %t, other there: %t", exists(temporary), exists(other))
	}
}
