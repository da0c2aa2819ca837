// Package failpoint marks the boundaries between steps, so that a test can kill
// or stop a process at each of them: the database's own kill -9 drill.
//
// Without the build tag failpoints every call is an empty function that the
// compiler inlines away. With it, the environment says what happens where:
//
//	MANOR_FAILPOINT=rollout.lease.commit#2=kill,cluster.write#7=stop
//	MANOR_FAILPOINT_LOG=/tmp/points
//
// A death is a point, which time it is reached (from 1), and what happens then:
// kill and stop are SIGKILL and SIGSTOP to the process itself, panic panics and
// sleep:1s waits. The log is a line per point reached, with the count: a first
// run without a death tells which points there are. No list of them is kept,
// and internal/chaos fails when one in the source is never reached.
//
// Owns: the two variables. May import: the standard library. Rooms and ground
// import it, and nobody else outside internal. Doors: [Reach], [Caller], [Dial].
// Loops: none.
package failpoint
