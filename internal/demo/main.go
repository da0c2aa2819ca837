package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() { os.Exit(run()) }

// run ends when the demo does. The first signal makes it clean up and end, the second one ends it at once; what then
// is left, guards take away.
func run() int {
	bin := flag.String("manor", "bin/manor", "the built `binary`")
	migrations := flag.String("migrations", "migrations/tenant", "the sample application's migration `directory`")
	version := flag.String("postgres", "", "major `version` of PostgreSQL (default: the newest installed)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop)
	d := &demo{screen: newScreen(os.Stdout), migrations: *migrations, postgres: *version}
	err := d.locate(*bin)
	if err == nil {
		err = d.play(ctx)
	}
	switch {
	case ctx.Err() != nil:
		d.say("Interrupted; everything the demo started is stopped and removed.")
		return 130
	case err != nil:
		fmt.Fprintln(os.Stderr, "Error:", err)
		return 1
	}
	return 0
}

// demo is one performance.
type demo struct {
	screen
	bin        string // the manor binary
	migrations string // release 2, as it is in the repository
	postgres   string
	stage
	fleet
	results []result
}

// act is a part of the demo. It returns, in a line, what it showed.
type act struct {
	title string
	play  func(ctx context.Context) (shown string, err error)
}

// result is how an act went.
type result struct {
	title, shown string
	took         time.Duration
	err          error
}

// locate finds the binary and keeps PostgreSQL's environment variables, which mean another server, away from both.
func (d *demo) locate(bin string) error {
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "PG") || strings.HasPrefix(name, "MANOR_") {
			os.Unsetenv(name)
		}
	}
	if _, err := os.Stat(bin); err != nil {
		return fmt.Errorf("manor is not built: %w; `make demo` builds it first", err)
	}
	abs, err := filepath.Abs(bin)
	d.bin = abs
	return err
}

// play goes through the acts, tears down whatever happened, and sums up.
func (d *demo) play(ctx context.Context) error {
	err := d.playActs(ctx, []act{
		{"A stage", d.setUp},
		{"Onboarding", d.onboard},
		{"Tenants at work", d.work},
		{"Rollout", d.rollOut},
		{"Retry and rollback", d.takeBack},
		{"Neighbours", d.trespass},
	})
	if err != nil && ctx.Err() == nil {
		d.tailLog()
	}
	begun := time.Now()
	if torn := d.tearDown(); torn != nil {
		err = errors.Join(err, fmt.Errorf("taking the stage down: %w", torn))
	} else if err == nil {
		d.results = append(d.results, result{title: "Stage taken down", shown: "servers, control plane and files are gone", took: time.Since(begun)})
	}
	if ctx.Err() == nil {
		d.summary(d.results)
	}
	return err
}

func (d *demo) playActs(ctx context.Context, acts []act) error {
	for i, a := range acts {
		d.heading(i, a.title)
		begun := time.Now()
		shown, err := a.play(ctx)
		d.results = append(d.results, result{a.title, shown, time.Since(begun), err})
		if err != nil {
			return fmt.Errorf("%s: %w", strings.ToLower(a.title), err)
		}
	}
	return nil
}

// inOrder runs steps until one fails.
func inOrder(ctx context.Context, steps ...func(context.Context) error) error {
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}
