package migrator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/internal/failpoint"
)

// Limits bound what a migration makes others wait for.
type Limits struct {
	Lock      time.Duration // to get a lock; 0: 500 ms
	Statement time.Duration // for one statement; 0: 30 s
}

func (l Limits) withDefaults() Limits {
	return Limits{Lock: cmp.Or(l.Lock, 500*time.Millisecond), Statement: cmp.Or(l.Statement, 30*time.Second)}
}

// Target is the home that a migration is meant for, as the caller believes it
// to be. Nothing runs where the home's marker says otherwise.
type Target struct {
	pg.Marker
	Isolation controlplane.Isolation
	From      string // the version it is at; "" is an empty home
	Fresh     bool   // nobody has written to it yet: indexes need not be built concurrently
}

func (t Target) ownDatabase() bool { return t.Isolation == controlplane.IsolationDatabase }

// Outcome is how a migration of one tenant ended.
type Outcome string

// The outcomes.
const (
	Applied  Outcome = "applied"  // the tenant is at the version
	Current  Outcome = "current"  // it was there already; nothing ran
	Deferred Outcome = "deferred" // not now: try again later
	Unknown  Outcome = "unknown"  // read the tenant's revisions before anything else
	Failed   Outcome = "failed"   // this tenant cannot have this file as it is
	Stopped  Outcome = "stopped"  // the cluster is in trouble: start nothing more on it
)

// Result is what became of one tenant.
type Result struct {
	Outcome
	Version  string                // at which the tenant is; if Unknown, the last one known
	Failure  *controlplane.Failure // what PostgreSQL refused; nil if it did not
	Duration time.Duration
	Err      error // for the log; holds no DETAIL
}

// Apply brings a tenant from t.From up to a version, over a session of the
// owner login of its database. Consecutive transactional files are one round
// trip; each is a transaction of its own, so that an error leaves the tenant at
// the version before it. Where the revisions do not say t.From, nothing runs,
// the outcome is Unknown and Version is what they say.
func (r *Release) Apply(ctx context.Context, conn *pgx.Conn, t Target, to string, l Limits) Result {
	return timed(func() Result {
		s, from, end, res := r.open(conn, t, to, l)
		switch {
		case res != nil:
			return *res
		case from == end:
			return s.check(ctx)
		case from > end:
			return s.refuse("version %s lies behind the tenant's %s: a rollback takes it there", named(to), named(t.From))
		}
		return s.up(ctx, r.files[from+1:end+1])
	})
}

// Revert takes a tenant from t.From down to a version, in one round trip: each
// file is undone by its reverse in a transaction of its own, the last one
// first. A down file goes before reverses.
func (r *Release) Revert(ctx context.Context, conn *pgx.Conn, t Target, to string, reverses Reverses, l Limits) Result {
	return timed(func() Result {
		s, from, end, res := r.open(conn, t, to, l)
		switch {
		case res != nil:
			return *res
		case from == end:
			return s.check(ctx)
		case from < end:
			return s.refuse("version %s lies before the tenant's %s: a rollout takes it there", named(to), named(t.From))
		}
		files := r.files[end+1 : from+1]
		downs, err := r.downFiles(files, reverses)
		if err != nil {
			return s.refuse("%w", err)
		}
		return s.message(ctx, downScript(files, downs, r.state(end), r.hash), to)
	})
}

func timed(f func() Result) Result {
	started := time.Now()
	res := f()
	res.Duration = time.Since(started)
	return res
}

// CurrentVersion returns the last version that was applied to a schema as a
// whole, by its revisions; "" if none was.
func CurrentVersion(ctx context.Context, conn *pgx.Conn, schema string) (string, error) {
	var version string
	err := conn.QueryRow(ctx, `SELECT version FROM `+pg.Quote(schema)+`.atlas_schema_revisions
		WHERE version <> '.atlas_cloud_identifier' AND applied = total ORDER BY version COLLATE "C" DESC LIMIT 1`,
		unprepared).Scan(&version)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", fmt.Errorf("read the revisions of %s: %w", schema, err)
	}
	return version, nil
}

