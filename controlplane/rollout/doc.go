// Package rollout takes selections of tenants from the versions they are at to
// one version, and back.
//
// Owns: Rollout, Wave, Batch, Target, Strategy, Plan. May import: tenant and the
// rooms after it, and the ground.
// Doors: Plan, Start, List, Show, Targets, Pause, Resume, Abort, Approve, Skip,
// Retry, Rollback, PlanRollback; ApplyStrategy, Strategies, Strategy; Status,
// Workers. Loops: [Service.Advance] obeys what [Next] decides;
// [Service.WorkBatch] works through one batch under a lease; [Service.Sweep]
// takes back what a dead worker held; [Service.SweepSnapshots] drops copies and
// opens what was left closed.
//
// Each of these is apart from the others:
//   - deciding, in pure functions: next.go (what to start), next_wave.go (when
//     the next wave may begin), waves.go (who is in which), batches.go (batches),
//     pace.go (how much at a time on a cluster), retry.go (when to come back)
//   - obeying what was decided: advance.go, and late.go for tenants that join;
//     undo.go plans a rollback, rollback.go begins it
//   - running: runner.go (a batch), attempt.go (a tenant), watch.go (what is
//     looked at from beside)
//   - judging, in pure functions: judge.go (what happened to a tenant); check.go
//     (that it is what its revisions say)
//   - copying tenants' databases, and putting the copies back: snapshots.go (what
//     may be), snapshot.go (a tenant), snapshot_sweep.go (what is left over)
//   - asking what a wave waits for: gate.go
//   - storing and reporting: store.go, wave_store.go, lease.go, report.go
//   - what operators say: service.go, plan.go, control.go, strategy.go
//   - answering: query.go, course.go, workers.go
package rollout
