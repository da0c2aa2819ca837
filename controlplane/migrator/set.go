package migrator

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane/pg"
)

// Revised is what a tenant's revisions said before they were set.
type Revised struct {
	Version string // the last one that was applied as a whole; "" if none
	Partial string // the last one of which only some statements were; "" if none
}

// Set writes into a tenant's revisions that it is at a version of the release,
// up or down, and stamps it so. No file runs. The rows are those that `atlas
// migrate set` leaves: what lies behind the version goes, what was left
// half-applied before it counts as resolved, and what is missing since the first
// row is added. Unlike there, a resolved row counts as whole, or Atlas would go
// on with its statements; gaps are filled, or Atlas would find files out of
// order; and a row has the hash of the release's file.
//
// t.From is of no account. Undo rolls all of it back in the end.
func (r *Release) Set(ctx context.Context, conn *pgx.Conn, t Target, to string, undo bool, l Limits) (was Revised, res Result) {
	t.From = ""
	res = timed(func() Result {
		s, _, end, res := r.open(conn, t, to, l)
		if res != nil {
			return *res
		}
		return s.exchange(ctx, setScript(r.files[:end+1], s.target, to, r.hash, undo), to, func(sql string) (completed int, err error) {
			was, completed, err = readRevised(ctx, conn.PgConn(), sql)
			return completed, err
		})
	})
	return was, res
}

// readRevised runs a script of which one statement answers with two columns.
func readRevised(ctx context.Context, conn *pgconn.PgConn, sql string) (was Revised, completed int, err error) {
	results, err := conn.Exec(ctx, sql).ReadAll()
	for _, result := range results {
		if result.Err == nil {
			completed++
		}
		if len(result.Rows) == 1 && len(result.Rows[0]) == 2 {
			was = Revised{string(result.Rows[0][0]), string(result.Rows[0][1])}
		}
	}
	return was, completed, err
}

// notCloud leaves out the row by which Atlas names a target to its cloud.
const notCloud = "version <> '.atlas_cloud_identifier'"

// setScript is the message of [Release.Set] for the files up to a version.
func setScript(files []*file, t Target, to, release string, undo bool) *script {
	var b builder
	b.clean(nil)
	b.begin(nil)
	b.step(step{})
	b.part.WriteString("SELECT set_config('lock_timeout', l::text, true) || set_config('statement_timeout', s::text, true) FROM (SELECT ")
	b.slot(limits)
	b.part.WriteString(") limits (own, l, s);\n")
	b.step(step{})
	b.part.WriteString("SELECT manor.stamp(manor.lock(")
	b.slot(identity)
	fmt.Fprintf(&b.part, "), %d, %t, %s, %s);\n", t.Epoch, t.ownDatabase(), pg.Literal(to), pg.Literal(release))
	b.revisions(`SELECT coalesce(max(version COLLATE "C") FILTER (WHERE applied = total), ''), coalesce(max(version COLLATE "C") FILTER (WHERE applied < total), '') FROM`,
		"WHERE "+notCloud)
	b.revisions("DELETE FROM", fmt.Sprintf(`WHERE %s AND version COLLATE "C" > %s`, notCloud, pg.Literal(to)))
	b.revisions("UPDATE", "SET type = 6, applied = total, error = '', error_stmt = '', partial_hashes = 'null' WHERE applied < total OR coalesce(error, '') <> ''")
	if rows := setRows(files); rows != "" {
		b.revisions("UPDATE", "AS r SET hash = f.hash FROM "+rows+" WHERE r.version = f.version AND r.hash <> '' AND r.hash <> f.hash")
		b.step(step{})
		b.part.WriteString("INSERT INTO ")
		b.slot(quotedSchema)
		fmt.Fprintf(&b.part, ".atlas_schema_revisions %s SELECT f.version, f.description, 4, 0, 0, now(), 0, '', '', f.hash, 'null', %s FROM %s",
			revisionColumns, pg.Literal(operator()), rows)
		b.part.WriteString(` WHERE f.version COLLATE "C" > coalesce((SELECT min(version COLLATE "C") FROM `)
		b.slot(quotedSchema)
		b.part.WriteString(".atlas_schema_revisions WHERE " + notCloud + "), '') ON CONFLICT DO NOTHING;\n")
	}
	if undo {
		b.own(nil, "ROLLBACK")
	} else {
		b.commit(nil)
	}
	return b.done()
}

// revisions adds a statement on the tenant's revisions.
func (b *builder) revisions(before, after string) {
	b.step(step{})
	b.part.WriteString(before + " ")
	b.slot(quotedSchema)
	b.part.WriteString(".atlas_schema_revisions " + after + ";\n")
}

// setRows are files as rows of SQL; "" if there are none.
func setRows(files []*file) string {
	if len(files) == 0 {
		return ""
	}
	rows := make([]string, len(files))
	for i, f := range files {
		rows[i] = fmt.Sprintf("(%s, %s, %s)", pg.Literal(f.version), pg.Literal(f.description), pg.Literal(f.hash))
	}
	return "(VALUES " + strings.Join(rows, ", ") + ") f (version, description, hash)"
}
