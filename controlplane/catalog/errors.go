package catalog

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
)

// IsUnique reports whether err is a violation of the unique index or constraint
// of that name, or of the one on that column ("slug") or columns ("rollout_id, number").
func IsUnique(err error, constraintOrColumn string) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pg.Code != "23505" {
		return false
	}
	// DETAIL is "Key (slug)=(acme) already exists."; it is compared, never passed on.
	return pg.ConstraintName == constraintOrColumn || strings.HasPrefix(pg.Detail, "Key ("+constraintOrColumn+")=")
}

// explain turns trouble with the server into an *Error; other errors stay.
func explain(err error, catalog string) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*controlplane.Error](err); ok {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) && !isConnect(err) {
		return err
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return explainServer(pg, err, catalog)
	}
	if isConnect(err) || isBroken(err) {
		return unavailable(err, catalog, "it does not answer")
	}
	return err
}

func isConnect(err error) bool {
	_, ok := errors.AsType[*pgconn.ConnectError](err)
	return ok
}

func isBroken(err error) bool {
	_, isNet := errors.AsType[net.Error](err)
	return isNet || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed)
}

func explainServer(pg *pgconn.PgError, err error, catalog string) error {
	switch class := pg.Code[:min(2, len(pg.Code))]; {
	case class == "28" || pg.Code == "3D000" || pg.Code == "42501" && isConnect(err):
		e := controlplane.Errorf(controlplane.Refused, "connecting to the catalog, %s: %s", catalog, pg.Message)
		e.Cause = err
		return e.WithHint("check the login, the password and the database in MANOR_CATALOG")
	case pg.Code == readOnly:
		return unavailable(err, catalog, "it takes no writes")
	case class == "08" || slices.Contains([]string{"53300", "57P01", "57P02", "57P03"}, pg.Code):
		return unavailable(err, catalog, pg.Message)
	}
	return err
}

func unavailable(err error, catalog, why string) error {
	return &controlplane.Error{
		Code: controlplane.Unavailable, Message: "the catalog, " + catalog + ", is not available: " + why,
		Hint: "is its PostgreSQL running, and does MANOR_CATALOG name it?", Cause: err,
	}
}

// Explain turns trouble with the catalog's server, met outside [Catalog.InTx],
// into an *Error that names the server; other errors stay as they are.
func (c *Catalog) Explain(err error) error {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == readOnly && c.watch.copied.Load() {
		return c.isCopy(err)
	}
	return explain(err, c.where())
}

// readOnly is the SQLSTATE of a write that the server, or our own setting, does
// not take.
const readOnly = "25006"
