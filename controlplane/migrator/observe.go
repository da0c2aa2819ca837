package migrator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/pg"
)

// lockModes are PostgreSQL's, the strongest last, by their names in pg_locks.
var lockModes = []struct{ name, words string }{
	{"AccessShareLock", "ACCESS SHARE"},
	{"RowShareLock", "ROW SHARE"},
	{"RowExclusiveLock", "ROW EXCLUSIVE"},
	{"ShareUpdateExclusiveLock", "SHARE UPDATE EXCLUSIVE"},
	{"ShareLock", "SHARE"},
	{"ShareRowExclusiveLock", "SHARE ROW EXCLUSIVE"},
	{"ExclusiveLock", "EXCLUSIVE"},
	{"AccessExclusiveLock", "ACCESS EXCLUSIVE"},
}

// relation is what there is of a table, view, index or sequence at a moment.
type relation struct {
	oid    uint32
	name   string
	kind   string // as in pg_class.relkind
	table  uint32 // of an index or an owned sequence; else 0
	node   uint32 // its file; a rewrite gives it another
	scans  int64  // from end to end, or by an index
	writes int64  // rows that the transaction wrote or deleted; outside of one: 0
	locked int    // strongest mode + 1 that this session holds; 0: none
}

func (r relation) isTable() bool { return r.kind == "r" || r.kind == "m" }

