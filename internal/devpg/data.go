package devpg

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// initdbOptions make servers alike on every machine. --no-sync: what is lost with the machine is made anew.
var initdbOptions = []string{
	"--username=" + superuser, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync",
}

// startTemporary starts on a copy of a seed: copying takes a tenth of the time of initdb. The seed's password is then
// replaced, so that no server takes the password of another.
func (s *Server) startTemporary(ctx context.Context, m machine) error {
	seed, err := s.seed(ctx, m)
	if err != nil {
		return err
	}
	seedPassword, err := os.ReadFile(filepath.Join(seed, "password"))
	if err != nil {
		return err
	}
	if err := s.run.makeOwn(ctx, s.data()); err != nil {
		return err
	}
	if _, err := output(ctx, s.run.command("/", "cp", "-R", filepath.Join(seed, "data")+"/.", s.data())); err != nil {
		return fmt.Errorf("copying %s: %w", seed, err)
	}
	if err := s.launchOnOneOf(ctx, s.config.ports(0), string(seedPassword)); err != nil {
		return err
	}
	s.password = randomPassword()
	alter := fmt.Sprintf("ALTER ROLE %s PASSWORD '%s'", superuser, s.password)
	return s.execute(ctx, string(seedPassword), alter)
}

// seed returns the cached result of initdb, made once per version, account and options.
func (s *Server) seed(ctx context.Context, m machine) (string, error) {
	key := sha256.Sum256(fmt.Append(nil, s.bin, s.run, initdbOptions))
	name := "seed-" + s.bin.version + "-" + hex.EncodeToString(key[:6])
	return m.keep(ctx, name, func(dir string) error {
		password := randomPassword()
		if err := os.WriteFile(filepath.Join(dir, "password"), []byte(password), 0o600); err != nil {
			return err
		}
		return s.initdb(ctx, filepath.Join(dir, "data"), password)
	})
}

// initdb makes a data folder. The password goes through a file that only the account can read, since other users see a
// command line.
func (s *Server) initdb(ctx context.Context, dir, password string) error {
	if err := s.run.makeOwn(ctx, dir); err != nil {
		return err
	}
	passwordFile := dir + ".password"
	defer os.Remove(passwordFile)
	if err := os.WriteFile(passwordFile, []byte(password), 0o600); err != nil {
		return err
	}
	if err := s.run.give(passwordFile); err != nil {
		return err
	}
	args := append([]string{"--pgdata=" + dir, "--pwfile=" + passwordFile}, initdbOptions...)
	_, err := output(ctx, s.run.command(dir, s.bin.path("initdb"), args...))
	return err
}

// dataVersion is the major version that wrote a data folder, "" if there is none.
func dataVersion(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(text)), err
}

// hasty are the settings of a server whose data need not outlive a crash of the machine: the less of it reaches the
// disk, the sooner it is gone from there.
var hasty = map[string]string{
	"fsync": "off", "full_page_writes": "off", "checkpoint_timeout": "1h", "max_wal_size": "4GB",
	"checkpoint_flush_after": "0", "bgwriter_flush_after": "0",
}

// render is the configuration file. It lies outside the data folder, so that a start changes nothing in there, and
// takes in initdb's own; what ALTER SYSTEM wrote still wins.
func (c Config) render(port int) []byte {
	settings := map[string]string{"max_connections": "200"}
	if !c.Durable {
		maps.Copy(settings, hasty)
	}
	maps.Copy(settings, c.Settings)
	var b bytes.Buffer
	fmt.Fprintln(&b, "include 'data/postgresql.conf'")
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "%s = %s\n", name, quoteSetting(settings[name]))
	}
	fmt.Fprintf(&b, "listen_addresses = '127.0.0.1'\nport = %d\nunix_socket_directories = ''\n", port)
	return b.Bytes()
}

func quoteSetting(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`, "\n", `\n`).Replace(value) + "'"
}

func randomPassword() string { return rand.Text() }

// output runs a command to its end, and puts what it wrote into the error if it fails.
func output(ctx context.Context, cmd *exec.Cmd) (string, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), errors.Join(err, ctx.Err()), strings.TrimSpace(out.String()))
	}
	return out.String(), nil
}
