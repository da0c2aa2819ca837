package cli

import (
	"context"
	"errors"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/cobra"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/client"
)

// environment is what commands read from the environment.
type environment struct {
	Server  string              `env:"MANOR_SERVER"`
	Catalog controlplane.Secret `env:"MANOR_CATALOG"` // a URL, perhaps with a password
	KeyFile string              `env:"MANOR_KEY_FILE"`
}

func readEnvironment() (environment, error) {
	e, err := env.ParseAs[environment]()
	if err != nil {
		return e, usage("", "the environment cannot be read: %v", err)
	}
	return e, nil
}

// session is a way to a control plane.
type session struct {
	*client.Client
	inProcess bool // it lives in this process and ends with the command
	close     func()
}

// open finds the control plane: the service MANOR_SERVER names, or else one in
// this process on the catalog MANOR_CATALOG names. workers says whether such a
// one must work on jobs too.
func (a *app) open(cmd *cobra.Command, workers bool) (*session, error) {
	e, err := readEnvironment()
	if err != nil {
		return nil, err
	}
	switch {
	case e.Server != "":
		return dial(e.Server)
	case !e.Catalog.Empty():
		return a.openInProcess(cmd.Context(), e, workers)
	}
	return nil, usage("export MANOR_SERVER=unix:///path of a running service, or MANOR_CATALOG=postgres://… with MANOR_KEY_FILE=FILE; `manor dev` starts one to try",
		"no control plane is named: MANOR_SERVER and MANOR_CATALOG are both empty")
}

// dial makes a client of a running service.
func dial(server string) (*session, error) {
	c, err := client.Dial(server)
	if err != nil {
		hint := "give unix:///path/to/socket or http://127.0.0.1:PORT"
		if e, ok := errors.AsType[*controlplane.Error](err); ok && e.Hint != "" {
			hint = e.Hint
		}
		return nil, usage(hint, "MANOR_SERVER: %v", err)
	}
	return &session{Client: c, close: c.Close}, nil
}

// head is the cursor from which a command that is going to wait follows
// events: taken before it asks for anything, it misses nothing.
func (s *session) head(ctx context.Context, wait bool) (string, error) {
	if !wait {
		return "", nil
	}
	return s.EventsHead(ctx)
}

// with opens the control plane for the time of f.
func (a *app) with(cmd *cobra.Command, workers bool, f func(ctx context.Context, s *session) error) error {
	s, err := a.open(cmd, workers)
	if err != nil {
		return err
	}
	defer s.close()
	return f(cmd.Context(), s)
}
