package devpg

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

func TestTwoProcessesStartOnAnEmptyCache(t *testing.T) {
	t.Parallel()
	cache := filepath.Join(passableDir(t), "cache")
	children := []*child{startChild(t, Config{CacheDir: cache}), startChild(t, Config{CacheDir: cache})}
	for _, c := range children {
		c.awaitReady(t)
	}
	if children[0].port == children[1].port {
		t.Error("both have the same server")
	}
	seeds, _ := filepath.Glob(filepath.Join(cache, "seed-*[^k]"))
	if len(seeds) != 1 {
		t.Errorf("got %v in the cache, want one seed", seeds)
	}
	for _, c := range children {
		_ = c.in.Close()
		if err := c.cmd.Wait(); err != nil {
			t.Errorf("the child ended with %v", err)
		}
	}
}

func TestCacheBuildsOnceForAll(t *testing.T) {
	t.Parallel()
	m := machine{cache: t.TempDir()}
	var builds atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			dir, err := m.keep(t.Context(), "thing", func(dir string) error {
				builds.Add(1)
				return os.WriteFile(filepath.Join(dir, "file"), nil, 0o600)
			})
			if err != nil || !exists(filepath.Join(dir, "file")) {
				t.Errorf("got %s, %v", dir, err)
			}
		})
	}
	all.Wait()
	if got := builds.Load(); got != 1 {
		t.Errorf("built %d times", got)
	}
}

func TestCacheKeepsNothingUnfinished(t *testing.T) {
	t.Parallel()
	m := machine{cache: t.TempDir()}
	abandoned := filepath.Join(m.cache, "thing.unfinished-1")
	if err := os.Mkdir(abandoned, 0o700); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	if _, err := m.keep(t.Context(), "thing", func(string) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	left, _ := filepath.Glob(filepath.Join(m.cache, "thing*[^k]"))
	if len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestWaitingForTheCacheEndsWithItsContext(t *testing.T) {
	t.Parallel()
	m := machine{cache: t.TempDir()}
	held, err := lock(t.Context(), filepath.Join(m.cache, "thing.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.keep(ctx, "thing", func(string) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