// HalfApplied says how far a file without transaction came in a schema that was
// not applied as a whole; "" if there is none.
func HalfApplied(ctx context.Context, conn *pgx.Conn, schema string) (how string, err error) {
	err = conn.QueryRow(ctx, `SELECT format('version %s has no transaction and stopped after %s of %s statements', version, applied, total)
		FROM `+pg.Quote(schema)+`.atlas_schema_revisions WHERE applied < total ORDER BY version COLLATE "C" DESC LIMIT 1`, unprepared).Scan(&how)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", fmt.Errorf("read the revisions of %s: %w", schema, err)
	}
	return how, nil
}

// Fence shuts out whoever worked on a home under an older epoch and may still
// come, and returns the version that the home's revisions say. SQLSTATE MN001
// says that somebody is still at it.
func Fence(ctx context.Context, conn *pgx.Conn, t Target) (version string, err error) {
	err = conn.QueryRow(ctx, `SELECT manor.fence($1, $2, $3, $4, $5)`, unprepared,
		t.TenantID, t.Schema, t.Generation, t.Epoch, t.Incarnation).Scan(&version)
	if err != nil {
		return "", fmt.Errorf("fence the home %s: %w", t.Schema, err)
	}
	return version, nil
}

// unprepared keeps SQL that names a tenant out of the session's prepared
// statements, which would only grow.
const unprepared = pgx.QueryExecModeExec

// session is one migration of one tenant over one connection.
type session struct {
	release *Release
	conn    *pgx.Conn
	target  Target
	limits  Limits
	values  values
	at      state // what the tenant is known to be at
}

// open checks what can be checked without asking the server, and returns the
// places of both versions among the release's files.
func (r *Release) open(conn *pgx.Conn, t Target, to string, l Limits) (s *session, from, end int, res *Result) {
	l = l.withDefaults()
	from, end = r.index(t.From), r.index(to)
	s = &session{release: r, conn: conn, target: t, limits: l, values: t.values(l), at: state{version: t.From}}
	refuse := func(format string, args ...any) (*session, int, int, *Result) {
		res := s.refuse(format, args...)
		return nil, 0, 0, &res
	}
	switch {
	case from < -1:
		return refuse("the tenant is at version %s, which the release does not hold", t.From)
	case end < -1:
		return refuse("the release holds no version %s", to)
	}
	s.at = r.state(from)
	return s, from, end, nil
}

// state is the version and hash of the file at i; -1 is before the first.
func (r *Release) state(i int) state {
	if i < 0 {
		return state{}
	}
	return state{r.files[i].version, r.files[i].hash}
}

// refuse fails the tenant for a reason found before anything was sent.
func (s *session) refuse(format string, args ...any) Result {
	err := fmt.Errorf(format, args...)
	return Result{Outcome: Failed, Version: s.at.version, Err: err, Failure: &controlplane.Failure{Message: err.Error()}}
}

// check proves that the tenant is where it should be.
func (s *session) check(ctx context.Context) Result {
	res := s.message(ctx, checkScript(s.at, s.release.hash), s.at.version)
	if res.Outcome == Applied {
		res.Outcome = Current
	}
	return res
}

// up applies files in runs: transactional ones in one message, the others
// statement by statement.
func (s *session) up(ctx context.Context, files []*file) Result {
	for len(files) > 0 {
		n := 0
		for n < len(files) && files[n].joins(s.target.Fresh) {
			n++
		}
		var res Result
		if n == 0 {
			res, n = s.alone(ctx, files[0]), 1
		} else {
			res = s.message(ctx, s.release.script(files[:n], s.at), files[n-1].version)
		}
		if res.Outcome != Applied {
			return res
		}
		s.at = state{files[n-1].version, files[n-1].hash}
		files = files[n:]
	}
	return Result{Outcome: Applied, Version: s.at.version}
}

