package devpg

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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
	if err := s.launchAnywhere(ctx, s.config.Port, string(seedPassword)); err != nil {
		return err
	}
	s.password = randomPassword()
	// Without synchronous_commit a crash at once would bring the seed's password back.
	alter := fmt.Sprintf("SET synchronous_commit = on; ALTER ROLE %s PASSWORD '%s'", superuser, s.password)
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

// kept is what a Dir remembers from one start to the next, in devpg.json.
type kept struct {
	Password string `json:"password"`
	Port     int    `json:"port,omitzero"`
}

// startKept starts on the data in Dir, or initialises it. The password is written down before anything uses it, and
// data gets its name only when it is whole, so that a death at any point leaves a Dir that can be started.
func (s *Server) startKept(ctx context.Context) error {
	memory, err := s.recall()
	if err != nil {
		return err
	}
	s.password = memory.Password
	if err := s.initKept(ctx); err != nil {
		return err
	}
	port := s.config.Port
	if port == 0 && memory.Port != 0 && isFree(memory.Port) {
		port = memory.Port
	}
	if err := s.launchAnywhere(ctx, port, s.password); err != nil {
		return err
	}
	memory.Port = s.port
	return s.remember(memory)
}

func (s *Server) recall() (kept, error) {
	text, err := os.ReadFile(s.memoryFile())
	if errors.Is(err, fs.ErrNotExist) {
		if version, err := dataVersion(s.data()); version != "" || err != nil {
			return kept{}, fmt.Errorf("%s has data, but %s with its password is missing", s.base, s.memoryFile())
		}
		memory := kept{Password: randomPassword()}
		return memory, s.remember(memory)
	}
	if err != nil {
		return kept{}, err
	}
	var memory kept
	if err := json.Unmarshal(text, &memory); err != nil {
		return kept{}, fmt.Errorf("reading %s: %w", s.memoryFile(), err)
	}
	return memory, nil
}

func (s *Server) remember(memory kept) error {
	text, err := json.Marshal(memory)
	if err != nil {
		return err
	}
	return os.WriteFile(s.memoryFile(), append(text, '\n'), 0o600)
}

func (s *Server) memoryFile() string { return filepath.Join(s.base, "devpg.json") }

func (s *Server) initKept(ctx context.Context) error {
	version, err := dataVersion(s.data())
	if err != nil || version != "" {
		return err
	}
	unfinished := s.data() + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	if err := s.initdb(ctx, unfinished, s.password); err != nil {
		return err
	}
	return os.Rename(unfinished, s.data())
}

// dataVersion is the major version that wrote a data folder, "" if there is none.
func dataVersion(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(text)), err
}

// render is the configuration file. It lies outside the data folder, so that a start changes nothing in there, and
// takes in initdb's own; what ALTER SYSTEM wrote still wins.
func (c Config) render(port int) []byte {
	settings := map[string]string{"max_connections": "200"}
	if !c.Durable {
		maps.Copy(settings, map[string]string{"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"})
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
