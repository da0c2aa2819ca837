package chaos_test

import (
	"fmt"
	"maps"
)

// The releases of the drills. Every file writes a line into a ledger that
// takes any number of them, in the order in which they are written: what ran
// twice is there twice, and what did not run is missing.
//
// Statements pass a gate while the server runs them: they wait as long as a
// test holds the gate of that number for the tenant.
func releases() (first, second map[string]string) {
	first = map[string]string{
		"1_ledger.sql": `CREATE TABLE ledger (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, line text NOT NULL);
CREATE FUNCTION gate(step int) RETURNS int LANGUAGE sql AS 'SELECT 0 FROM pg_advisory_xact_lock_shared(step, hashtext(current_schema()))';
CREATE TABLE pace (seconds float8 NOT NULL);
` + line("up 1", 11),
		"2_notes.sql": "CREATE TABLE notes (id int PRIMARY KEY, body text, stars int);\n" +
			"INSERT INTO notes SELECT n, 'note ' || n, 5 FROM generate_series(1, 20) n;\n" + line("up 2", 21),
	}
	second = map[string]string{
		"3_pinned.sql": "ALTER TABLE notes ADD COLUMN pinned int DEFAULT gate(31);\n" +
			"SELECT pg_sleep(seconds) FROM pace;\n" +
			"ALTER TABLE notes ADD CONSTRAINT notes_stars_check CHECK (stars >= 0 AND gate(32) = 0);\n" + line("up 3", 33),
		"4_tags.sql": "CREATE TABLE tags AS SELECT gate(41) AS id;\nCREATE INDEX tags_idx ON tags (id);\n" +
			"UPDATE notes SET body = body || '!' WHERE gate(42) = 0;\n" + line("up 4", 43),
		"5_search.sql": "-- atlas:txmode none\n\nCREATE INDEX CONCURRENTLY notes_body_idx ON notes (body);\n" +
			"CREATE INDEX CONCURRENTLY notes_pinned_idx ON notes (pinned);\n" + line("up 5", 51),
		"down/5_search.sql": "DROP INDEX notes_pinned_idx;\nDROP INDEX notes_body_idx;\n" + line("down 5", 52),
		"down/4_tags.sql":   "UPDATE notes SET body = rtrim(body, '!') WHERE gate(44) = 0;\nDROP TABLE tags;\n" + line("down 4", 45),
		"down/3_pinned.sql": "ALTER TABLE notes DROP CONSTRAINT notes_stars_check;\nALTER TABLE notes DROP COLUMN pinned;\n" + line("down 3", 34),
	}
	maps.Copy(second, first)
	return first, second
}

// line writes into the ledger, through a gate.
func line(text string, gate int) string {
	return fmt.Sprintf("INSERT INTO ledger (line) SELECT '%s' WHERE gate(%d) = 0;\n", text, gate)
}

// The gates that a rollout of the second release passes, and those of its
// rollback, in order.
var (
	gatesUp   = []int{31, 32, 33, 41, 42, 43, 51}
	gatesDown = []int{52, 44, 45, 34}
)

// poison is what a tenant has that cannot take file 3.
const poison = "UPDATE notes SET stars = -1 WHERE id = 1"

// broken is a release that no new home survives.
func broken() map[string]string {
	return map[string]string{"1_notes.sql": "CREATE TABLE notes (id int);\n", "2_broken.sql": "SELECT 1/0;\n"}
}
