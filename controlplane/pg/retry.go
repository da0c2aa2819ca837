package pg

import (
	"context"
	"errors"
	"fmt"
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

// errVanished says that what was found a moment ago has been dropped.
var errVanished = errors.New("somebody else dropped it meanwhile")

// retryVanished is Retry for operations on what others may be dropping: the
// next try finds it gone. From PostgreSQL 16 on a right over a role may go a
// moment before the role does, so that a missing right is looked at twice.
func retryVanished(ctx context.Context, op func() error) error {
	refusals := 0
	return Retry(ctx, func() error {
		err := op()
		if hasState(err, "42501") {
			refusals++
		}
		if hasState(err, "42704", "3D000") || hasState(err, "42501") && refusals == 1 { // undefined_object, undefined_database
			return fmt.Errorf("%w: %w", err, errVanished)
		}
		return err
	})
}

func isConflict(err error) bool {
	if errors.Is(err, errVanished) {
		return true
	}
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

// catalogRaces are internal errors, which PostgreSQL never translates, that
// mean: the row was changed or dropped under our hands.
var catalogRaces = []string{"tuple concurrently updated", "tuple concurrently deleted", "cache lookup failed", "could not find tuple"}

func isCatalogRace(e *pgconn.PgError) bool {
	return slices.ContainsFunc(catalogRaces, func(text string) bool { return strings.HasPrefix(e.Message, text) })
}

// hasState reports whether err is PostgreSQL's with one of these SQLSTATEs.
func hasState(err error, states ...string) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains(states, e.Code)
}
