package arch

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Violation is one breach of one rule.
type Violation struct {
	Path   string // file, or folder where a file is missing
	Import string // "" where the rule is not about imports
	Rule   string
	Why    string
}

func (v Violation) String() string {
	if v.Import == "" {
		return fmt.Sprintf("%s: %s [%s]", v.Path, v.Why, v.Rule)
	}
	return fmt.Sprintf("%s imports %s: %s [%s]", v.Path, v.Import, v.Why, v.Rule)
}

// rule judges one import of one file: why it may not be, "" when it may.
type rule struct {
	name  string
	tests bool // holds for tests, and for packages that are there for tests, too
	judge func(f File, imported string) string
}

var importRules = []rule{
	{name: "nouns", judge: nouns},
	{name: "order", judge: inOrder},
	{name: "edges", judge: atTheEdge},
	{name: "daemon", judge: daemon},
	{name: "commands", judge: commands},
	{name: "render", judge: rendering},
	{name: "ent", judge: seesEnt},
	{name: "below ent", judge: belowEnt},
	{name: "atlas", judge: seesAtlas},
	{name: "river", tests: true, judge: seesRiver},
	{name: "cel", judge: seesCEL},
	{name: "tink", judge: seesTink},
	{name: "internal", judge: seesInternal},
	{name: "test packages", judge: seesTestPackages},
}

// Check returns what breaks a rule, in the order of the files. It is a pure
// function of them.
func Check(files []File) []Violation {
	var found []Violation
	for _, f := range files {
		for _, imported := range f.Imports {
			for _, r := range importRules {
				if (f.Test || forTests(f.Dir())) && !r.tests {
					continue
				}
				if why := r.judge(f, imported); why != "" {
					found = append(found, Violation{f.Path, imported, r.name, why})
				}
			}
		}
	}
	found = append(found, plates(files)...)
	slices.SortStableFunc(found, func(a, b Violation) int { return cmp.Compare(a.Path, b.Path) })
	return found
}

func nouns(f File, imported string) string {
	if f.Dir() != "controlplane" || standard(imported) {
		return ""
	}
	return "the nouns import nobody but the standard library; what needs more belongs in a room"
}

// inOrder keeps rooms and ground to what stands after them on the page.
func inOrder(f File, imported string) string {
	dir, ok := ours(imported)
	from, to := room(f.Dir()), room(dir)
	rank := slices.Index(order, from)
	if !ok || rank < 0 || from == to || dir == "controlplane" {
		return ""
	}
	switch {
	case to != "" && slices.Index(order, to) > rank:
		return ""
	case slices.Contains(order, to):
		return fmt.Sprintf("imports go down the page, and %s stands before %s there: %s", to, from, strings.Join(order, " "))
	case to != "":
		return fmt.Sprintf("%s is above all rooms; rooms and ground import only what stands after them on the page", to)
	case within(dir, "cmd"):
		return "nobody imports the command"
	}
	return "" // ent, internal and migrations have rules of their own
}

// atTheEdge: no ent, no SQL, and below the doors nothing but events.
func atTheEdge(f File, imported string) string {
	dir, local := ours(imported)
	from, to := room(f.Dir()), room(dir)
	if !isEdge(f.Dir()) || standard(imported) && !isSQL(imported) || dir == "controlplane" || local && from == to {
		return ""
	}
	switch {
	case from == "client":
		return "client imports the nouns and the standard library, nothing else: it goes into other people's programs"
	case from == "router" && isPGX(imported):
		return ""
	case from == "router":
		return "router imports the nouns, pgx and the standard library, nothing else: it runs in the customer's process"
	case isSQL(imported):
		return "edges have no ent and no SQL: call a door of a room"
	case from == "console" && local && to != "client":
		return "the console knows only the HTTP API: go through client"
	case from == "api" && local && to != "event" && !isRoom(dir):
		return "the API knows the nouns, the doors of rooms, and event"
	}
	return ""
}

func daemon(f File, imported string) string {
	dir, _ := ours(imported)
	if room(dir) != "daemon" || room(f.Dir()) == "daemon" {
		return ""
	}
	if f.Dir() == "cmd/manor/cli" && slices.Contains(hosts, path.Base(f.Path)) {
		return ""
	}
	return "only the commands that hold a control plane may: " + strings.Join(hosts, ", ") + " in cmd/manor/cli"
}

// commands keeps main to cli, and cli to client, render and the nouns.
func commands(f File, imported string) string {
	dir, local := ours(imported)
	if f.Dir() == "cmd/manor" && local && dir != "cmd/manor/cli" {
		return "main knows signals and the exit code, no more: go through cli"
	}
	if f.Dir() != "cmd/manor/cli" || !local && !isSQL(imported) || room(dir) == "daemon" {
		return ""
	}
	if slices.Contains([]string{"controlplane", "controlplane/client", "cmd/manor/render"}, dir) {
		return ""
	}
	if path.Base(f.Path) == "dev.go" && (isPGX(imported) || dir == "controlplane/pg" || dir == "internal/devpg") {
		return "" // it sets a server up before there is a control plane
	}
	if path.Base(f.Path) == "release_lint.go" && dir == "controlplane/migrator" {
		return "" // it reads files, and needs no control plane
	}
	return "commands speak through client: nouns, client and render is what they know of Manor"
}

