package pg

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
)

// IsMade reports whether a database is there for its owner to look into: not
// only begun, and not being dropped already.
func IsMade(ctx context.Context, control *pgx.Conn, d Database) (bool, error) {
	if err := checkNames(d.Name, d.Owner, d.Connect); err != nil {
		return false, err
	}
	state, err := d.state(ctx, control)
	return state == made, err
}

// CloseDatabase begins to drop a database: from then on nobody gets in any more,
// and [DropUnlessMade] drops it. still is asked when all is ready, before it
// counts: an error of it leaves the database as it was.
func CloseDatabase(ctx context.Context, control *pgx.Conn, d Database, still func() error) error {
	return retryVanished(ctx, func() error {
		state, err := d.state(ctx, control)
		if err != nil || state != made { // somebody else was faster
			return err
		}
		return pgx.BeginFunc(ctx, control, func(pgx.Tx) error {
			if err := d.doom(ctx, control, state); err != nil {
				return err
			}
			return still()
		})
	})
}

// CheckEmpty refuses a database that holds homes: by their markers, whosever
// they are, or by the names of its schemas.
func CheckEmpty(ctx context.Context, owner *pgx.Conn) error {
	database := owner.Config().Database
	homes, err := findHomes(ctx, owner)
	if err != nil || len(homes) == 0 {
		return err
	}
	return controlplane.Errorf(controlplane.Refused, "database %s holds homes that this catalog does not know: %s", database, someOf(homes)).
		WithHint("`manor doctor` lists them: look at them, and drop by hand what is to go")
}

// ProveEmpty is CheckEmpty that lets no marker come until the transaction ends.
func ProveEmpty(ctx context.Context, tx pgx.Tx) error {
	var markers bool
	if err := tx.QueryRow(ctx, "SELECT to_regclass('manor.marker') IS NOT NULL").Scan(&markers); err != nil {
		return fault(err, "look for the markers")
	}
	if markers {
		_, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '5s'; LOCK TABLE manor.marker IN SHARE MODE")
		if hasState(err, "55P03") { // lock_not_available
			return controlplane.Errorf(controlplane.Conflict, "somebody is at work in database %s: %w", tx.Conn().Config().Database, err).WithHint("try again")
		}
		if err != nil {
			return fault(err, "lock the markers")
		}
	}
	return CheckEmpty(ctx, tx.Conn())
}

// findHomes lists the homes in the owner's database as people are told of them.
func findHomes(ctx context.Context, owner *pgx.Conn) ([]string, error) {
	schemas, err := FindSchemas(ctx, owner)
	if err != nil {
		return nil, err
	}
	homes := make([]string, 0, len(schemas))
	at := map[string]int{}
	for _, s := range schemas {
		at[s.Name] = len(homes)
		homes = append(homes, s.Name)
	}
	rows, _ := owner.Query(ctx, "SELECT schema, slug FROM manor.marker ORDER BY schema")
	var schema, slug string
	_, err = pgx.ForEachRow(rows, []any{&schema, &slug}, func() error {
		i, there := at[schema]
		if !there {
			i, homes = len(homes), append(homes, "")
		}
		homes[i] = fmt.Sprintf("%s (%s)", schema, slug)
		return nil
	})
	if hasState(err, "42P01", "3F000") { // undefined_table, invalid_schema_name
		err = nil
	}
	return homes, fault(err, "read the markers of database %s", owner.Config().Database)
}

// mostNamed is how many homes an error names.
const mostNamed = 3

func someOf(homes []string) string {
	if len(homes) <= mostNamed {
		return strings.Join(homes, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(homes[:mostNamed], ", "), len(homes)-mostNamed)
}
