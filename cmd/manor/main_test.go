package main

import (
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes `manor` a command of the scripts: this binary, started anew,
// signals and exit code included.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"manor": func() { os.Exit(run()) },
	})
}

// commands are what the scripts have beside testscript's own:
//
//	exits CODE PROGRAM ARG…   runs a program and wants exactly this exit code
func commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){"exits": exits}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG…")
	}
	code := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		e, ok := err.(*exec.ExitError)
		if !ok {
			ts.Fatalf("%s did not run: %v", args[1], err)
		}
		code = strconv.Itoa(e.ExitCode())
	}
	if code != args[0] {
		ts.Fatalf("exit code %s, want %s", code, args[0])
	}
}

// TestWithoutService runs the scripts that need no control plane.
func TestWithoutService(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata", Cmds: commands(), RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			for _, name := range []string{"MANOR_SERVER", "MANOR_CATALOG", "MANOR_KEY_FILE", "MANOR_TEST"} {
				e.Setenv(name, "")
			}
			return nil
		},
	})
}