// rendering: render may take addresses apart as text, but never open one.
func rendering(f File, imported string) string {
	if f.Dir() != "cmd/manor/render" {
		return ""
	}
	if imported == "net" {
		for _, name := range f.Net {
			if name != "SplitHostPort" && name != "JoinHostPort" {
				return "render has no network; of package net it may use SplitHostPort and JoinHostPort, not " + name
			}
		}
		return ""
	}
	if dir, local := ours(imported); local && dir != "controlplane" {
		return "render draws nouns and knows no other package of Manor"
	}
	closed := []string{"net/http", "net/rpc", "net/smtp", "net/textproto", "crypto/tls", "os/exec", "syscall", "log/syslog"}
	if isSQL(imported) || slices.ContainsFunc(closed, func(p string) bool { return within(imported, p) }) {
		return "render has no network"
	}
	return ""
}

func seesEnt(f File, imported string) string {
	dir := f.Dir()
	if !isEnt(imported) || within(dir, "ent") || isRoom(dir) || dir == "internal/catalogdiff" {
		return ""
	}
	if slices.Contains([]string{"catalog", "work", "event"}, room(dir)) {
		return ""
	}
	return "only catalog, work, event and the rooms see ent"
}

func belowEnt(f File, imported string) string {
	dir, local := ours(imported)
	if !within(f.Dir(), "ent") || !local || within(dir, "ent") || dir == "controlplane" {
		return ""
	}
	return "ent knows the nouns and nothing else of Manor"
}

func seesAtlas(f File, imported string) string {
	dir := f.Dir()
	if !isAtlas(imported) || within(dir, "ent") || room(dir) == "migrator" || dir == "internal/catalogdiff" || within(dir, "internal/demo") {
		return ""
	}
	return "only migrator and the tools of the catalog's migrations (internal/catalogdiff, ent) import Atlas"
}

func seesRiver(f File, imported string) string {
	if !isRiver(imported) || room(f.Dir()) == "work" {
		return ""
	}
	return "work is the only importer of River: it hands jobs out, and what is true lies in our rows"
}

func seesCEL(f File, imported string) string {
	if !within(imported, "cel.dev") || room(f.Dir()) == "selector" {
		return ""
	}
	return "selector is the only importer of CEL"
}

func seesTink(f File, imported string) string {
	if !within(imported, "github.com/tink-crypto/tink-go/v2") || room(f.Dir()) == "secret" {
		return ""
	}
	return "secret is the only importer of Tink"
}

// seesInternal: internal is for trying and testing. What is shipped has none
// of it, but for manor dev, and points at which tests kill a process.
func seesInternal(f File, imported string) string {
	dir, local := ours(imported)
	if !local || !within(dir, "internal") || within(f.Dir(), "internal") || f.Path == "cmd/manor/cli/dev.go" {
		return ""
	}
	if dir == "internal/failpoint" && slices.Contains(order, room(f.Dir())) {
		return "" // an empty function in what is shipped
	}
	return "internal is for tests and tools; of what is shipped only manor dev (cmd/manor/cli/dev.go) uses it, and rooms and ground mark points (internal/failpoint)"
}

func seesTestPackages(f File, imported string) string {
	dir, local := ours(imported)
	if !local || !forTests(dir) || within(f.Dir(), "ent") {
		return ""
	}
	return "a package whose name ends in test is for tests"
}

// plates looks at packages: each has a place in the house and a comment, and a
// package of the control plane has a plate.
func plates(files []File) []Violation {
	var found []Violation
	for dir, p := range packages(files) {
		switch {
		case !onPage(dir):
			found = append(found, Violation{Path: dir, Rule: "page",
				Why: "the house has no such room: put it where it belongs, or on the page in internal/arch/house.go and docs/architecture.md"})
		case p.generated || forTests(dir) && p.comment != "":
		case p.comment == "":
			found = append(found, Violation{Path: dir, Rule: "plate", Why: "no file has a package comment; write doc.go"})
		case p.main || within(dir, "ent") || within(dir, "migrations") || dir == "schema":
		case !p.plate:
			found = append(found, Violation{Path: dir, Rule: "plate", Why: "the package comment is not in doc.go"})
		case room(dir) != "":
			found = append(found, plate(dir, p)...)
		}
	}
	return found
}

// plate reads the words of a door plate, in any case of letters.
func plate(dir string, p pack) []Violation {
	wanted := []string{"owns", "may import"}
	if p.runner {
		wanted = append(wanted, "loop")
	}
	said := strings.ToLower(strings.Join(strings.Fields(p.comment), " "))
	missing := slices.DeleteFunc(wanted, func(word string) bool { return strings.Contains(said, word) })
	if len(missing) == 0 {
		return nil
	}
	return []Violation{{Path: dir + "/doc.go", Rule: "plate",
		Why: "a door plate says what the package owns, what it may import and, where there is a runner.go, its loops; this one does not say: " + strings.Join(missing, ", ")}}
}
