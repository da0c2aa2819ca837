package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/manorhq/manor/cmd/manor/render"
	"github.com/manorhq/manor/controlplane"
)

// app is one call of the command line.
type app struct {
	in       io.Reader
	out, err io.Writer

	output  string // --output
	noColor bool   // --no-color
	verbose bool   // --verbose

	print *render.Printer // set before a command runs
	ran   bool            // flags and arguments were in order
}

// Main runs one command line and returns the exit code. When ctx ends the
// command finishes what it has in hand and returns.
func Main(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	a := &app{in: in, out: out, err: errs}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	called, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	if _, ok := errors.AsType[*exit](err); !ok && !a.ran {
		err = usage("`"+called.CommandPath()+" --help` shows how it is called", "%s", firstLine(err.Error()))
	}
	report(ctx, errs, err)
	return codeFor(ctx, err)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// runsAlone annotates a command that has subcommands, and does something of its own.
const runsAlone = "runs alone"

func (a *app) root() *cobra.Command {
	root := group("manor", "A control plane for PostgreSQL fleets", `
Manor gives every tenant a PostgreSQL schema or database of its own, keeps them
in a catalog, rolls schema changes out over all of them and takes them back.

Commands speak to a running service when MANOR_SERVER names one
(unix:///run/manor.sock), or run the control plane in their own process when
MANOR_CATALOG and MANOR_KEY_FILE say where the catalog is. To try it out:
manor dev.

Exit codes: 0 done, 1 error, 2 usage, 3 some targets failed, 4 paused,
5 rolled back, 6 refused or conflict, 130 interrupted.`, "  manor dev\n  manor status\n  manor tenant create acme --label ring=canary\n  manor rollout start --release v2 --wait")
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "{{if .Runnable}}", "{{if and .Runnable (or (not .HasAvailableSubCommands) (index .Annotations \""+runsAlone+"\"))}}", 1))
	root.PersistentFlags().StringVarP(&a.output, "output", "o", "table", "how results are written: `table|json|yaml`")
	root.PersistentFlags().BoolVar(&a.noColor, "no-color", false, "no colours, as with NO_COLOR")
	root.PersistentFlags().BoolVarP(&a.verbose, "verbose", "v", false, "show the log of a control plane in this process")
	must(root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp)))
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("`"+cmd.CommandPath()+" --help` lists the flags", "%s", firstLine(err.Error()))
	})
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.prepare() }
	root.AddGroup(&cobra.Group{ID: "fleet", Title: "The fleet:"}, &cobra.Group{ID: "plane", Title: "The control plane:"})
	addTo(root, "fleet", a.clusterCommand(), a.tenantCommand(), a.releaseCommand(), a.rolloutCommand(), a.strategyCommand(), a.statusCommand(), a.doctorCommand())
	addTo(root, "plane", a.devCommand(), a.serveCommand(), a.workerCommand(), a.catalogCommand())
	root.AddCommand(a.versionCommand())
	return root
}

func addTo(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
}

// prepare sets up the printer from the flags and the terminal.
func (a *app) prepare() error {
	format, err := render.ParseFormat(a.output)
	if err != nil {
		return usage("formats: table, json, yaml", "%s", err)
	}
	live, width, height := terminal(a.err)
	color := !a.noColor && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	outTTY, _, _ := terminal(a.out)
	a.print = render.New(render.Config{
		Out: a.out, Err: a.err, Format: format, OutColor: outTTY && color, ErrColor: live && color, Live: live, Width: width, Height: height,
	})
	return nil
}

func terminal(w io.Writer) (is bool, width, height int) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return false, 0, 0
	}
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return true, 0, 0
	}
	return true, width, height
}

// group is a command that only holds others: without one of them it shows
// its help, with an unknown one it is a usage error.
func group(use, shortText, long, example string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: shortText, Long: strings.TrimSpace(long), Example: example,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			hint := "`" + cmd.CommandPath() + " --help` lists the commands"
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				hint = "did you mean `" + cmd.CommandPath() + " " + near[0] + "`?"
			}
			return usage(hint, "unknown command %q for %q", args[0], cmd.CommandPath())
		},
	}
}

// run marks the moment at which flags and arguments have been accepted: what
// fails before it is a usage error.
func (a *app) run(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.ran = true
		return f(cmd, args)
	}
}

// args checks how many arguments there are, in the command's own words.
func args(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		hint := "`" + cmd.UseLine() + "`"
		switch {
		case len(given) < least:
			return usage(hint, "%s is missing", what)
		case most >= 0 && len(given) > most:
			return usage(hint, "unexpected argument %q", given[most])
		}
		return nil
	}
}

// must is for mistakes in the commands' own definitions.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func dryRunFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("dry-run", false, "check everything and change nothing")
}

// readSecret reads a password from a file, or from standard input for "-".
// One trailing newline is not part of it.
func (a *app) readSecret(path string) (string, error) {
	var raw []byte
	var err error
	if path == "-" {
		raw, err = io.ReadAll(a.in)
	} else {
		raw, err = os.ReadFile(path)
	}
	if err != nil {
		return "", controlplane.Errorf(controlplane.Invalid, "the password file cannot be read: %w", err)
	}
	secret := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
	if secret == "" || strings.ContainsAny(secret, "\n\x00") {
		return "", controlplane.Errorf(controlplane.Invalid, "the password in %s must be one line", path)
	}
	return secret, nil
}