// joins reports whether the file can be part of a message. In a fresh home one
// without a transaction can, if all its statements can.
func (f *file) joins(fresh bool) bool {
	if !f.alone {
		return true
	}
	for i := range f.statements {
		if !fresh || !f.statements[i].joins(fresh) {
			return false
		}
	}
	return true
}

// keptScripts is how many messages over runs of files a release keeps at most.
const keptScripts = 16

type scriptKey struct{ first, last string }

// script returns the message over consecutive files, made once.
func (r *Release) script(files []*file, at state) *script {
	key := scriptKey{files[0].version, files[len(files)-1].version}
	if made, ok := r.scripts.Load(key); ok {
		return made.(*script)
	}
	made, had := r.scripts.LoadOrStore(key, upScript(files, at, r.hash))
	if !had && r.made.Add(1)%keptScripts == 0 { // tenants at very many versions would fill the memory
		r.scripts.Clear()
	}
	return made.(*script)
}

// message sends a script and says how it ended. to is where the tenant is if
// all of it ran.
func (s *session) message(ctx context.Context, sc *script, to string) Result {
	return s.exchange(ctx, sc, to, func(sql string) (int, error) { return send(ctx, s.conn.PgConn(), sql) })
}

// exchange is message by whoever runs the SQL and counts the statements that completed.
func (s *session) exchange(ctx context.Context, sc *script, to string, run func(sql string) (completed int, err error)) Result {
	if err := s.cannotSend(ctx); err != nil {
		return Result{Outcome: Deferred, Version: s.at.version, Err: err}
	}
	sql := sc.fill(s.values)
	started := time.Now()
	failpoint.Reach("migrator.send")
	completed, err := run(sql)
	failpoint.Reach("migrator.answered")
	if err == nil {
		return Result{Outcome: Applied, Version: to}
	}
	res := s.explain(sc, sql, completed, err, time.Since(started))
	s.rollBack(ctx)
	s.nameBlocker(ctx, res.Failure)
	if state, ok := errors.AsType[*pgconn.PgError](err); ok && state.Code == pg.StateOtherAt {
		if version, err := CurrentVersion(ctx, s.conn, s.target.Schema); err == nil {
			res.Version = version
		}
	}
	return res
}

// cannotSend is asked before anything is sent. Afterwards pgconn.SafeToRetry is
// no help: it says yes of a connection that was lost while waiting for the answer.
//
// The server converts and parses the whole of a message before it runs the
// RESET ALL at its head. What the tenant before has done to how text is read
// must be put right before, or it would change the next tenant's data.
func (s *session) cannotSend(ctx context.Context) error {
	if !s.conn.IsClosed() && !s.readsAsChecked() {
		if _, err := send(ctx, s.conn.PgConn(), "RESET ALL"); err != nil || !s.readsAsChecked() {
			_ = s.conn.Close(ctx)
		}
	}
	if s.conn.IsClosed() {
		return fmt.Errorf("the connection to database %s is closed", s.conn.Config().Database)
	}
	return context.Cause(ctx)
}

// readsAsChecked reports whether the server reads a message as the files were
// read when they were checked.
func (s *session) readsAsChecked() bool {
	return s.conn.PgConn().ParameterStatus("standard_conforming_strings") == "on" &&
		s.conn.PgConn().ParameterStatus("client_encoding") == "UTF8"
}

// send runs SQL in one round trip and counts the statements that completed.
func send(ctx context.Context, conn *pgconn.PgConn, sql string) (completed int, err error) {
	results := conn.Exec(ctx, sql)
	for results.NextResult() {
		if _, err := results.ResultReader().Close(); err == nil {
			completed++
		}
	}
	return completed, results.Close()
}

// rollBack ends the transaction that an error left open. A connection on which
// even that fails is of no more use to anybody.
func (s *session) rollBack(ctx context.Context) {
	if s.conn.IsClosed() || s.conn.PgConn().TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, err := send(ctx, s.conn.PgConn(), "ROLLBACK"); err != nil {
		_ = s.conn.Close(ctx)
	}
}

// named writes a version for a human.
func named(version string) string { return cmp.Or(version, "none") }
