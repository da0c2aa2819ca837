package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/pgtest"
)

// TestInProcess runs the scripts of testdata/plane with a control plane inside
// each command, as CI pipelines and small installations do.
func TestInProcess(t *testing.T) { runPlaneScripts(t, inProcess) }

// TestThroughASocket runs the same scripts against a service.
func TestThroughASocket(t *testing.T) { runPlaneScripts(t, throughASocket) }

// TestAlone runs the scripts of testdata/alone, which start what they need.
func TestAlone(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "alone"), Cmds: commands(), RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			forget(e)
			tb := &scriptTB{TB: t, env: e}
			// A script's own directory may be too long for a socket, and closed to PostgreSQL's user.
			dir, err := os.MkdirTemp("", "manor-script-")
			if err != nil {
				return err
			}
			tb.Cleanup(func() { _ = os.RemoveAll(dir) })
			e.Setenv("SOCKET", filepath.Join(dir, "s"))
			e.Setenv("DEV", filepath.Join(dir, "dev"))
			return errors.Join(os.Chmod(dir, 0o755), setUp(tb))
		},
	})
}

func runPlaneScripts(t *testing.T, connect func(*scriptTB) error) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "plane"), Cmds: commands(), RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			forget(e)
			tb := &scriptTB{TB: t, env: e}
			if err := setUp(tb); err != nil {
				return err
			}
			return connect(tb)
		},
	})
}

// setUp gives a script what it may need beside a control plane:
//
//	$SERVER          host:port of a PostgreSQL server that is no cluster yet
//	$LOGIN           a control login on it, its password in the file control.pw
//	$EMPTY_CATALOG   the URL of an empty database, $NAME its name
//	$COPY            the URL of a database $NAME_copy that is not there
//	$POSTGRES        the URL of a superuser of that server
//	v1, v2           migration directories: 2 versions, and 2 more of which the
//	                 third refuses notes with negative stars
//	slow             v1 and a version that takes a second
//	$TENANT          the migrations of the sample application
//	$CI              examples/ci/manor-ci.sh
func setUp(tb *scriptTB) error {
	server := pgtest.Server(tb)
	login, password := pgtest.ControlLogin(tb, server)
	sample, err := filepath.Abs("../../migrations/tenant")
	if err != nil {
		return err
	}
	ci, err := filepath.Abs("../../examples/ci/manor-ci.sh")
	if err != nil {
		return err
	}
	catalog := pgtest.Database(tb)
	u, err := url.Parse(catalog)
	if err != nil {
		return err
	}
	name := strings.TrimPrefix(u.Path, "/")
	u.Path += "_copy"
	for name, value := range map[string]string{
		"NAME": name, "COPY": u.String(), "POSTGRES": server.URL("postgres"),
		"SERVER": net.JoinHostPort(server.Host(), strconv.Itoa(server.Port())), "LOGIN": login,
		"EMPTY_CATALOG": catalog, "TENANT": sample, "CI": ci,
	} {
		tb.env.Setenv(name, value)
	}
	second := controlplanetest.Second()
	second["down/4_tags.sql"] = "DROP TABLE tags;\n"
	slow := controlplanetest.First()
	slow["3_slow.sql"] = "SELECT pg_sleep(1);\n"
	return errors.Join(
		writeFiles(tb.env.WorkDir, map[string][]byte{"control.pw": []byte(password + "\n")}),
		writeFiles(filepath.Join(tb.env.WorkDir, "v1"), controlplanetest.Summed(tb, controlplanetest.First())),
		writeFiles(filepath.Join(tb.env.WorkDir, "v2"), controlplanetest.Summed(tb, second)),
		writeFiles(filepath.Join(tb.env.WorkDir, "slow"), controlplanetest.Summed(tb, slow)),
	)
}

func writeFiles(dir string, files map[string][]byte) error {
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// inProcess names a catalog. Nobody works on it but the commands themselves.
func inProcess(tb *scriptTB) error {
	plane := controlplanetest.Open(tb, controlplanetest.Options{Idle: true})
	tb.env.Setenv("MODE", "process")
	tb.env.Setenv("MANOR_CATALOG", plane.Config.Catalog.Reveal())
	tb.env.Setenv("MANOR_KEY_FILE", plane.Config.KeyFile)
	return nil
}

// throughASocket serves a control plane on a socket in the script's directory.
func throughASocket(tb *scriptTB) error {
	plane := controlplanetest.Empty(tb)
	path := filepath.Join(tb.TempDir(), "s") // the script's own directory may be too long for one
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- plane.Daemon.Serve(ctx, path) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			tb.Errorf("serving: %v", err)
		}
	})
	plane.Eventually("the socket is there", func() (bool, error) {
		info, err := os.Stat(path)
		return err == nil && info.Mode()&fs.ModeSocket != 0, nil
	})
	tb.env.Setenv("MODE", "socket")
	tb.env.Setenv("MANOR_SERVER", "unix://"+path)
	return nil
}

// scriptTB is a test that ends with its script: what a script was given goes
// when it is over, and what cannot be given fails the script.
type scriptTB struct {
	testing.TB
	env *testscript.Env
}

func (s *scriptTB) Cleanup(f func())          { s.env.Defer(f) }
func (s *scriptTB) Fatal(args ...any)         { s.env.T().Fatal(args...) }
func (s *scriptTB) Fatalf(f string, a ...any) { s.env.T().Fatal(fmt.Sprintf(f, a...)) }
func (s *scriptTB) FailNow()                  { s.env.T().FailNow() }
func (s *scriptTB) Helper()                   {}
