// Package rollout takes selections of tenants from the versions they are at to
// one version, and back.
//
// Owns: Rollout, Batch, Target. May import: tenant and the rooms after it, and
// the ground.
// Doors: Start, Plan, List, Show, Targets, Resume, Retry, Rollback,
// PlanRollback, Status, Workers. Loops: [Service.Advance] obeys what [Next] decides;
// [Service.WorkBatch] works through one batch under a lease; [Service.Sweep]
// takes back what a dead worker held.
//
// Each of these is apart from the others:
//   - deciding, in pure functions: next.go (what to start), plan.go (batches),
//     pace.go (how much at a time on a cluster)
//   - obeying what was decided: advance.go, and late.go for tenants that join;
//     undo.go plans a rollback, rollback.go begins it
//   - running: runner.go (a batch), attempt.go (a tenant), watch.go (what is
//     looked at from beside)
//   - judging, in pure functions: judge.go (what happened to a tenant)
//   - storing and reporting: store.go, lease.go, report.go
//   - answering: query.go, course.go, workers.go
package rollout
