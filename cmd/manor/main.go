// Command manor is the control plane for PostgreSQL fleets on the command line:
// see package cli for its commands.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/manorhq/manor/cmd/manor/cli"
)

func main() { os.Exit(run()) }

// run ends when the command does. The first signal asks it to; the second one
// gets the default treatment.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return cli.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}
