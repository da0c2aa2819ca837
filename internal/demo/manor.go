package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// patience is for one command, one that has been asked to end, and a service that starts.
const (
	patience      = 2 * time.Minute
	endPatience   = 10 * time.Second
	startPatience = 20 * time.Second
)

// The exit codes of manor the demo expects.
const (
	exitDone       = 0
	exitSomeFailed = 3
)

// manor runs the binary before the user's eyes and expects it to succeed.
func (d *demo) manor(ctx context.Context, args ...string) error {
	return d.manorEnds(ctx, exitDone, "", args...)
}

// manorEnds runs the binary, with a file as its standard input unless stdin is empty, and expects an exit code. The
// command has the real standard output and error, so that on a terminal its progress bar moves.
func (d *demo) manorEnds(ctx context.Context, code int, stdin string, args ...string) error {
	text := "manor " + shellText(args)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := d.child(ctx, args)
	if stdin != "" {
		file, err := os.Open(stdin)
		if err != nil {
			return err
		}
		defer file.Close()
		cmd.Stdin, text = file, text+" < "+stdin
	}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	d.command(text)
	return expectCode(cmd.Run(), text, code)
}

// read runs the binary unseen and decodes its JSON. It has the answers the narration is held against.
func (d *demo) read(ctx context.Context, into any, args ...string) error {
	text := "manor " + shellText(args)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := d.child(ctx, append(args, "--output", "json"))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := expectCode(cmd.Run(), text, exitDone); err != nil {
		return fmt.Errorf("%w\n%s", err, strings.TrimSpace(errs.String()))
	}
	if err := json.Unmarshal(out.Bytes(), into); err != nil {
		return fmt.Errorf("the JSON of %s cannot be read: %w", text, err)
	}
	return nil
}

// child is the binary, ready to run. When ctx ends it is asked to end, once more if a terminal's Ctrl-C did so already.
func (d *demo) child(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.bin, args...)
	cmd.Env = append(os.Environ(), d.env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = endPatience
	return cmd
}

func expectCode(err error, text string, want int) error {
	got := 0
	if ended, ok := errors.AsType[*exec.ExitError](err); ok {
		got = ended.ExitCode()
	} else if err != nil {
		return fmt.Errorf("%s did not run: %w", text, err)
	}
	if got != want {
		return fmt.Errorf("%s ended with exit code %d, expected was %d", text, got, want)
	}
	return nil
}

// shellText is a command line as one would type it.
func shellText(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		if quoted[i] = a; a == "" || strings.ContainsAny(a, " '\"$&|;()<>*?") {
			quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}
