package pg

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/manorhq/manor/controlplane"
)

// markers returns a session of the owner of a database with one home, and its marker.
func markers(t *testing.T) (*fixture, *pgx.Conn, Database, keys, Marker) {
	t.Helper()
	f := newFixture(t)
	d, h, k := f.plan()
	f.make(d, k, h)
	return f, f.connect(f.as(d.Owner, k[d.Owner]), d.Name), d, k, h.marker()
}

func TestMarkerOfAHomeIsNotGivenToAnother(t *testing.T) {
	t.Parallel()
	_, owner, _, _, mine := markers(t)
	tests := map[string]struct {
		change func(*Marker)
		ours   bool
	}{
		"the same":           {func(*Marker) {}, true},
		"a renamed tenant":   {func(m *Marker) { m.Slug = "renamed" }, true},
		"a newer epoch":      {func(m *Marker) { m.Epoch++ }, true},
		"another tenant":     {func(m *Marker) { m.TenantID = "other" }, false},
		"another schema":     {func(m *Marker) { m.Schema = "t_other" }, false},
		"another generation": {func(m *Marker) { m.Generation++ }, false},
		"another catalog":    {func(m *Marker) { m.Incarnation = "staging" }, false},
	}
	for name, test := range tests {
		m := mine
		test.change(&m)
		for what, brick := range map[string]func(pgx.Tx) error{
			"write":  func(tx pgx.Tx) error { return writeMarker(t.Context(), tx, m) },
			"delete": func(tx pgx.Tx) error { return deleteMarker(t.Context(), tx, m) },
		} {
			tx, err := owner.Begin(t.Context())
			must(t, err)
			err = brick(tx)
			if test.ours && err != nil || !test.ours && controlplane.CodeOf(err) != controlplane.Refused {
				t.Errorf("%s, %s: %v", name, what, err)
			}
			must(t, tx.Rollback(t.Context()))
		}
	}
	found, err := ReadMarkers(t.Context(), owner)
	must(t, err)
	if len(found) != 1 || found[0].Marker != mine || found[0].Version != "" {
		t.Errorf("markers %+v, want that of %+v", found, mine)
	}
}

func TestMarkerIsDeletedOnceAndMayBeGone(t *testing.T) {
	t.Parallel()
	_, owner, _, _, m := markers(t)
	for range 2 {
		must(t, pgx.BeginFunc(t.Context(), owner, func(tx pgx.Tx) error { return deleteMarker(t.Context(), tx, m) }))
	}
	found, err := ReadMarkers(t.Context(), owner)
	must(t, err)
	if len(found) != 0 {
		t.Errorf("left behind: %+v", found)
	}
}

func TestMarkersAreInstalledByManyAtOnceAndKept(t *testing.T) {
	t.Parallel()
	f, owner, d, k, m := markers(t)
	var group errgroup.Group
	for range 4 {
		conn := f.connect(f.as(d.Owner, k[d.Owner]), d.Name)
		group.Go(func() error { return installMarker(t.Context(), conn) })
	}
	must(t, group.Wait())
	found, err := ReadMarkers(t.Context(), owner)
	must(t, err)
	if len(found) != 1 || found[0].Marker != m {
		t.Errorf("markers %+v, want that of %+v", found, m)
	}
}

// TestMarkersAreMadeByManyAtOnce where there is no row yet to wait at: for the
// first time, or over the first edition.
func TestMarkersAreMadeByManyAtOnce(t *testing.T) {
	t.Parallel()
	f, owner, d, k, _ := markers(t)
	var conns []*pgx.Conn
	for range 4 {
		conns = append(conns, f.connect(f.as(d.Owner, k[d.Owner]), d.Name))
	}
	for range 5 {
		for _, before := range []string{"DROP SCHEMA manor CASCADE", "DROP FUNCTION manor.edition; DROP TABLE manor.build CASCADE"} {
			exec(t, owner, before)
			var group errgroup.Group
			for _, conn := range conns {
				group.Go(func() error { return FurnishDatabase(t.Context(), conn, d) })
			}
			must(t, group.Wait())
			exec(t, owner, "SELECT manor.claim_build(), manor.release_build()")
		}
	}
}

// TestNoTenantKeepsMarkersFromBeingInstalled by a lock that any login may take.
func TestNoTenantKeepsMarkersFromBeingInstalled(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d, h, k := f.plan()
	f.make(d, k, h)
	owner, tenant := f.connect(f.as(d.Owner, k[d.Owner]), d.Name), f.connect(f.as(h.Logins[0], k[h.Logins[0]]), d.Name)
	exec(t, tenant, "SELECT pg_advisory_lock(hashtextextended('manor.marker', 0))")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	must(t, FurnishDatabase(ctx, owner, d))
	exec(t, owner, "CREATE OR REPLACE FUNCTION manor.edition() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 1'")
	must(t, UpgradeMarker(ctx, owner))
	exec(t, owner, "BEGIN")
	exec(t, owner, markerSQL)
	if held := query(t, owner, "SELECT objid::text FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"); len(held) > 0 {
		t.Errorf("holds advisory locks %v, which a tenant may hold for ever", held)
	}
	exec(t, owner, "ROLLBACK")
}

