package chaos_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
)

// left asks for what nobody at rest may hold on a cluster: locks, transactions,
// sessions of Manor's that are gone a moment later, and homes held by a session.
const left = `
	SELECT format('advisory lock %s/%s in database %s', l.classid, l.objid, d.datname) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
	WHERE l.locktype = 'advisory' AND l.pid <> pg_backend_pid()
	UNION ALL SELECT format('%s is %s in database %s: %s', usename, state, datname, query) FROM pg_stat_activity
	WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND (xact_start IS NOT NULL OR state <> 'idle')
	UNION ALL SELECT format('prepared transaction %s', gid) FROM pg_prepared_xacts`

// held asks the same of one database with homes.
const held = `
	SELECT format('index %s is invalid', indexrelid::regclass) FROM pg_index WHERE NOT indisvalid OR NOT indisready
	UNION ALL SELECT format('%s is held by session %s', slug, holder_pid) FROM manor.marker WHERE holder_pid IS NOT NULL`

// unfinished asks the catalog for what nobody works on any more and is not done.
const unfinished = `
	SELECT format('batch %s of rollout %s is %s', number, rollout_id, state) FROM batches WHERE state <> 'done'
	UNION ALL SELECT format('%s is %s in rollout %s, which is %s', slug, t.status, r.id, r.state) FROM targets t JOIN rollouts r ON r.id = t.rollout_id
	WHERE t.status IN ('pending', 'running', 'deferred', 'unknown') AND r.state NOT IN ('paused', 'aborted')
	UNION ALL SELECT format('snapshot %s is %s', id, state) FROM snapshots WHERE state NOT IN ('made', 'gone')
	UNION ALL SELECT format('%s is not settled', slug) FROM tenants WHERE NOT settled`

// atRest proves what must be so when nobody works and nothing is under way, of
// all clusters and the whole catalog.
func (e *estate) atRest(when string) {
	e.t.Helper()
	e.noneLeft(when)
	for _, line := range e.ask(unfinished).lines() {
		e.t.Errorf("%s: %s", when, line)
	}
	for name, server := range e.clusters {
		for _, difference := range e.Leftovers(server) {
			e.t.Errorf("%s, on cluster %s: %s", when, name, difference)
		}
		if e.t.Failed() {
			e.t.FailNow() // into what is not there nobody can look
		}
		for _, database := range e.ask("SELECT d.name FROM databases d JOIN clusters c ON c.id = d.cluster_id WHERE c.name = $1 AND d.isolation <> 'scratch'", name).lines() {
			for _, line := range e.askOn(name, database, held).lines() {
				e.t.Errorf("%s, in database %s on cluster %s: %s", when, database, name, line)
			}
		}
	}
}

// noneLeft waits until the sessions of dead processes are gone, and fails when
// they do not go.
func (e *estate) noneLeft(when string) {
	e.t.Helper()
	for name := range e.clusters {
		var lines []string
		e.Eventually("nobody holds anything on cluster "+name+" "+when, func() (bool, error) {
			lines = e.askOn(name, "postgres", left).lines()
			return len(lines) == 0, nil
		})
	}
}

// standing is what a tenant's home says about itself.
type standing struct {
	version string   // by its revisions
	partial []string // revisions that are not complete
	stamp   string   // version by the marker
	comment string   // version by the database's comment; "" if it has none
	lines   []string // of its ledger, in order
}

