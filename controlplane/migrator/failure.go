package migrator

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/pg"
)

// explain says what an error of a script means for the tenant.
func (s *session) explain(sc *script, sql string, completed int, err error, took time.Duration) Result {
	res := Result{Version: s.at.version, Err: err}
	for _, done := range sc.steps[:min(completed, len(sc.steps))] {
		if done.commits && done.file != nil {
			res.Version = s.after(done.file)
		}
	}
	refused, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		res.Outcome = Unknown // sent, and perhaps committed
		return res
	}
	refused = redacted(refused)
	i := completed
	if completed == 0 && refused.Position > 0 { // a syntax error: nothing ran
		i = sc.stepAt(s.values, sql, int(refused.Position), s.characters())
	}
	at := sc.steps[min(i, len(sc.steps)-1)]
	res.Err = refused
	res.Outcome = outcomeOf(refused, took, s.limits.Statement)
	if at.commits && fatal(refused) {
		res.Outcome = Unknown
	}
	res.Failure = describe(refused, at)
	if at.statement > 0 && refused.Position > 0 {
		start := s.characters()(sql[:sc.start(s.values, min(i, len(sc.steps)-1))])
		length := s.characters()(at.file.statements[at.statement-1].sql)
		res.Failure.Position = max(0, min(int(refused.Position)-start, length+1))
	}
	return res
}

// after is the version of a tenant once the transaction of a file is committed.
func (s *session) after(f *file) string {
	if !f.down {
		return f.version
	}
	return s.release.state(s.release.index(f.version) - 1).version
}

func (s *session) characters() func(string) int {
	return characters(s.conn.PgConn().ParameterStatus("server_encoding"))
}

// redacted is the error without what may hold tenants' data.
func redacted(err *pgconn.PgError) *pgconn.PgError {
	kept := *err
	kept.Detail, kept.Where, kept.InternalQuery, kept.Message = "", "", "", messageOf(err)
	return &kept
}

// messageOf is what PostgreSQL says, without the value that it quotes where a
// value is what it refuses (SQLSTATE class 22): that is a tenant's.
func messageOf(err *pgconn.PgError) string {
	from, to := strings.Index(err.Message, `"`), strings.LastIndex(err.Message, `"`)
	if !strings.HasPrefix(err.Code, "22") || from == to {
		return err.Message
	}
	return err.Message[:from] + `"…"` + err.Message[to+1:]
}

// describe tells what PostgreSQL refused, and where.
func describe(err *pgconn.PgError, at step) *controlplane.Failure {
	f := &controlplane.Failure{Message: messageOf(err), SQLState: err.Code, Hint: err.Hint}
	if f.Hint == "" {
		f.Hint = hints[err.Code]
	}
	if at.file == nil {
		return f
	}
	f.Version, f.File = at.file.version, at.file.name
	if at.statement > 0 {
		f.Statement, f.SQL = at.statement, at.file.statements[at.statement-1].sql
	} else if at.commits {
		f.Message = "at COMMIT: " + f.Message
	}
	return f
}

// hints say what to do where PostgreSQL does not.
var hints = map[string]string{
	"57014":             "the statement took longer than the time limit, or was cancelled",
	"55P03":             "somebody else holds the lock; it is tried again later",
	pg.StateFileChanged: "a file that tenants have must not change: restore it and write a new one",
	pg.StateForeign:     "another catalog owns this tenant: `manor catalog claim` takes the homes over, if this catalog is the right one",
}

func fatal(err *pgconn.PgError) bool {
	return err.SeverityUnlocalized == "FATAL" || err.SeverityUnlocalized == "PANIC"
}

// defers are the SQLSTATEs, or their first characters, of what passes by itself.
var defers = []string{
	"08", "25P03", "40001", "40P01", "53300", "55006", "55P03", "57P01", "57P02", "57P03", "57P05",
	pg.StateBusy, pg.StateFenced, pg.StateBuilding,
}

// OutcomeOf says what a refusal means for the tenant that was asked.
func OutcomeOf(err *pgconn.PgError) Outcome { return outcomeOf(err, 0, time.Hour) }

// outcomeOf classifies a refusal. A statement that ran into its own time limit
// fails, since it would again; one that somebody cancelled comes back.
func outcomeOf(err *pgconn.PgError, took, limit time.Duration) Outcome {
	begins := func(state string) bool { return strings.HasPrefix(err.Code, state) }
	switch {
	case err.Code == pg.StateOtherAt:
		return Unknown
	case err.Code == pg.StateForeign, pg.TroubleOf(err) == pg.Cluster: // all of the cluster is another catalog's, or in trouble
		return Stopped
	case slices.ContainsFunc(defers, begins), err.Code == "XX000" && strings.HasPrefix(err.Routine, "simple_heap_"):
		return Deferred
	case err.Code == "57014" && took < limit && !strings.Contains(err.Message, "statement timeout"):
		return Deferred
	}
	return Failed
}
