package cli

import (
	"cmp"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

// defaultSocket is where serve listens unless it is told.
const defaultSocket = "unix:///run/manor.sock"

func (a *app) serveCommand() *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:   "serve [--listen unix:///path]",
		Short: "Run the control plane as a service on a unix socket",
		Long: `Run the control plane as a service, on the catalog that MANOR_CATALOG names. It
listens on a unix socket that only its owner can open (mode 0600), and on
nothing else: there are no tokens yet that could tell callers apart.`,
		Example: "  manor serve --listen unix:///run/manor.sock\n  MANOR_SERVER=unix:///run/manor.sock manor status",
		Args:    args(0, 0, ""),
	}
	cmd.Flags().StringVar(&listen, "listen", "", "`address` of the socket (default: MANOR_SERVER, or "+defaultSocket+")")
	cmd.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		e, err := readEnvironment()
		if err != nil {
			return err
		}
		path, err := socketPath(cmp.Or(listen, e.Server, defaultSocket))
		if err != nil {
			return err
		}
		return a.serve(cmd.Context(), e, path)
	})
	return cmd
}

// socketPath takes the path out of unix:///path. Anything else would let
// callers in whom nothing identifies.
func socketPath(address string) (string, error) {
	const why = "the API has no tokens and no TLS yet, so it is served on a unix socket only (mode 0600): unix:///run/manor.sock"
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Scheme != "unix":
		return "", usage(why, "refusing to listen on %q: it is not a unix socket", address)
	case u.Host != "" || !strings.HasPrefix(u.Path, "/"):
		return "", usage("unix:// and an absolute path: unix:///run/manor.sock", "refusing to listen on %q: the path is not absolute", address)
	}
	return u.Path, nil
}
