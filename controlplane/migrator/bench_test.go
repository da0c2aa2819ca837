package migrator_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/migrator"
)

const (
	benchTenants = 200 // each way
	benchAtATime = 4
	benchBlock   = 20 // tenants; the ways take turns, as a machine's speed drifts
	benchRounds  = 5  // between them all go back down, unmeasured
)

// BenchmarkApply brings tenants of the sample application from release 1 to
// release 2 through the engine, and as many by the same SQL as raw pgx: one
// message, one transaction, no check of anything. Run it with -benchtime=1x.
func BenchmarkApply(b *testing.B) {
	r, err := migrator.Parse(sample(b))
	noError(b, err)
	versions := r.Versions()
	from, to := versions[len(versions)-3].Version, versions[len(versions)-1].Version
	for b.Loop() {
		b.StopTimer()
		db := newDatabase(b)
		conns := make([]*pgx.Conn, benchAtATime)
		for i := range conns {
			conns[i] = db.connect()
		}
		homes := make([]migrator.Target, 2*benchTenants)
		for i := range homes {
			homes[i] = db.home(fmt.Sprint("t", i))
		}
		atATime(b, conns, homes, func(conn *pgx.Conn, home migrator.Target) error {
			home.Fresh = true
			return r.Apply(b.Context(), conn, home, from, migrator.Limits{}).Err
		})
		db.exec("ANALYZE")
		b.StartTimer()
		var engine, raw time.Duration
		for range benchRounds {
			e, w := race(b, conns, homes, r, from, to)
			engine, raw = engine+e, raw+w
			b.StopTimer()
			atATime(b, conns, homes, func(conn *pgx.Conn, home migrator.Target) error {
				home.From = to
				return r.Revert(b.Context(), conn, home, from, undoLast(to), migrator.Limits{}).Err
			})
			b.StartTimer()
		}
		b.ReportMetric(benchRounds*benchTenants/engine.Seconds(), "engine-tenants/s")
		b.ReportMetric(benchRounds*benchTenants/raw.Seconds(), "raw-tenants/s")
		b.ReportMetric(raw.Seconds()/engine.Seconds(), "engine/raw")
	}
}

// undoLast is the reverse of the sample application's last version, which has
// no down file.
func undoLast(version string) migrator.Reverses {
	return migrator.Reverses{version: {Statements: []string{"DROP TABLE checklist_items"}, Kind: controlplane.DownComputed}}
}

// race returns how long each way took for half of the homes.
func race(b *testing.B, conns []*pgx.Conn, homes []migrator.Target, r *migrator.Release, from, to string) (engine, raw time.Duration) {
	message := rawMessage(b, r, from, to)
	ways := []func(){
		func() {
			engine += atATime(b, conns, homes[:benchBlock], func(conn *pgx.Conn, home migrator.Target) error {
				home.From = from
				res := r.Apply(b.Context(), conn, home, to, migrator.Limits{})
				if res.Outcome != migrator.Applied {
					return fmt.Errorf("%s: %v", res.Outcome, res.Err)
				}
				return nil
			})
		},
		func() {
			raw += atATime(b, conns, homes[:benchBlock], func(conn *pgx.Conn, home migrator.Target) error {
				_, err := conn.PgConn().Exec(b.Context(), strings.ReplaceAll(message, "$SCHEMA", home.Schema)).ReadAll()
				return err
			})
		},
	}
	for len(homes) > 0 {
		for _, way := range ways {
			way()
			homes = homes[benchBlock:]
		}
		slices.Reverse(ways)
	}
	return engine, raw
}

// rawMessage is the SQL of the versions, with the rows of Atlas's table.
func rawMessage(b *testing.B, r *migrator.Release, from, to string) string {
	sql := "BEGIN; SET LOCAL search_path = $SCHEMA, extensions;\n"
	for _, v := range r.Versions() {
		if v.Version > from && v.Version <= to {
			sql += string(r.Files()[v.Name]) + fmt.Sprintf(`
INSERT INTO $SCHEMA.atlas_schema_revisions (version, description, type, applied, total, executed_at, execution_time, error, error_stmt, hash, partial_hashes, operator_version)
VALUES ('%s', '', 2, %d, %d, now(), 0, '', '', '%s', 'null', 'raw');`, v.Version, v.Statements, v.Statements, v.Hash)
		}
	}
	return sql + "\nCOMMIT"
}

// atATime works through homes, one per connection at a time, and returns how long it took.
func atATime(b *testing.B, conns []*pgx.Conn, homes []migrator.Target, work func(*pgx.Conn, migrator.Target) error) time.Duration {
	b.Helper()
	queue := make(chan migrator.Target, len(homes))
	for _, home := range homes {
		queue <- home
	}
	close(queue)
	started := time.Now()
	var group errgroup.Group
	for _, conn := range conns {
		group.Go(func() error {
			for home := range queue {
				if err := work(conn, home); err != nil {
					return err
				}
			}
			return nil
		})
	}
	noError(b, group.Wait())
	return time.Since(started)
}
