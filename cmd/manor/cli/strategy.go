package cli

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/manorhq/manor/cmd/manor/render"
	"github.com/manorhq/manor/controlplane"
)

// strategySchema is made by `make generate` from the Go type.
//
//go:embed strategy.schema.json
var strategySchema []byte

const strategyExample = `waves:                                # the first that matches takes a tenant
  - {name: canary, match: 'tenant.labels.ring == "canary"', soak: 15m}
  - {name: early, percent: 10, soak: 1h}
  - {name: rest, order_by: [tenant.region, tenant.slug]}
limits:   {total: 64, per_cluster: 8, per_database: 4}
budget:   {failures: 5, ratio: 0.01}  # whichever is reached first
on_breach: pause                      # or rollback, rollback_wave
gates:                                # after each wave, before the next
  - {sql: "select count(*) = 0 from pg_stat_activity where wait_event_type = 'Lock'", on: cluster}
  - {http: "http://127.0.0.1:9000/ready", expect: 200, for: 5m}
  - {approval: true}
timeouts: {lock: 500ms, statement: 30s}
retry:    {attempts: 5, backoff: 1s, max: 1m}
windows:  [{match: 'tenant.region == "eu"', hours: "01:00-05:00", zone: Europe/Berlin}]
check:    schema
snapshot: {keep: 72h, timeout: 10m}   # a copy of each tenant's own database before
`

func (a *app) strategyCommand() *cobra.Command {
	cmd := group("strategy", "Keep how rollouts go about their tenants", `
A strategy says in which waves a rollout changes its tenants, how many at a time,
what is waited for between two waves, how many may fail, and when it may work:

`+indented(strategyExample)+`
Every part may be left out. Editors check a file whose first line is
# yaml-language-server: $schema=https://raw.githubusercontent.com/manorhq/manor/main/docs/strategy.schema.json
or the name of a file that "manor strategy schema" wrote.`, "  manor strategy apply careful -f strategy.yaml\n  manor rollout start --release v2 --strategy careful")
	cmd.Aliases = []string{"strategies"}
	cmd.AddCommand(a.strategyApply(), a.strategyList(), a.strategyShow(), a.strategySchema())
	return cmd
}

func indented(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ") + "\n"
}

func (a *app) strategySchema() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON schema of a strategy file", Example: "  manor strategy schema > strategy.schema.json",
		Long: `Print the JSON schema of a strategy file, for editors and pipelines. It needs no
control plane. A file whose first line is
# yaml-language-server: $schema=strategy.schema.json
is checked against it as it is written.`,
		Args: args(0, 0, ""),
		RunE: a.run(func(*cobra.Command, []string) error {
			if a.print.Format == render.YAML {
				return a.print.Line(json.RawMessage(strategySchema))
			}
			_, err := a.out.Write(strategySchema)
			return err
		}),
	}
}

func (a *app) strategyApply() *cobra.Command {
	cmd := &cobra.Command{
		Use: "apply NAME -f FILE", Short: "Keep a strategy under a name",
		Long: `Keep a strategy under a name, in place of one that was kept there before.
Rollouts that run keep the one they were started with.`,
		Example: "  manor strategy apply careful -f strategy.yaml", Args: args(1, 1, "the strategy's name"),
	}
	file := cmd.Flags().StringP("file", "f", "", "`file` with the strategy, YAML or JSON; - is standard input")
	dryRun := dryRunFlag(cmd)
	cmd.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		if *file == "" {
			return usage("give it with -f strategy.yaml", "the file with the strategy is missing")
		}
		wanted, err := a.readStrategy(*file)
		if err != nil {
			return err
		}
		wanted.Name = args[0]
		return a.with(cmd, false, func(ctx context.Context, s *session) error {
			kept, err := s.ApplyStrategy(ctx, *wanted, *dryRun)
			if err != nil {
				return err
			}
			if *dryRun {
				return a.print.Done(kept, "Strategy %s is valid. Nothing was changed.", kept.Name)
			}
			return a.print.Done(kept, "Strategy %s is kept. Use it: manor rollout start --release NAME --strategy %s", kept.Name, kept.Name)
		})
	})
	return cmd
}

func (a *app) strategyList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the strategies that are kept", Example: "  manor strategy list",
		Args: args(0, 0, ""),
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd, false, func(ctx context.Context, s *session) error {
				strategies, err := s.ListStrategies(ctx)
				if err != nil {
					return err
				}
				return a.print.Strategies(strategies)
			})
		}),
	}
}

func (a *app) strategyShow() *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show a strategy", Example: "  manor strategy show careful\n  manor strategy show careful -o yaml > strategy.yaml",
		Args: args(1, 1, "the strategy's name"),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			return a.with(cmd, false, func(ctx context.Context, s *session) error {
				strategy, err := s.ShowStrategy(ctx, args[0])
				if err != nil {
					return err
				}
				return a.print.Strategy(strategy)
			})
		}),
	}
}

// readStrategy reads a file, YAML or JSON, that holds nothing but a strategy.
func (a *app) readStrategy(path string) (*controlplane.Strategy, error) {
	content, err := []byte(nil), error(nil)
	if path == "-" {
		path = "standard input"
		content, err = io.ReadAll(a.in)
	} else {
		content, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, controlplane.Errorf(controlplane.Invalid, "the strategy cannot be read: %w", err)
	}
	s, err := parseStrategy(content)
	if err != nil {
		return nil, controlplane.Errorf(controlplane.Invalid, "%s: %s", path, strings.TrimPrefix(err.Error(), "json: ")).WithHint("`manor strategy --help` shows one")
	}
	return s, s.Validate()
}

// parseStrategy goes through JSON, so that names and checks are the same everywhere.
func parseStrategy(content []byte) (*controlplane.Strategy, error) {
	var document map[string]any
	if err := yaml.Unmarshal(content, &document); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(document)
	if err != nil {
		return nil, err
	}
	s := &controlplane.Strategy{}
	strict := json.NewDecoder(bytes.NewReader(raw))
	strict.DisallowUnknownFields()
	return s, strict.Decode(s)
}
