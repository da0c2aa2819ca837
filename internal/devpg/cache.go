package devpg

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// keep returns the folder of that name in the cache, made by build the first time. Processes that want the same one
// wait for each other. A folder gets its name only when it is whole; what a dead process left unfinished is removed.
func (m machine) keep(ctx context.Context, name string, build func(dir string) error) (string, error) {
	final := filepath.Join(m.cache, name)
	if isFolder(final) {
		return final, nil
	}
	held, err := lock(ctx, final+".lock")
	if err != nil {
		return "", err
	}
	defer held.Close()
	if isFolder(final) {
		return final, nil
	}
	return final, buildAside(final, build)
}

func buildAside(final string, build func(dir string) error) error {
	abandoned, _ := filepath.Glob(final + ".unfinished-*") // the pattern is well formed
	for _, dir := range abandoned {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp(filepath.Dir(final), filepath.Base(final)+".unfinished-*")
	if err != nil {
		return err
	}
	if err := errors.Join(os.Chmod(dir, 0o755), build(dir)); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	return os.Rename(dir, final)
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// lock keeps other processes out until the file is closed; the kernel also does that when the last holder dies.
func lock(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = poll(ctx, func() (bool, error) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