// relations reads those of the schema, and what is locked by this session.
// Inside a transaction scans are counted by it, outside of one by the server.
func (a *atlas) relations(ctx context.Context, inside bool) (map[uint32]relation, error) {
	scans, writes := "pg_stat_get_xact_numscans", "pg_stat_get_xact_tuples_inserted(c.oid) + pg_stat_get_xact_tuples_updated(c.oid) + pg_stat_get_xact_tuples_deleted(c.oid)"
	if !inside {
		scans, writes = "pg_stat_get_numscans", "0"
		if _, err := a.conn.Exec(ctx, "SELECT pg_stat_force_next_flush()", unprepared); err != nil {
			return nil, fmt.Errorf("flush the statistics: %w", err)
		}
	}
	rows, err := a.conn.Query(ctx, `WITH locked AS (
			SELECT relation, max(array_position($2, mode)) AS mode FROM pg_locks
			WHERE locktype = 'relation' AND granted AND pid = pg_backend_pid() GROUP BY relation)
		SELECT c.oid, c.relname::text, c.relkind::text, coalesce(i.indrelid, d.refobjid, 0), coalesce(pg_relation_filenode(c.oid), 0),
			coalesce(`+scans+`(c.oid), 0), coalesce(`+writes+`, 0), coalesce(l.mode, 0)
		FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid LEFT JOIN locked l ON l.relation = c.oid
		LEFT JOIN pg_depend d ON c.relkind = 'S' AND d.classid = 'pg_class'::regclass AND d.objid = c.oid
			AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
		WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)
		UNION ALL SELECT relation, '', '', 0, 0, 0, 0, mode FROM locked WHERE NOT EXISTS (SELECT FROM pg_class WHERE oid = relation)`,
		unprepared, a.schema, modeNames())
	if err != nil {
		return nil, fmt.Errorf("look at the relations of %s: %w", a.schema, err)
	}
	found := map[uint32]relation{}
	var r relation
	_, err = pgx.ForEachRow(rows, []any{&r.oid, &r.name, &r.kind, &r.table, &r.node, &r.scans, &r.writes, &r.locked}, func() error {
		found[r.oid] = r
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look at the relations of %s: %w", a.schema, err)
	}
	return found, nil
}

func modeNames() []string {
	names := make([]string, len(lockModes))
	for i, m := range lockModes {
		names[i] = m.name
	}
	return names
}

// observer watches the statements of one file.
type observer struct {
	*atlas
	base map[uint32]relation // as the file found them; the rest nobody uses
	last map[uint32]relation // before the next statement
	held map[uint32]lock     // by the transaction, or the statement that ran outside of one
	most map[uint32]int      // strongest mode of the whole file

	inside bool  // a transaction
	idle   []int // statements that were to write rows and wrote none
}

type lock struct{ mode, since int }

func (a *atlas) observe(ctx context.Context) (*observer, error) {
	base, err := a.relations(ctx, false)
	return &observer{atlas: a, base: base, last: base, held: map[uint32]lock{}, most: map[uint32]int{}}, err
}

// begin starts over at the beginning of a transaction, or outside of one, where
// no lock is held.
func (o *observer) begin(ctx context.Context, inside bool) (err error) {
	o.inside = inside
	o.last, err = o.relations(ctx, inside)
	clear(o.held)
	return err
}

// seen tells what a statement did, just after it ran: in a transaction, or
// outside of one, where it held locks that are gone.
func (o *observer) seen(ctx context.Context, f *file, n int, held map[uint32]int, took time.Duration) (controlplane.RehearsedStatement, error) {
	s, inside := &f.statements[n-1], o.inside
	now, err := o.relations(ctx, inside)
	if err != nil {
		return controlplane.RehearsedStatement{}, err
	}
	for oid, mode := range held {
		r := now[oid]
		r.locked = mode
		now[oid] = r
	}
	seen := controlplane.RehearsedStatement{Statement: n, SQL: s.sql, InTransaction: inside, DurationMS: took.Milliseconds(),
		Locks: o.locks(now, s, n), Rewrites: []string{}, Scans: []string{}}
	for oid, was := range o.base {
		before, is := o.last[oid], now[oid]
		if is.name == "" {
			continue
		}
		if before.node != is.node && o.last[was.table].node == now[was.table].node && was.kind != "S" {
			seen.Rewrites = append(seen.Rewrites, was.name)
		}
		if is.scans > before.scans && was.isTable() {
			seen.Scans = append(seen.Scans, was.name)
		}
	}
	slices.Sort(seen.Rewrites)
	slices.Sort(seen.Scans)
	if inside && s.writes(seen.Locks) && written(now) == written(o.last) {
		o.idle = append(o.idle, n)
	}
	o.last = now
	return seen, nil
}

// written counts the rows that a transaction has written.
func written(relations map[uint32]relation) (rows int64) {
	for _, r := range relations {
		rows += r.writes
	}
	return rows
}

// writes reports whether the statement means to write rows, by its words or,
// where they do not tell, by the lock that it took for it.
func (s *statement) writes(locks []controlplane.RehearsedLock) bool {
	for _, words := range []string{"INSERT", "UPDATE", "DELETE", "MERGE"} {
		if s.begins(words) || s.begins("WITH") && s.find(words) >= 0 {
			return true
		}
	}
	return (s.mode == ending || s.begins("SELECT")) && slices.ContainsFunc(locks, func(l controlplane.RehearsedLock) bool {
		return l.Mode == "ROW EXCLUSIVE" && l.Since == 0
	})
}

// locks are those that the statement took, and those it ran under because an
// earlier one had taken them on a relation that it names or works on.
func (o *observer) locks(now map[uint32]relation, s *statement, n int) []controlplane.RehearsedLock {
	locks := []controlplane.RehearsedLock{}
	for oid, r := range now {
		was, ok := o.base[oid]
		if !ok || r.locked == 0 || was.table != 0 && r.locked <= now[was.table].locked {
			continue
		}
		o.most[oid] = max(o.most[oid], r.locked)
		since := 0
		if held := o.held[oid]; held.mode >= r.locked {
			if since = held.since; !s.names(was.name) && r.node == o.last[oid].node && r.scans == o.last[oid].scans {
				continue
			}
		} else {
			o.held[oid] = lock{r.locked, n}
		}
		locks = append(locks, controlplane.RehearsedLock{Relation: was.name, Mode: lockModes[r.locked-1].words, Since: since})
	}
	slices.SortFunc(locks, func(a, b controlplane.RehearsedLock) int {
		return cmp.Or(cmp.Compare(strength(b.Mode), strength(a.Mode)), cmp.Compare(a.Relation, b.Relation))
	})
	return locks
}

func strength(words string) int {
	for i, m := range lockModes {
		if m.words == words {
			return i
		}
	}
	return -1
}

// names reports whether an identifier of the statement is this one.
func (s *statement) names(name string) bool {
	return slices.ContainsFunc(s.tokens, func(t token) bool { return t.name() == name })
}

// outside runs a statement that refuses a transaction. The locks of such a
// statement are gone when it has ended, so another session stands in its way,
// steps back a little whenever it sees it wait, and looks at its locks meanwhile.
func (o *observer) outside(ctx context.Context, f *file, n int) (controlplane.RehearsedStatement, error) {
	none := controlplane.RehearsedStatement{}
	if err := o.begin(ctx, false); err != nil {
		return none, err
	}
	other, err := pgx.ConnectConfig(ctx, beside(o.conn))
	if err != nil {
		return none, pg.ConnectError("", err)
	}
	defer other.Close(context.WithoutCancel(ctx))
	barred, err := o.bar(ctx, other)
	if err != nil {
		return none, err
	}
	var failed error
	started, ended := time.Now(), make(chan struct{})
	go func() {
		defer close(ended)
		_, failed = send(ctx, o.conn.PgConn(), f.statements[n-1].sql)
	}()
	held, err := o.follow(ctx, other, barred, ended)
	_ = other.Close(context.WithoutCancel(ctx)) // out of the way
	<-ended
	if err := cmp.Or(failed, err); err != nil {
		return none, err
	}
	return o.seen(ctx, f, n, held, time.Since(started))
}

// bars are the locks by which another session stands in the way, the one that
// stops everything last.
var bars = []string{"ACCESS SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "ACCESS EXCLUSIVE"}

// bar locks all tables that the statement finds, in all of these modes, each
// behind a savepoint. It returns how many there are to step back behind.
func (o *observer) bar(ctx context.Context, other *pgx.Conn) (int, error) {
	var tables []string
	for _, r := range o.last {
		if r.kind == "r" || r.kind == "p" {
			tables = append(tables, pg.Quote(o.schema)+"."+pg.Quote(r.name))
		}
	}
	if len(tables) == 0 {
		return 0, nil
	}
	sql := "BEGIN"
	for i, mode := range bars {
		sql += fmt.Sprintf("; SAVEPOINT bar_%d; LOCK TABLE %s IN %s MODE", i, strings.Join(tables, ", "), mode)
	}
	if _, err := send(ctx, other.PgConn(), sql); err != nil {
		return 0, fmt.Errorf("lock the tables of %s: %w", o.schema, err)
	}
	return len(bars), nil
}

// follow steps back until the statement has ended, and returns the strongest
// mode + 1 in which it was seen to hold, or to want, each relation when stopped.
func (o *observer) follow(ctx context.Context, other *pgx.Conn, barred int, ended <-chan struct{}) (map[uint32]int, error) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	seen := map[uint32]int{}
	for {
		waits, forOther, err := o.glance(ctx, other, seen)
		switch {
		case err != nil:
			return nil, fmt.Errorf("see which locks are waited for: %w", err)
		case barred > 0 && (forOther || waits && barred == 1): // for its end, or for the last of its locks
			barred, err = 0, exec(ctx, other, "ROLLBACK")
		case barred > 0 && waits:
			barred--
			err = exec(ctx, other, fmt.Sprintf("ROLLBACK TO SAVEPOINT bar_%d", barred))
		}
		if err != nil {
			return nil, fmt.Errorf("step back from the tables of %s: %w", o.schema, err)
		}
		select {
		case <-ended:
			return seen, nil
		case <-tick.C:
		}
	}
}

func exec(ctx context.Context, conn *pgx.Conn, sql string) error {
	_, err := send(ctx, conn.PgConn(), sql)
	return err
}

// glance tells whether the observed session waits for a lock, and whether for
// the end of another session. What it holds and wants then goes into seen; what
// it holds while nobody stops it would be there by chance.
func (o *observer) glance(ctx context.Context, other *pgx.Conn, seen map[uint32]int) (waits, forOther bool, err error) {
	rows, err := other.Query(ctx, `SELECT coalesce(relation, 0), coalesce(array_position($2, mode), 0), granted, locktype <> 'relation'
		FROM pg_locks WHERE pid = $1 AND (locktype = 'relation' OR NOT granted)`, unprepared, o.conn.PgConn().PID(), modeNames())
	if err != nil {
		return false, false, err
	}
	var relation uint32
	var mode int
	var granted, another bool
	locked := map[uint32]int{}
	_, err = pgx.ForEachRow(rows, []any{&relation, &mode, &granted, &another}, func() error {
		waits, forOther = waits || !granted, forOther || another
		if !another {
			locked[relation] = max(locked[relation], mode)
		}
		return nil
	})
	for relation, mode := range locked {
		if waits {
			seen[relation] = max(seen[relation], mode)
		}
	}
	return waits, forOther, err
}
