package cli

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/manorhq/manor/cmd/manor/render"
)

func TestTheFirstSignalIsAnsweredAndTakesKeyAndSocketAway(t *testing.T) {
	for _, kept := range []bool{false, true} {
		var errs bytes.Buffer
		d := &dev{app: &app{print: render.New(render.Config{Err: &errs})}, home: t.TempDir()}
		if kept {
			d.dir = d.home
		}
		for _, path := range []string{d.keyFile(), d.socket(), filepath.Join(d.home, "other")} {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		d.whenStopped(ctx)
		cancel()
		if err := d.takeDown(); err != nil {
			t.Error(err)
		}
		if errs.String() != "Stopping …\n" {
			t.Errorf("said %q", errs.String())
		}
		for path, stays := range map[string]bool{d.keyFile(): kept, d.socket(): false, filepath.Join(d.home, "other"): true} {
			if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) == stays {
				t.Errorf("--dir %v: %s: %v", kept, path, err)
			}
		}
	}
}

func TestDevThatEndsByItselfSaysNothingOfStopping(t *testing.T) {
	var errs bytes.Buffer
	d := &dev{app: &app{print: render.New(render.Config{Err: &errs})}, home: t.TempDir()}
	d.whenStopped(t.Context())
	if err := d.takeDown(); err != nil || errs.Len() > 0 {
		t.Errorf("%v, said %q", err, errs.String())
	}
}
