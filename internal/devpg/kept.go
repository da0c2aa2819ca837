package devpg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

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
	if err := s.launchOnOneOf(ctx, s.config.ports(memory.Port), s.password); err != nil {
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
	unfinished := s.memoryFile() + ".unfinished"
	if err := os.WriteFile(unfinished, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(unfinished, s.memoryFile())
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
