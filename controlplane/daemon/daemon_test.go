package daemon_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/client"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/controlplane/daemon"
	"github.com/manorhq/manor/controlplane/secret"
	"github.com/manorhq/manor/internal/pgtest"
)

// refused checks the code of an error and what its sentence or hint says.
func refused(t *testing.T, what string, err error, code controlplane.Code, says string) {
	t.Helper()
	var e *controlplane.Error
	if !errors.As(err, &e) || e.Code != code || !strings.Contains(err.Error()+"\n"+e.Hint, says) {
		t.Errorf("%s: got %v (%+v), want %s: …%s…", what, err, e, code, says)
	}
}

// opens tries a configuration and closes what it opened.
func opens(t *testing.T, c daemon.Config) error {
	t.Helper()
	d, err := daemon.New(t.Context(), c)
	if err == nil {
		err = d.Stop(t.Context())
	}
	return err
}

func TestCatalogThatIsNotThisBinarysIsRefused(t *testing.T) {
	t.Parallel()
	c := daemon.Config{Catalog: controlplane.NewSecret(pgtest.Database(t)), KeyFile: filepath.Join(t.TempDir(), "key")}
	refused(t, "no catalog", opens(t, daemon.Config{KeyFile: c.KeyFile}), controlplane.Invalid, "MANOR_CATALOG")
	refused(t, "not migrated", opens(t, c), controlplane.Refused, "manor catalog migrate")
	if _, err := daemon.MigrateCatalog(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := opens(t, c); err != nil {
		t.Fatalf("migrated: %v", err)
	}
	conn := controlplanetest.Superuser(t, pgtest.Server(t), catalogOf(t, c))
	if _, err := conn.Exec(t.Context(), `INSERT INTO atlas_schema_revisions SELECT '99990101000000', description, type, applied, total, now(), 0, '', '', hash, NULL, operator_version
		FROM atlas_schema_revisions WHERE applied = total LIMIT 1`); err != nil {
		t.Fatal(err)
	}
	refused(t, "newer", opens(t, c), controlplane.Refused, "newer than this binary")
	_, err := daemon.MigrateCatalog(t.Context(), c)
	refused(t, "migrate a newer one", err, controlplane.Refused, "newer than this binary")
	if status, err := daemon.CatalogStatus(t.Context(), c); err != nil || !status.Newer {
		t.Errorf("status: %+v, %v", status, err)
	}
}

// catalogOf is the name of the database that a configuration points to.
func catalogOf(t *testing.T, c daemon.Config) string {
	t.Helper()
	path, _, _ := strings.Cut(c.Catalog.Reveal(), "?")
	return path[strings.LastIndex(path, "/")+1:]
}

func TestKeyFileThatIsNotTheCatalogsIsRefused(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	dir := t.TempDir()
	c := p.Config
	c.KeyFile = filepath.Join(dir, "missing")
	refused(t, "missing", opens(t, c), controlplane.Invalid, "missing")
	_, err := daemon.MigrateCatalog(t.Context(), c)
	if _, statErr := os.Stat(c.KeyFile); err == nil || statErr == nil {
		t.Errorf("a catalog that has sealed passwords got another key: %v", err)
	}
	c.KeyFile = filepath.Join(dir, "another")
	if _, err := secret.CreateKeyring(c.KeyFile); err != nil {
		t.Fatal(err)
	}
	refused(t, "another", opens(t, c), controlplane.Refused, "password of cluster one")
	if err := os.Chmod(c.KeyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	refused(t, "readable by others", opens(t, c), controlplane.Refused, "chmod 600")
	c.KeyFile = filepath.Join(dir, "garbage")
	if err := os.WriteFile(c.KeyFile, []byte("secret of another kind"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := opens(t, c); err == nil || strings.Contains(err.Error(), "another kind") {
		t.Errorf("garbage: %v", err)
	}
}

// serve serves a plane on a socket and returns when it answers. end stops it.
func serve(t *testing.T, p *controlplanetest.Plane, path string) (end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- p.Daemon.Serve(ctx, path) }()
	c, err := client.Dial("unix://" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p.Eventually("the socket answers", func() (bool, error) {
		select {
		case err := <-served:
			return false, err
		default:
		}
		_, err := c.Health(t.Context())
		return err == nil, nil
	})
	return func() error { cancel(); return <-served }
}

func TestSocketIsPrivateAndServedByOneProcess(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	dir, err := os.MkdirTemp("", "manor-test-") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	end := serve(t, p, path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || info.Mode()&os.ModeSocket == 0 {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}
	refused(t, "in use", p.Daemon.Serve(t.Context(), path), controlplane.Conflict, "another process serves")
	if err := end(); err != nil {
		t.Errorf("serving ended with %v", err)
	}

	dead, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false) // as after kill -9
	_ = dead.Close()
	if err := serve(t, p, path)(); err != nil {
		t.Errorf("on a dead process's socket: %v", err)
	}

	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, "a file", p.Daemon.Serve(t.Context(), plain), controlplane.Refused, "not a socket")
	if kept, err := os.ReadFile(plain); err != nil || string(kept) != "data" {
		t.Errorf("the file is %q, %v", kept, err)
	}
}

// TestStopLeavesNoGoroutine is not parallel: it counts those of the process.
func TestStopLeavesNoGoroutine(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Run("a life", func(t *testing.T) {
		p := controlplanetest.New(t)
		p.Push("v1", controlplanetest.First())
		p.Create(controlplane.NewTenant{}, "acme")
		p.Create(controlplane.NewTenant{Isolation: controlplane.IsolationDatabase}, "globex")
	})
	goleak.VerifyNone(t, before)
}
