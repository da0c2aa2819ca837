package migrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/pg"
)

// progress is how far a file that runs statement by statement has come, as
// Atlas's revision tells it.
type progress struct {
	begun    bool
	applied  int
	hashes   []string // of the statements applied, as Atlas computes them
	rejected bool     // the last attempt ended with an answer of the server's
}

// alone applies a file that has no transaction: statement by statement, the
// tenant held by this session between them, the revision's progress recorded
// after each. It goes on where an earlier attempt stopped.
func (s *session) alone(ctx context.Context, f *file) Result {
	res := s.message(ctx, s.holdScript(f), s.at.version)
	if res.Outcome != Applied {
		return res
	}
	p, err := s.readProgress(ctx, f)
	if err != nil {
		return s.letGo(ctx, s.unanswered(err))
	}
	if err := p.fits(f); err != nil {
		return s.letGo(ctx, s.refuse("%w", err))
	}
	if !p.begun {
		if res := s.message(ctx, s.noteScript(f, 0, "", "", 0), s.at.version); res.Outcome != Applied {
			return s.letGo(ctx, res)
		}
	}
	for i := p.applied; i < len(f.statements); i++ {
		interrupted := i == p.applied && p.begun && !p.rejected
		if res := s.one(ctx, f, i, interrupted); res.Outcome != Applied {
			return s.letGo(ctx, res)
		}
	}
	return Result{Outcome: Applied, Version: f.version}
}

// readProgress reads the revision of a file that this session holds the tenant for.
func (s *session) readProgress(ctx context.Context, f *file) (p progress, err error) {
	var hashes []byte
	err = s.conn.QueryRow(ctx, `SELECT applied, coalesce(partial_hashes, 'null'), coalesce(error, '') <> ''
		FROM `+pg.Quote(s.target.Schema)+`.atlas_schema_revisions WHERE version = $1`, unprepared, f.version).
		Scan(&p.applied, &hashes, &p.rejected)
	if errors.Is(err, pgx.ErrNoRows) {
		return progress{}, nil
	}
	if err != nil {
		return p, fmt.Errorf("read the progress of %s: %w", f.name, err)
	}
	p.begun = true
	return p, json.Unmarshal(hashes, &p.hashes)
}

// fits refuses to go on with a file whose first statements are not those that ran.
func (p progress) fits(f *file) error {
	for i := range p.applied {
		if i >= len(f.partial) || i >= len(p.hashes) || p.hashes[i] != f.partial[i] {
			return controlplane.Errorf(controlplane.Refused, "%s: statement %d was changed after it had been applied to this tenant", f.name, i+1).
				WithHint("restore the first %d statements of the file", p.applied)
		}
	}
	return nil
}

// one runs statement i of a file. What can be in a transaction is in one with
// its record; for the rest, the record follows.
func (s *session) one(ctx context.Context, f *file, i int, interrupted bool) Result {
	ending := f.statements[i].mode == ending
	if ending || f.statements[i].joins(s.target.Fresh) {
		res := s.message(ctx, s.insideScript(f, i), s.at.version)
		if !ending || !endsTransactions(res.Failure) {
			return s.reject(ctx, f, i, res)
		}
		// Locks of the session outlive the transaction that was rolled back. Who
		// may not call this could not take any.
		_, _ = s.conn.Exec(ctx, "SELECT pg_advisory_unlock_all()")
	}
	return s.unwrapped(ctx, f, i, interrupted)
}

// endsTransactions reports whether PostgreSQL, or an extension, refused a DO or
// CALL for being in a transaction, which it would have ended: before it ended any.
func endsTransactions(refused *controlplane.Failure) bool {
	return refused != nil && slices.Contains([]string{
		"2D000", // invalid_transaction_termination
		"25001", // active_sql_transaction
		"0A000", // feature_not_supported
	}, refused.SQLState)
}

// unwrapped runs statement i in no transaction of ours, and then records it.
func (s *session) unwrapped(ctx context.Context, f *file, i int, interrupted bool) Result {
	started := time.Now()
	done, res := s.ready(ctx, f, i, interrupted)
	if res.Outcome != Applied {
		if interrupted { // it may have run then: the next attempt has to look again
			return res
		}
		return s.reject(ctx, f, i, res)
	}
	if !done {
		if res := s.message(ctx, bare(f, i), s.at.version); res.Outcome != Applied {
			res = s.reject(ctx, f, i, res)
			if !s.conn.IsClosed() {
				_, _ = s.mendIndex(ctx, f.statements[i], false) // an invalid index only slows the tenant down
			}
			return res
		}
	}
	return s.message(ctx, s.doneScript(f, i, time.Since(started)), s.at.version)
}

