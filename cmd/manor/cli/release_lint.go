package cli

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/manorhq/manor/cmd/manor/render"
	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/migrator"
)

func (a *app) releaseLint() *cobra.Command {
	var since, failOn, sarif string
	cmd := &cobra.Command{
		Use:   "lint DIR",
		Short: "Say what a migration directory would do to tenants, without a database",
		Long: `Read a migration directory and say what its author should know: what "release
push" would refuse, what keeps others from reading or writing, what breaks
applications, loses data, or fails on some tenants. It needs no control plane.

With --since VERSION it looks at the files after that version, as one change:
tables that they make are empty. Without it, at all files, each by itself.
A comment -- atlas:nolint, or -- atlas:nolint CODE…, silences warnings and
notes: at the top of a file, with a blank line after it, for the file; just
above a statement, for that one. The codes are explained in docs/warnings.md.

It exits with 0, or with 1 if there is something of --fail-on or graver.`,
		Example: "  manor release lint migrations/tenant\n  manor release lint migrations/tenant --since 20260907090000 --fail-on warning --sarif lint.sarif",
		Args:    args(1, 1, "the migration directory"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
	cmd.Flags().StringVar(&since, "since", "", "the `version` that tenants are at: look at the files after it")
	cmd.Flags().StringVar(&failOn, "fail-on", "error", "what makes the exit code 1: `error|warning|never`")
	cmd.Flags().StringVar(&sarif, "sarif", "", "write what was found to this `file` too, as SARIF 2.1.0")
	must(cmd.RegisterFlagCompletionFunc("fail-on", cobra.FixedCompletions([]string{"error", "warning", "never"}, cobra.ShellCompDirectiveNoFileComp)))
	cmd.RunE = a.run(func(_ *cobra.Command, args []string) error {
		if failOn != "error" && failOn != "warning" && failOn != "never" {
			return usage("one of error, warning, never", "--fail-on %q does not exist", failOn)
		}
		files, err := readMigrations(args[0])
		if err != nil {
			return err
		}
		report, err := migrator.Lint(files, since)
		if err != nil {
			return err
		}
		if sarif != "" {
			if err := writeSARIF(sarif, args[0], report); err != nil {
				return err
			}
		}
		if err := a.print.Lint(report, args[0]); err != nil {
			return err
		}
		if failOn != "never" && report.Has(controlplane.Severity(failOn)) {
			return &exit{code: exitError}
		}
		return nil
	})
	return cmd
}

// writeSARIF writes the report with the files named as seen from the working
// directory.
func writeSARIF(path, dir string, report *controlplane.Lint) error {
	document, err := render.SARIF(report.Items, fromHere(dir), Version())
	if err != nil {
		return err
	}
	if err := writeWhole(path, func(w io.Writer) error { _, err := w.Write(document); return err }); err != nil {
		return controlplane.Errorf(controlplane.Invalid, "the SARIF file cannot be written: %w", err)
	}
	return nil
}
