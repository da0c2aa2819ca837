package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/manorhq/manor/controlplane"
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
//	as FILE SQL               runs SQL where the connection URI in FILE leads
//	lastid FILE VAR           puts the first id in a list as JSON into $VAR
//	until TEXT PROGRAM ARG…   runs a program until its output holds a text
//	answers PROGRAM ARG…      runs a program until it succeeds
func commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "as": as, "lastid": lastID, "until": until, "answers": answers}
}

func as(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: as FILE SQL")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, strings.TrimSpace(ts.ReadFile(args[0])))
	ts.Check(err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, args[1])
	ts.Check(err)
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until TEXT PROGRAM ARG…")
	}
	for deadline := time.Now().Add(time.Minute); ; {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if strings.Contains(ts.ReadFile("stdout"), args[0]) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%q did not come", args[0])
		}
	}
}

func answers(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: answers PROGRAM ARG…")
	}
	for deadline := time.Now().Add(time.Minute); ; {
		err := ts.Exec(args[0], args[1:]...)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not succeed: %v", args[0], err)
		}
	}
}

func lastID(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lastid FILE VAR")
	}
	var list controlplane.Page[struct {
		ID string `json:"id"`
	}]
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &list))
	if len(list.Items) == 0 {
		ts.Fatalf("the list is empty")
	}
	ts.Setenv(args[1], list.Items[0].ID)
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
		Setup: func(e *testscript.Env) error { forget(e); return nil },
	})
}

// forget takes the control planes out of a script's environment.
func forget(e *testscript.Env) {
	for _, name := range []string{"MANOR_SERVER", "MANOR_CATALOG", "MANOR_KEY_FILE"} {
		e.Setenv(name, "")
	}
	e.Setenv("GORACE", "atexit_sleep_ms=0") // else each command of a -race run sleeps a second at its end
}