// TestOneSessionAtATimeHoldsTheBuild, however many want it, and a dead one does not.
func TestOneSessionAtATimeHoldsTheBuild(t *testing.T) {
	t.Parallel()
	f, owner, d, k, _ := markers(t)
	var holders, claims atomic.Int32
	var group errgroup.Group
	for range 6 {
		conn := f.connect(f.as(d.Owner, k[d.Owner]), d.Name)
		group.Go(func() error {
			for range 50 {
				_, err := conn.Exec(t.Context(), "SELECT manor.claim_build()")
				if hasState(err, StateBuilding) {
					continue
				}
				if n := holders.Add(1); err != nil || n > 1 {
					return fmt.Errorf("%d sessions hold the build: %w", n, err)
				}
				claims.Add(1)
				holders.Add(-1)
				if _, err := conn.Exec(t.Context(), "SELECT manor.release_build()"); err != nil {
					return err
				}
			}
			return nil
		})
	}
	must(t, group.Wait())
	dead := f.connect(f.as(d.Owner, k[d.Owner]), d.Name)
	exec(t, dead, "SELECT manor.claim_build()")
	if _, err := owner.Exec(t.Context(), "SELECT manor.claim_build()"); !hasState(err, StateBuilding) {
		t.Errorf("claimed twice: %v", err)
	}
	exec(t, owner, fmt.Sprintf("SELECT pg_terminate_backend(%d, 30000)", dead.PgConn().PID()))
	exec(t, owner, "SELECT manor.claim_build()")
	if claims.Load() == 0 {
		t.Error("nobody ever had it")
	}
}

// TestABuildIsClaimedByWhoIsThereNow: not as the sessions or the claim were when
// the transaction of the one who asks began.
func TestABuildIsClaimedByWhoIsThereNow(t *testing.T) {
	t.Parallel()
	f, owner, d, k, _ := markers(t)
	connect := func() *pgx.Conn { return f.connect(f.as(d.Owner, k[d.Owner]), d.Name) }
	late := connect()
	exec(t, late, "BEGIN")
	exec(t, late, "SELECT FROM pg_stat_activity")
	first := connect()
	exec(t, first, "SELECT manor.claim_build()")
	if _, err := late.Exec(t.Context(), "SELECT manor.claim_build()"); !hasState(err, StateBuilding) {
		t.Errorf("by one who has not seen the holder come: %v", err)
	}
	exec(t, late, "ROLLBACK")
	exec(t, first, "SELECT manor.release_build(); BEGIN")
	exec(t, first, "SELECT manor.claim_build()")
	waits := make(chan error, 1)
	go func() {
		_, err := late.Exec(t.Context(), "SELECT manor.claim_build()")
		waits <- err
	}()
	for len(query(t, owner, "SELECT locktype FROM pg_locks WHERE pid = $1 AND NOT granted", int(late.PgConn().PID()))) == 0 {
	}
	exec(t, first, "COMMIT")
	if err := <-waits; !hasState(err, StateBuilding) {
		t.Errorf("by one who came a moment later: %v", err)
	}
}

func TestMarkersOfANewerProgramAreLeftAlone(t *testing.T) {
	t.Parallel()
	_, owner, d, _, _ := markers(t)
	if edition, err := markerOf(t.Context(), owner); err != nil || edition != markerEdition {
		t.Fatalf("marker.sql is edition %d, the program's is %d: %v", edition, markerEdition, err)
	}
	exec(t, owner, "CREATE OR REPLACE FUNCTION manor.edition() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 1000'; DROP FUNCTION manor.claim_build")
	must(t, FurnishDatabase(t.Context(), owner, d))
	must(t, UpgradeMarker(t.Context(), owner))
	if got := query(t, owner, "SELECT to_regproc('manor.claim_build') IS NULL || ''"); got[0] != "true" {
		t.Error("an older program changed it")
	}
}

func TestADatabaseWithoutMarkersGetsNoneUnasked(t *testing.T) {
	t.Parallel()
	super := newFixture(t).super("postgres")
	must(t, UpgradeMarker(t.Context(), super))
	if got := query(t, super, "SELECT to_regnamespace('manor') IS NULL || ''"); got[0] != "true" {
		t.Error("schema manor was made in a database that is not Manor's")
	}
}

func TestSchemaManorIsClosedToEverybodyButTheOwner(t *testing.T) {
	t.Parallel()
	_, owner, _, _, _ := markers(t)
	open := query(t, owner, `
		SELECT p.proname::text FROM pg_proc p WHERE p.pronamespace = 'manor'::regnamespace
			AND (has_function_privilege('public', p.oid, 'EXECUTE') OR p.prosecdef OR p.proconfig IS NOT NULL)
		UNION ALL SELECT 'schema manor' WHERE has_schema_privilege('public', 'manor', 'USAGE, CREATE')
		UNION ALL SELECT 'table ' || c.relname FROM pg_class c WHERE c.relnamespace = 'manor'::regnamespace AND c.relkind = 'r'
			AND has_table_privilege('public', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')`)
	if len(open) > 0 {
		t.Errorf("open to PUBLIC, or run with other rights or settings: %v", open)
	}
}
