// Package pgtest gives each test a PostgreSQL database of its own, on a real server, so that tests run in parallel.
//
// The server is shared by the tests of one process, that is, of one package; it starts when the first test asks and
// ends with the process. MANOR_TEST_POSTGRES, the URL of a superuser, names a server to use instead; MANOR_TEST_PG
// names the major version to start, such as 18.
//
// Owns: the databases and roles it makes, until the test's cleanup.
// May import: internal/devpg and pgx.
// Doors: Server, NewServer, Database, ControlLogin.
// Loops: none.
package pgtest