// ready leads up to statement i, which runs in no transaction: the tenant
// proved, the database's one build claimed, and no broken index in the way. It
// reports whether there is nothing left to do.
func (s *session) ready(ctx context.Context, f *file, i int, interrupted bool) (done bool, res Result) {
	if f.statements[i].mode == concurrently {
		if err := pg.UpgradeMarker(ctx, s.conn); err != nil {
			return false, s.unanswered(err)
		}
	}
	if res := s.message(ctx, s.readyScript(f, i), s.at.version); res.Outcome != Applied {
		return false, res
	}
	started := time.Now()
	done, err := s.mendIndex(ctx, f.statements[i], interrupted)
	if err != nil {
		res := s.explain(bare(f, i), f.statements[i].sql, 0, err, time.Since(started))
		s.nameBlocker(ctx, res.Failure)
		return false, res
	}
	return done, Result{Outcome: Applied}
}

// unanswered says what it means for the tenant that a question of ours failed.
func (s *session) unanswered(err error) Result {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case ok:
		refused = redacted(refused)
		return Result{Outcome: outcomeOf(refused, 0, s.limits.Statement), Version: s.at.version, Err: refused, Failure: describe(refused, step{})}
	case s.conn.IsClosed():
		return Result{Outcome: Deferred, Version: s.at.version, Err: err}
	}
	return s.refuse("%w", err)
}

// reject records that the server refused statement i, so that the next attempt
// knows that it did not run.
func (s *session) reject(ctx context.Context, f *file, i int, res Result) Result {
	if res.Failure != nil && res.Outcome != Applied && !s.conn.IsClosed() {
		s.message(ctx, s.noteScript(f, i, res.Failure.Message, f.statements[i].sql, 0), s.at.version)
	}
	return res
}

// letGo ends the hold on the tenant. A session that cannot is of no more use.
func (s *session) letGo(ctx context.Context, res Result) Result {
	if s.conn.IsClosed() {
		return res
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, err := s.conn.Exec(ctx, "SELECT manor.release($1)", s.target.TenantID); err != nil {
		_ = s.conn.Close(ctx)
	}
	return res
}

// mendIndex looks at the index that a statement makes or drops concurrently. An
// invalid one, which a failed build leaves, is dropped. After an interruption
// nobody knows whether the statement had come to its end; the index tells.
func (s *session) mendIndex(ctx context.Context, st statement, interrupted bool) (done bool, err error) {
	if st.begins("REINDEX") {
		return false, s.dropCopies(ctx)
	}
	written, drop := st.index()
	if written == "" {
		return false, nil
	}
	var name string
	var valid bool
	err = s.conn.QueryRow(ctx, `SELECT c.relname::text, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
		WHERE c.oid = to_regclass($1)`, unprepared, pg.Quote(s.target.Schema)+"."+written).Scan(&name, &valid)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return drop && interrupted, nil
	case err != nil:
		return false, err
	case drop:
		return false, nil
	case valid:
		return interrupted, nil
	}
	return false, s.dropIndex(ctx, name)
}

func (s *session) dropIndex(ctx context.Context, name string) error {
	_, err := s.conn.Exec(ctx, "DROP INDEX CONCURRENTLY "+pg.Quote(s.target.Schema)+"."+pg.Quote(name))
	return err
}

// dropCopies drops what a REINDEX CONCURRENTLY leaves that fails: the indexes
// that were to take the place of the old ones, or had done so.
func (s *session) dropCopies(ctx context.Context) error {
	rows, _ := s.conn.Query(ctx, `SELECT c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
		WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$' AND c.relnamespace = quote_ident($1)::regnamespace`, s.target.Schema)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, name := range names {
		if err == nil {
			err = s.dropIndex(ctx, name)
		}
	}
	return err
}

// holdScript takes the tenant for this session and sets the session up.
func (s *session) holdScript(f *file) *script {
	var b builder
	b.clean(f)
	b.begin(f)
	b.hold(f, s.at)
	b.own(f, fmt.Sprintf("SET search_path = %s", searchPath(s.target.Schema)))
	b.commit(nil)
	return b.done()
}

