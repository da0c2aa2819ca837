package pg

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
)

// ErrForeign says that a database, role or schema of that name exists and is
// not ours. Nothing was done to it.
var ErrForeign = errors.New("it belongs to somebody else")

func foreign(format string, args ...any) error {
	return controlplane.Errorf(controlplane.Conflict, format+": %w", append(args, ErrForeign)...)
}

// ConnectError turns pgx's error of a failed connection into ours. where names
// the other end for people; "" takes the address from the error.
func ConnectError(where string, err error) error {
	c, tried := errors.AsType[*pgconn.ConnectError](err) // if not, a pool gave up
	if ours, ok := errors.AsType[*controlplane.Error](err); ok && tried {
		return ours // what a dialer of ours said, without the configuration
	}
	if err == nil || isOurs(err) {
		return err
	}
	user := ""
	if tried {
		// The error holds the whole configuration, password included: keep what is below it.
		err, user = errors.Unwrap(c), c.Config.User
		if where == "" {
			where = "PostgreSQL at " + addresses(c.Config)
		}
	}
	e := cannotConnect(where, user, err)
	if tried {
		e.Cause = &unconnected{e.Cause}
	}
	return e
}

func cannotConnect(where, user string, err error) *controlplane.Error {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return turnedAway(where, user, e, err)
	}
	if e := badTLS(where, err); e != nil {
		return e
	}
	return (&controlplane.Error{Code: controlplane.Unavailable, Cause: err,
		Message: fmt.Sprintf("cannot reach %s: %s", where, reason(err))}).
		WithHint("check the address, that PostgreSQL runs and that nothing blocks the way")
}

func isOurs(err error) bool {
	_, ok := errors.AsType[*controlplane.Error](err)
	return ok
}

func addresses(c *pgconn.Config) string {
	all := []string{net.JoinHostPort(c.Host, fmt.Sprint(c.Port))}
	for _, f := range c.Fallbacks {
		all = append(all, net.JoinHostPort(f.Host, fmt.Sprint(f.Port)))
	}
	return strings.Join(all, ",")
}

// turnedAway is a server that answered, and not with a session.
func turnedAway(where, user string, e *pgconn.PgError, cause error) *controlplane.Error {
	code, hint := controlplane.Unavailable, ""
	switch {
	case e.Code == "28P01":
		code, hint = controlplane.Refused, "check the login's name and password"
	case e.Code == "28000":
		code, hint = controlplane.Refused, "check pg_hba.conf, the TLS mode, and that the role may log in"
	case e.Code == "3D000":
		code, hint = controlplane.Refused, "create the database, or give another one"
	case e.Code == "42501":
		code, hint = controlplane.Refused, "the role needs CONNECT on the database"
	case e.Code == "08P01" && strings.Contains(e.Message, "startup parameter"):
		code, hint = controlplane.Refused, "this is a pooler: give PostgreSQL's own address, and the pooler as the address for applications"
	case e.Code == "53300":
		hint = "all connections of the server are taken: raise max_connections, or try again later"
	case e.Code == "57P03", e.Code == "55000":
		hint = "try again in a moment"
	}
	as := ""
	if user != "" {
		as = " as " + user
	}
	return (&controlplane.Error{Code: code, Cause: cause, Message: fmt.Sprintf("cannot log in to %s%s: %s (SQLSTATE %s)", where, as, e.Message, e.Code)}).WithHint("%s", hint)
}

func badTLS(where string, err error) *controlplane.Error {
	var verification *tls.CertificateVerificationError
	switch {
	case errors.As(err, &verification):
		return controlplane.Errorf(controlplane.Refused, "cannot trust %s: %w", where, verification.Err).
			WithHint("give the root certificate that signed the server's, or another TLS mode")
	case strings.Contains(err.Error(), "server refused TLS connection"):
		return (&controlplane.Error{Code: controlplane.Refused, Cause: err, Message: fmt.Sprintf("%s does not offer TLS", where)}).
			WithHint("turn ssl on in the server; TLS mode disable sends everything in the clear")
	case strings.Contains(err.Error(), "tls error"):
		return (&controlplane.Error{Code: controlplane.Refused, Cause: err, Message: fmt.Sprintf("cannot agree on TLS with %s: %s", where, innermost(err))}).
			WithHint("check the TLS mode and the certificates")
	}
	return nil
}

// reason is the last cause of a failed dial, in few words.
func reason(err error) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return "no host is called " + dns.Name
	}
	switch {
	case errors.Is(err, context.Canceled):
		return "interrupted"
	case pgconn.Timeout(err), errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, pgconn.ErrReadOnlyConnection):
		return "none of the hosts takes writes"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return "it hung up"
	}
	return innermost(err)
}

func innermost(err error) string {
	for {
		switch e := err.(type) {
		case interface{ Unwrap() []error }:
			errs := e.Unwrap()
			err = errs[len(errs)-1]
		case interface{ Unwrap() error }:
			if e.Unwrap() == nil {
				return err.Error()
			}
			err = e.Unwrap()
		default:
			return err.Error()
		}
	}
}

// fault adds to an error what was attempted, and makes it a *controlplane.Error
// where there is something to tell a person. DETAIL and SQL stay out of it.
func fault(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf(format, args...)
	if isOurs(err) {
		return fmt.Errorf("%s: %w", what, err)
	}
	e, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case ok && e.Code == "42501":
		return controlplane.Errorf(controlplane.Refused, "%s: %w", what, err).
			WithHint("the control login needs CREATEDB and CREATEROLE; from PostgreSQL 16 on it manages only roles that it made itself: GRANT the others TO it WITH ADMIN OPTION")
	case ok && (isOutage(e.Code) || e.SeverityUnlocalized == "FATAL"), !ok && isBroken(err):
		return controlplane.Errorf(controlplane.Unavailable, "%s: %w", what, err).WithHint("try again")
	}
	return fmt.Errorf("%s: %w", what, err)
}

// isOutage: the server goes down, or has no room left (connections, memory, disk).
func isOutage(state string) bool {
	return strings.HasPrefix(state, "08") || strings.HasPrefix(state, "57P") || strings.HasPrefix(state, "53") || state == "25006"
}

// isBroken: the connection is gone, and with it the answer.
func isBroken(err error) bool {
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, pgconn.ErrConnClosed)
}
