package pg

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// retryFor bounds how long a conflict with others is kept from the caller.
const retryFor = 30 * time.Second

// conflicts are the SQLSTATEs by which PostgreSQL says that somebody else was
// at the same thing. Where that thing now exists, the next try finds it.
var conflicts = []string{
	"40001", // serialization_failure
	"40P01", // deadlock_detected
	"42710", // duplicate_object
	"42P04", // duplicate_database
	"42P06", // duplicate_schema
	"42P07", // duplicate_table
	"55006", // object_in_use
}

// Retry repeats an idempotent operation while it fails for meeting others at
// the same rows of the catalog: parallel provisioning never shows that to a
// caller.
func Retry(ctx context.Context, op func() error) error {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 5*time.Millisecond, 500*time.Millisecond
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := op()
		if err != nil && !isConflict(err) {
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(retryFor))
	return err
}

func isConflict(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || isOurs(err) { // what is told to a person is decided
		return false
	}
	switch e.Code {
	case "23505": // the unique indexes of the system catalogs
		return e.SchemaName == "pg_catalog" || strings.HasPrefix(e.ConstraintName, "pg_")
	case "XX000":
		return isCatalogRace(e)
	}
	return slices.Contains(conflicts, e.Code)
}

// isCatalogRace recognises "tuple concurrently updated" and its kin, which have
// no SQLSTATE of their own: by the routine, since messages are translated.
func isCatalogRace(e *pgconn.PgError) bool {
	switch e.Routine {
	case "simple_heap_update", "simple_heap_delete":
		return true
	}
	return strings.Contains(e.Message, "concurrently") || strings.Contains(e.Message, "cache lookup failed")
}

// hasState reports whether err is PostgreSQL's with one of these SQLSTATEs.
func hasState(err error, states ...string) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains(states, e.Code)
}
