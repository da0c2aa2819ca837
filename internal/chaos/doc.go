// Package chaos kills real `manor worker` processes, everywhere and at random,
// and proves that nothing is lost. It has tests only.
//
// A drill is something a worker does: make a home, purge one, take a rollout up
// or back. A first run of the drill, without a death, tells by which points of
// internal/failpoint the worker comes; then it is run once for each, and dies
// there. Another worker ends it, and everything is checked: every tenant at
// exactly its version by its own revisions, one effect each, the accounting, no
// lock, lease, open transaction or invalid index left, the catalog equal to the
// clusters. The same for each statement of a release while the server runs it.
//
// Then three workers on two clusters are killed and stopped at random, by a
// seed that is printed, while rollouts go up and down and tenants come and go.
//
//	make chaos                                  all points and pairs of them, and ten minutes
//	go test ./internal/chaos                    every n-th point, some minutes
//	go test ./internal/chaos -run 'Point/schema/rollout' -point 'rollout.report.commit#2'
//	go test ./internal/chaos -run Random -seed 42
//
// Owns: nothing. May import: anything. Doors: none. Loops: none.
package chaos