func (b *builder) hold(f *file, at state) {
	b.step(step{file: f})
	b.part.WriteString("SELECT manor.hold(")
	b.slot(identity)
	fmt.Fprintf(&b.part, ", %s, %s, %s);\n", pg.Literal(at.version), pg.Literal(at.hash), pg.Literal(f.version))
}

// insideScript runs statement i and records it, in one transaction.
func (s *session) insideScript(f *file, i int) *script {
	var b builder
	b.begin(f)
	b.hold(f, s.at)
	b.own(f, fmt.Sprintf("SET LOCAL lock_timeout = %d", s.limits.Lock.Milliseconds()))
	b.own(f, fmt.Sprintf("SET LOCAL statement_timeout = %d", s.limits.Statement.Milliseconds()))
	b.body(f, i+1, f.statements[i].plain(), f.statements[i].ended)
	s.finish(&b, f, i, sinceBegin)
	return b.done()
}

// readyScript precedes a statement that runs in no transaction. It has no time
// limit, as it may well take long. Nobody waits behind CONCURRENTLY's locks, so
// that may wait longer for them.
func (s *session) readyScript(f *file, i int) *script {
	wait := s.limits.Lock
	if f.statements[i].mode == concurrently {
		wait = s.limits.Statement
	}
	var b builder
	b.begin(f)
	b.hold(f, s.at)
	if f.statements[i].mode == concurrently {
		b.own(f, "SELECT manor.claim_build()")
	}
	b.note(f, i, "", "", "0")
	b.own(f, fmt.Sprintf("SET lock_timeout = %d", wait.Milliseconds()))
	b.commit(nil)
	return b.done()
}

// doneScript records a statement that ran in no transaction, and lets go of
// the database's one build.
func (s *session) doneScript(f *file, i int, took time.Duration) *script {
	var b builder
	b.begin(f)
	b.hold(f, s.at)
	if f.statements[i].mode == concurrently {
		b.own(f, "SELECT manor.release_build()")
	}
	s.finish(&b, f, i, fmt.Sprint(took.Nanoseconds()))
	return b.done()
}

// finish records statement i and ends the transaction. With the last one the
// file is applied: the tenant is stamped and let go.
func (s *session) finish(b *builder, f *file, i int, nanoseconds string) {
	b.note(f, i+1, "", "", nanoseconds)
	if i+1 < len(f.statements) {
		b.commit(nil)
		return
	}
	b.own(f, fmt.Sprintf("SELECT manor.stamp(m, m.epoch, %t, %s, %s) FROM manor.marker m WHERE m.tenant_id = %s",
		s.target.ownDatabase(), pg.Literal(f.version), pg.Literal(s.release.hash), pg.Literal(s.target.TenantID)))
	b.commit(f)
}

// noteScript proves the target and records how far the file has come.
func (s *session) noteScript(f *file, applied int, problem, sql string, took time.Duration) *script {
	var b builder
	b.begin(f)
	b.hold(f, s.at)
	b.note(f, applied, problem, sql, fmt.Sprint(took.Nanoseconds()))
	b.commit(nil)
	return b.done()
}

// bare is statement i and nothing else.
func bare(f *file, i int) *script {
	var b builder
	b.body(f, i+1, f.statements[i].sql, true)
	return b.done()
}

// note writes the revision of a file of which so many statements are applied.
// Atlas keeps their hashes until it is complete.
func (b *builder) note(f *file, applied int, problem, sql, nanoseconds string) {
	hashes := "null"
	if 0 < applied && applied < len(f.statements) {
		hashes = `["` + strings.Join(f.partial[:applied], `","`) + `"]`
	}
	b.step(step{file: f})
	b.part.WriteString("INSERT INTO ")
	b.slot(quotedSchema)
	fmt.Fprintf(&b.part, `.atlas_schema_revisions AS r %s VALUES (%s, %s, 2, %d, %d, now(), %s, %s, %s, %s, %s, %s)
ON CONFLICT (version) DO UPDATE SET applied = EXCLUDED.applied, total = EXCLUDED.total,
	execution_time = r.execution_time + EXCLUDED.execution_time, error = EXCLUDED.error, error_stmt = EXCLUDED.error_stmt,
	hash = EXCLUDED.hash, partial_hashes = EXCLUDED.partial_hashes, operator_version = EXCLUDED.operator_version;`+"\n",
		revisionColumns, pg.Literal(f.version), pg.Literal(f.description), applied, len(f.statements), nanoseconds,
		pg.Literal(problem), pg.Literal(sql), pg.Literal(f.hash), pg.Literal(hashes), pg.Literal(operator()))
}
