package chaos_test

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
)

// waitingAt is a backend that waits at a gate.
const waitingAt = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND classid = $1::int::oid"

// waitsForOthers is a backend that builds an index concurrently and waits for
// the transactions of others.
const waitsForOthers = `SELECT a.pid FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid
	WHERE l.locktype = 'virtualxid' AND NOT l.granted AND a.query ~ 'CONCURRENTLY' AND a.datname = current_database()`

// visitor is a session of the test's in a tenant's database.
type visitor struct {
	b      *block
	conn   *pgx.Conn
	tenant *controlplane.Tenant
}

func (b *block) visit(slug string) *visitor {
	b.t.Helper()
	tenant, err := b.ShowTenant(b.t.Context(), slug)
	if err != nil {
		b.t.Fatal(err)
	}
	return &visitor{b, controlplanetest.Superuser(b.t, b.clusters[tenant.Cluster], tenant.Placement.Database), tenant}
}

func (v *visitor) leave() { _ = v.conn.Close(context.WithoutCancel(v.b.t.Context())) }

func (v *visitor) exec(statement string, args ...any) {
	v.b.t.Helper()
	if _, err := v.conn.Exec(v.b.t.Context(), statement, args...); err != nil {
		v.b.t.Fatalf("%s: %v", statement, err)
	}
}

// shut holds a gate for the tenant.
func (v *visitor) shut(gate int) {
	v.b.t.Helper()
	v.exec("SELECT pg_advisory_lock($1, hashtext($2))", gate, v.tenant.Placement.Schema)
}

func (v *visitor) open(gate int) {
	v.b.t.Helper()
	v.exec("SELECT pg_advisory_unlock($1, hashtext($2))", gate, v.tenant.Placement.Schema)
}

// sees waits for a backend that a query finds.
func (v *visitor) sees(what, query string, args ...any) (pid int) {
	v.b.t.Helper()
	v.b.Eventually(what, func() (bool, error) {
		rows, _ := v.conn.Query(v.b.t.Context(), query, args...)
		pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
		if len(pids) > 0 {
			pid = pids[0]
		}
		return len(pids) > 0, err
	})
	return pid
}

// gone waits until a backend has ended what it was about.
func (v *visitor) gone(pid int) {
	v.b.t.Helper()
	v.b.Eventually(fmt.Sprintf("backend %d is gone", pid), func() (gone bool, err error) {
		err = v.conn.QueryRow(v.b.t.Context(), "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)", pid).Scan(&gone)
		return gone, err
	})
}

// healed has another worker end a drill, and proves everything.
func (b *block) healed(d drill, when string) {
	b.t.Helper()
	sum.points.Add(1)
	sum.deaths.Add(1)
	b.lapse()
	w := b.worker("", "")
	b.Eventually(when+", ends", d.ended)
	w.kill()
	b.lapse()
	d.check(when)
	b.atRest(when)
	if b.t.Failed() {
		b.t.Fatal(when)
	}
}

// behind kills a worker while the server runs the statement behind a gate. The
// server goes on with the message it has: to COMMIT when the gate opens, and
// to a rollback when it stays shut for longer than lock_timeout.
func (b *block) behind(d drill, gate int, opens bool) {
	b.t.Helper()
	v := b.visit(b.slugs[0])
	defer v.leave()
	v.shut(gate)
	d.start()
	victim := b.worker("", "")
	pid := v.sees(fmt.Sprintf("a statement waits at gate %d", gate), waitingAt, gate)
	victim.kill()
	if opens {
		v.open(gate)
	}
	v.gone(pid)
	if !opens {
		v.open(gate)
	}
	b.healed(d, fmt.Sprintf("%s, killed while the server was at gate %d, which then opened: %v", d.name, gate, opens))
}

func TestRequirement05KilledWhileTheServerRunsAnyStatement(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, like controlplane.NewTenant) {
		b := newBlock(t, like)
		n, step := 0, min(every(t), 5)
		for _, opens := range []bool{true, false} {
			for i := range max(len(gatesUp), len(gatesDown)) {
				if n++; n%step != 0 {
					continue
				}
				b.behind(b.up(), gatesUp[i%len(gatesUp)], opens)
				b.behind(b.down(), gatesDown[i%len(gatesDown)], opens)
			}
		}
	})
}

// building has a worker's backend build an index concurrently, with a
// transaction of the writer's in its way.
func (b *block) building(d drill, v, writer *visitor) (victim *worker, builder int) {
	b.t.Helper()
	last := gatesUp[len(gatesUp)-2]
	v.shut(last) // to get in between the file before and the build
	d.start()
	victim = b.worker("", "")
	v.sees("the file before waits", waitingAt, last)
	writer.exec("BEGIN")
	writer.exec("INSERT INTO " + v.tenant.Placement.Schema + ".notes VALUES (1000, 'under way', 1)")
	v.open(last)
	return victim, v.sees("the build waits", waitsForOthers)
}

func TestRequirement05KilledWhileAnIndexIsBuiltConcurrently(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, like controlplane.NewTenant) {
		b := newBlock(t, like)
		for name, end := range map[string]func(v, writer *visitor, victim *worker, builder int){
			"the server then ends the build": func(v, writer *visitor, victim *worker, builder int) {
				victim.kill()
				writer.exec("ROLLBACK")
				v.gone(builder)
			},
			"the build is then cancelled": func(v, writer *visitor, victim *worker, builder int) {
				victim.kill()
				v.exec("SELECT pg_terminate_backend($1)", builder)
				writer.exec("ROLLBACK")
				v.gone(builder)
				if len(b.askOn("one", v.tenant.Placement.Database, held).lines()) == 0 {
					t.Error("there is no invalid index: the test tests nothing")
				}
			},
			"another worker comes while it goes on": func(v, writer *visitor, victim *worker, builder int) {
				victim.signal(syscall.SIGSTOP) // of a dead one the server would soon notice
				b.lapse()
				w := b.worker("", "")
				var target string
				defer func() {
					if t.Failed() {
						t.Logf("the target is %s", target)
					}
				}()
				b.Eventually("the other finds the tenant busy", func() (bool, error) {
					err := b.ask("SELECT status || ' ' || coalesce(failure::text, '') FROM targets WHERE rollout_id = $1 AND tenant_id = $2",
						b.rollout, v.tenant.ID).Scan(&target)
					return strings.Contains(target, "MN001"), err
				})
				w.kill()
				victim.kill()
				writer.exec("ROLLBACK")
				v.gone(builder)
			},
		} {
			v, writer := b.visit(b.slugs[0]), b.visit(b.slugs[0])
			victim, builder := b.building(b.up(), v, writer)
			end(v, writer, victim, builder)
			v.leave()
			writer.leave()
			b.healed(b.up(), "rollout, killed while an index is built; "+name)
			b.run(b.down(), "")
		}
	})
}
