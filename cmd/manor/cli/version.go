package cli

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build is set by the linker: -X github.com/manorhq/manor/cmd/manor/cli.build=v1.2.3.
var build string

// Version is the binary's own: set at build time, or else what Go recorded.
func Version() string {
	if build != "" {
		return build
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show the version of this binary", Example: "  manor version -o json",
		Args: args(0, 0, ""),
		RunE: a.run(func(*cobra.Command, []string) error {
			v := map[string]string{"version": Version(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
			return a.print.Done(v, "manor %s (%s, %s)", v["version"], v["go"], v["platform"])
		}),
	}
}
