package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/manorhq/manor/controlplane"
)

func (a *app) tenantPsql() *cobra.Command {
	return &cobra.Command{
		Use: "psql SLUG [-- PSQL-ARGUMENT…]", Short: "Open psql as a tenant's login",
		Long: `Open psql as a tenant's login, in its schema and with its rights only. What
follows -- goes to psql. The password reaches psql through a file that is
readable for you only and removed afterwards.`,
		Example: "  manor tenant psql acme\n  manor tenant psql acme -- -c 'select count(*) from issues'",
		Args: func(cmd *cobra.Command, given []string) error {
			ours := given
			if n := cmd.ArgsLenAtDash(); n >= 0 {
				ours = given[:n]
			}
			return args(1, 1, "the tenant's slug")(cmd, ours)
		},
		ValidArgsFunction: a.completeTenants,
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			program, err := exec.LookPath("psql")
			if err != nil {
				return controlplane.Errorf(controlplane.Unavailable, "psql is not installed, or not in PATH").
					WithHint("apt install postgresql-client, dnf install postgresql, brew install libpq, apk add postgresql-client")
			}
			var dsn *controlplane.DSN
			err = a.with(cmd, false, func(ctx context.Context, s *session) error {
				dsn, err = s.TenantDSN(ctx, args[0], true)
				return err
			})
			if err != nil {
				return err
			}
			return a.psql(program, dsn, args[1:])
		}),
	}
}

// psql runs psql until it ends, which no signal to us hastens: it is psql's to
// say what an interrupt means. Signals are caught before there is a file with
// the password, so that none leaves it behind.
func (a *app) psql(program string, dsn *controlplane.DSN, args []string) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	passfile, err := writePassfile(dsn)
	if err != nil {
		return err
	}
	defer os.Remove(passfile)
	cmd := exec.Command(program, append([]string{"--no-password"}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.in, a.out, a.err
	cmd.Env = append(withoutPG(os.Environ()), psqlEnv(dsn, passfile)...)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("psql did not start: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			return psqlExit(err)
		case sig := <-signals:
			// A terminal sends its interrupt to psql too.
			if tty, _, _ := terminal(a.err); sig != os.Interrupt || !tty {
				_ = cmd.Process.Signal(sig)
			}
		}
	}
}

// psqlExit passes psql's exit code on; it has said itself what went wrong.
func psqlExit(err error) error {
	e, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return err
	}
	if status, ok := e.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return &exit{code: 128 + int(status.Signal())}
	}
	return &exit{code: e.ExitCode()}
}

// writePassfile writes the password where libpq looks for it, readable for
// its owner only.
func writePassfile(dsn *controlplane.DSN) (string, error) {
	f, err := os.CreateTemp("", "manor-pgpass-*") // mode 0600
	if err != nil {
		return "", fmt.Errorf("the file with the password cannot be made: %w", err)
	}
	escape := strings.NewReplacer(`\`, `\\`, `:`, `\:`)
	_, err = fmt.Fprintf(f, "*:*:%s:%s:%s\n", escape.Replace(dsn.Database), escape.Replace(dsn.User), escape.Replace(dsn.Password))
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(f.Name())
		return "", fmt.Errorf("the file with the password cannot be written: %w", err)
	}
	return f.Name(), nil
}

// psqlEnv says in libpq's variables where and as whom to connect.
func psqlEnv(dsn *controlplane.DSN, passfile string) []string {
	var hosts, ports []string
	for _, hp := range dsn.Hosts {
		host, port, err := net.SplitHostPort(hp)
		if err != nil {
			host, port = hp, "5432"
		}
		hosts, ports = append(hosts, host), append(ports, port)
	}
	env := []string{
		"PGHOST=" + strings.Join(hosts, ","), "PGPORT=" + strings.Join(ports, ","), "PGDATABASE=" + dsn.Database, "PGUSER=" + dsn.User,
		"PGPASSFILE=" + passfile, "PGAPPNAME=manor psql " + dsn.Tenant, "PGCONNECT_TIMEOUT=10",
	}
	for name, value := range map[string]string{
		"PGSSLMODE": dsn.TLS.Mode, "PGSSLROOTCERT": dsn.TLS.RootCert, "PGSSLCERT": dsn.TLS.Cert, "PGSSLKEY": dsn.TLS.Key,
	} {
		if value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// withoutPG takes out libpq's variables: they mean another server.
func withoutPG(env []string) []string {
	var kept []string
	for _, v := range env {
		if !strings.HasPrefix(v, "PG") {
			kept = append(kept, v)
		}
	}
	return kept
}