// stands asks a tenant itself where it is and what has happened to it.
func (e *estate) stands(tenant *controlplane.Tenant) (s standing) {
	e.t.Helper()
	schema := pgx.Identifier{tenant.Placement.Schema}.Sanitize()
	ctx := e.t.Context()
	err := connected(ctx, e.clusters[tenant.Cluster].URL(tenant.Placement.Database), func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT
				coalesce((SELECT max(version COLLATE "C") FROM `+schema+`.atlas_schema_revisions WHERE applied = total), ''),
				ARRAY(SELECT version FROM `+schema+`.atlas_schema_revisions WHERE applied <> total OR coalesce(error, '') <> ''),
				(SELECT version FROM manor.marker WHERE tenant_id = $1),
				coalesce((SELECT shobj_description(oid, 'pg_database')::json ->> 'version' FROM pg_database WHERE datname = current_database()), ''),
				ARRAY(SELECT line FROM `+schema+`.ledger ORDER BY id)`, tenant.ID).
			Scan(&s.version, &s.partial, &s.stamp, &s.comment, &s.lines)
	})
	if err != nil {
		e.t.Fatalf("ask %s: %v", tenant.Slug, err)
	}
	sum.checks.Add(1)
	sum.effects.Add(int64(len(s.lines)))
	return s
}

// isAt proves that a tenant is at a version: by its revisions, its stamps, the
// catalog, and the effects of all files that ever ran there.
func (e *estate) isAt(when, slug, version string) {
	e.t.Helper()
	tenant, err := e.ShowTenant(e.t.Context(), slug)
	if err != nil {
		e.t.Fatalf("%s: %v", when, err)
	}
	s := e.stands(tenant)
	if s.version != version || s.stamp != version || tenant.Version != version || tenant.Isolation == controlplane.IsolationDatabase && s.comment != version {
		e.t.Errorf("%s: %s should be at version %s; its revisions say %s, its marker %s, its database %q, the catalog %s",
			when, slug, version, s.version, s.stamp, s.comment, tenant.Version)
	}
	if len(s.partial) > 0 {
		e.t.Errorf("%s: %s has revisions that are not complete: %v", when, slug, s.partial)
	}
	if e.t.Failed() {
		e.t.Logf("the rollouts of %s:\n%s", slug, strings.Join(e.ask(history, tenant.ID).lines(), "\n"))
	}
	if at, err := walk(s.lines); err != nil || at != version {
		e.t.Errorf("%s: the effects in %s lead to version %q, not %s: %v\n%s", when, slug, at, version, err, strings.Join(s.lines, ", "))
	}
}

// walk follows the lines of a ledger and returns the version that they lead to.
// An effect that happened twice, or never, breaks the way.
func walk(lines []string) (version string, err error) {
	at := 0
	for _, line := range lines {
		way, file := "", 0
		if _, err := fmt.Sscanf(line, "%s %d", &way, &file); err != nil {
			return "", fmt.Errorf("line %q: %w", line, err)
		}
		switch {
		case way == "up" && file == at+1:
			at++
		case way == "down" && file == at:
			at--
		default:
			return fmt.Sprint(at), fmt.Errorf("%q at version %d", line, at)
		}
	}
	return fmt.Sprint(at), nil
}

// history is what the catalog says that rollouts did with a tenant.
const history = `SELECT format('%s to %s (%s): %s %s from %s at %s, attempts %s, %s, updated %s', r.id, r.version, r.state, direction, status, from_version, t.version, attempts, failure, t.updated_at)
	FROM targets t JOIN rollouts r ON r.id = t.rollout_id WHERE tenant_id = $1 ORDER BY r.created_at`

// counted proves that a rollout's targets are the tenants it was asked for, each
// with the status it must have.
func (e *estate) counted(when, id string, state controlplane.RolloutState, want map[string]controlplane.TargetStatus) {
	e.t.Helper()
	r, err := e.ShowRollout(e.t.Context(), id)
	if err != nil {
		e.t.Fatalf("%s: %v", when, err)
	}
	got := e.ask("SELECT slug || ' ' || status FROM targets WHERE rollout_id = $1 ORDER BY slug", id).lines()
	var lines []string
	for slug, status := range want {
		lines = append(lines, slug+" "+string(status))
	}
	slices.Sort(lines)
	if r.State != state || r.Counts.Sum() != len(want) || r.Targets != len(want) || !slices.Equal(lines, got) {
		e.t.Errorf("%s: rollout %s is %s (%s) with %d targets: %v; want %s: %v", when, id, r.State, r.Counts, r.Targets, got, state, lines)
	}
}
