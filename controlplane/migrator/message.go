package migrator

import (
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/manorhq/manor/controlplane/pg"
)

// script is SQL for one round trip. What differs between tenants stands in
// slots between the parts, so that a script is made once for all of them.
type script struct {
	parts []string
	slots []slot // slots[i] stands after parts[i]
	steps []step // one per SQL statement
}

// slot is what a tenant has for itself in a script.
type slot uint8

const (
	identity     slot = iota // tenant, schema, generation, epoch, incarnation as SQL constants
	limits                   // whether the database is the tenant's own, and the time limits
	quotedSchema             // of its home
)

// step is one SQL statement of a script, with the byte of the part where it begins.
type step struct {
	file      *file // nil: it belongs to none
	statement int   // of the file, from 1; 0: Manor's own
	commits   bool
	part, at  int
}

// values fill the slots.
type values [3]string

func (t Target) values(l Limits) values {
	return values{
		identity: fmt.Sprintf("%s, %s, %d, %d, %s", pg.Literal(t.TenantID), pg.Literal(t.Schema),
			t.Generation, t.Epoch, pg.Literal(t.Incarnation)),
		limits:       fmt.Sprintf("%t, %d, %d", t.ownDatabase(), l.Lock.Milliseconds(), l.Statement.Milliseconds()),
		quotedSchema: pg.Quote(t.Schema),
	}
}

// fill returns the SQL for one tenant.
func (s *script) fill(v values) string {
	size := 0
	for i, part := range s.parts {
		size += len(part)
		if i < len(s.slots) {
			size += len(v[s.slots[i]])
		}
	}
	var b strings.Builder
	b.Grow(size)
	for i, part := range s.parts {
		b.WriteString(part)
		if i < len(s.slots) {
			b.WriteString(v[s.slots[i]])
		}
	}
	return b.String()
}

// start returns the byte of the filled script at which a step begins.
func (s *script) start(v values, i int) int {
	at := s.steps[i].at
	for p := range s.steps[i].part {
		at += len(s.parts[p]) + len(v[s.slots[p]])
	}
	return at
}

// stepAt returns the step that holds a character, from 1, of the filled script.
func (s *script) stepAt(v values, sql string, position int, length func(string) int) int {
	found, from, before := 0, 0, 0
	for i := range s.steps {
		start := s.start(v, i)
		before += length(sql[from:start])
		if before >= position {
			break
		}
		found, from = i, start
	}
	return found
}

// builder writes a script.
type builder struct {
	script
	part strings.Builder
}

func (b *builder) slot(s slot) {
	b.parts, b.slots = append(b.parts, b.part.String()), append(b.slots, s)
	b.part.Reset()
}

func (b *builder) step(s step) {
	s.part, s.at = len(b.parts), b.part.Len()
	b.steps = append(b.steps, s)
}

// own adds a statement of Manor's, without slots.
func (b *builder) own(f *file, sql string) {
	b.step(step{file: f})
	b.part.WriteString(sql + ";\n")
}

func (b *builder) begin(f *file) { b.own(f, "BEGIN ISOLATION LEVEL READ COMMITTED") }

func (b *builder) commit(f *file) {
	b.step(step{file: f, commits: true})
	b.part.WriteString("COMMIT;\n")
}

// body adds the nth statement of a file.
func (b *builder) body(f *file, n int, sql string, ended bool) {
	b.step(step{file: f, statement: n})
	b.part.WriteString(sql)
	if !ended {
		b.part.WriteString("\n;") // the last line may be a comment
	}
	b.part.WriteString("\n")
}

func (b *builder) done() *script {
	b.parts = append(b.parts, b.part.String())
	return &b.script
}

// clean puts the session back to what it was when it was opened: a statement
// of the tenant before may have left settings and temporary tables behind.
func (b *builder) clean(f *file) {
	b.own(f, "RESET ALL")
	b.own(f, "DISCARD TEMP")
}

// state is a version with the hash of its file; empty before the first file.
type state struct{ version, hash string }

// enter adds the proof that the session is at the tenant and the tenant at a
// version, and stamps it with the next.
func (b *builder) enter(f *file, at state, next, release string) {
	b.step(step{file: f})
	b.part.WriteString("SELECT manor.enter(")
	b.slot(identity)
	b.part.WriteString(", ")
	b.slot(limits)
	fmt.Fprintf(&b.part, ", %s, %s, %s, %s);\n", pg.Literal(at.version), pg.Literal(at.hash), pg.Literal(next), pg.Literal(release))
}

// upScript is the message that applies consecutive transactional files.
func upScript(files []*file, at state, release string) *script {
	var b builder
	b.clean(files[0])
	for _, f := range files {
		b.begin(f)
		b.enter(f, at, f.version, release)
		for i, s := range f.statements {
			b.body(f, i+1, s.plain(), s.ended)
		}
		b.record(f)
		b.commit(f)
		at = state{f.version, f.hash}
	}
	return b.done()
}

// downScript is the message that undoes files, the last one first. downs[i]
// undoes files[i]; before is the state below the first.
func downScript(files, downs []*file, before state, release string) *script {
	var b builder
	b.clean(downs[len(downs)-1])
	for i := len(files) - 1; i >= 0; i-- {
		below := before
		if i > 0 {
			below = state{files[i-1].version, files[i-1].hash}
		}
		f := downs[i]
		b.begin(f)
		b.enter(f, state{files[i].version, files[i].hash}, below.version, release)
		for n, s := range f.statements {
			b.body(f, n+1, s.sql, s.ended)
		}
		b.step(step{file: f})
		b.part.WriteString("DELETE FROM ")
		b.slot(quotedSchema)
		b.part.WriteString(".atlas_schema_revisions WHERE version = " + pg.Literal(files[i].version) + ";\n")
		b.commit(f)
	}
	return b.done()
}

// checkScript proves that a tenant is at a version and changes nothing but an
// outdated stamp.
func checkScript(at state, release string) *script {
	var b builder
	b.clean(nil)
	b.begin(nil)
	b.enter(nil, at, at.version, release)
	b.commit(nil)
	return b.done()
}

const revisionColumns = "(version, description, type, applied, total, executed_at, execution_time, error, error_stmt, hash, partial_hashes, operator_version)"

// record adds Atlas's revision of a file that was applied as a whole: type 2,
// partial_hashes the JSON null. The time is that since BEGIN, in nanoseconds.
func (b *builder) record(f *file) {
	b.step(step{file: f})
	b.part.WriteString("INSERT INTO ")
	b.slot(quotedSchema)
	fmt.Fprintf(&b.part, `.atlas_schema_revisions %s VALUES (%s, %s, 2, %d, %d, now(), %s, '', '', %s, 'null', %s);`+"\n",
		revisionColumns, pg.Literal(f.version), pg.Literal(f.description), len(f.statements), len(f.statements),
		sinceBegin, pg.Literal(f.hash), pg.Literal(operator()))
}

const sinceBegin = "(extract(epoch FROM clock_timestamp() - now()) * 1000000000)::bigint"

// operator is what Atlas's revisions say of who wrote them.
var operator = sync.OnceValue(func() string {
	version := "dev"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		version = info.Main.Version
	}
	return "Manor " + version
})

// characters returns how a server counts the characters of a message, given its
// encoding.
func characters(encoding string) func(string) int {
	if encoding == "SQL_ASCII" {
		return func(s string) int { return len(s) }
	}
	return utf8.RuneCountInString
}
