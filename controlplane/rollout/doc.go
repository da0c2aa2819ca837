// Package rollout takes selections of tenants from the versions they are at to
// one version, and back.
//
// Owns: Rollout, Batch, Target. May import: tenant and the rooms after it, and
// the ground.
// Doors: Start, Plan, List, Show, Targets, Resume, Retry, Rollback,
// PlanRollback, Status. Loops: [Service.Advance] obeys what [Next] decides;
// [Service.WorkBatch] works through one batch under a lease; [Service.Sweep]
// takes back what a dead worker held.
//
// Deciding (next.go, plan.go), running (runner.go, attempt.go), storing
// (store.go, report.go) and answering (query.go) are apart.
package rollout
