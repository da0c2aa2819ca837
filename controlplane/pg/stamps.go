package pg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// comment is a stamp as manor.stamp writes it on a home's own database.
type comment struct {
	Tenant      string `json:"tenant"`
	Slug        string `json:"slug"`
	Schema      string `json:"schema"`
	Generation  int64  `json:"generation"`
	Epoch       int64  `json:"epoch"`
	Incarnation string `json:"incarnation"`
	Version     string `json:"version"`
	Release     string `json:"release"`
}

// parseComment reads the comment of a database. What lacks a tenant, a schema
// or an incarnation is none of ours.
func parseComment(text string) (comment, error) {
	var c comment
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return c, err
	}
	if c.Tenant == "" || c.Schema == "" || c.Incarnation == "" {
		return c, errors.New("it does not name a home")
	}
	return c, nil
}

func (c comment) stamp() Stamp {
	return Stamp{Version: c.Version, Release: c.Release, Marker: Marker{
		TenantID: c.Tenant, Slug: c.Slug, Schema: c.Schema,
		Incarnation: c.Incarnation, Generation: c.Generation, Epoch: c.Epoch,
	}}
}

// ReadStamps returns the stamps of all homes of a cluster that have a database
// of their own, by database: from the comments of the databases, without
// visiting any. UpdatedAt is not in them. A database without a comment has
// never been migrated and is left out; one whose comment is not a stamp is
// unreadable; comments on databases that no home can have are somebody else's.
func ReadStamps(ctx context.Context, control *pgx.Conn) (stamps map[string]Stamp, unreadable []string, err error) {
	rows, _ := control.Query(ctx, `
		SELECT d.datname::text, s.description FROM pg_shdescription s JOIN pg_database d ON d.oid = s.objoid
		WHERE s.classoid = 'pg_database'::regclass AND d.datname ~ $1 ORDER BY 1`, homeName)
	stamps = map[string]Stamp{}
	var database, text string
	_, err = pgx.ForEachRow(rows, []any{&database, &text}, func() error {
		if c, err := parseComment(text); err != nil {
			unreadable = append(unreadable, database)
		} else {
			stamps[database] = c.stamp()
		}
		return nil
	})
	return stamps, unreadable, fault(err, "read the comments of the databases")
}

// RewriteIncarnation gives the homes of the owner's database that belong to the
// catalog from to the catalog to, and fences off whoever works on them under an
// epoch below this one. It returns how many homes there were.
func RewriteIncarnation(ctx context.Context, owner *pgx.Conn, from, to string, epoch int64) (n int, err error) {
	err = Retry(ctx, func() error {
		return pgx.BeginFunc(ctx, owner, func(tx pgx.Tx) error {
			tag, err := tx.Exec(ctx, `UPDATE manor.marker SET incarnation = $2, epoch = greatest(epoch, $3), updated_at = now()
				WHERE incarnation = $1`, from, to, epoch)
			if err != nil {
				return err
			}
			n = int(tag.RowsAffected())
			return rewriteComment(ctx, tx, from, to, epoch)
		})
	})
	return n, fault(err, "hand the homes of database %s over to another catalog", owner.Config().Database)
}

// rewriteComment does to the database's comment what RewriteIncarnation does to
// the marker, where the comment is a stamp.
func rewriteComment(ctx context.Context, tx pgx.Tx, from, to string, epoch int64) error {
	var database string
	var text *string
	err := tx.QueryRow(ctx, `SELECT datname::text, shobj_description(oid, 'pg_database') FROM pg_database
		WHERE datname = current_database()`).Scan(&database, &text)
	if err != nil || text == nil {
		return err
	}
	c, err := parseComment(*text)
	if err != nil || c.Incarnation != from {
		return nil // not a stamp, or not that catalog's: nothing to hand over
	}
	c.Incarnation, c.Epoch = to, max(c.Epoch, epoch)
	written, err := json.Marshal(c)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, fmt.Sprintf("COMMENT ON DATABASE %s IS %s", Quote(database), Literal(string(written))))
	return err
}
