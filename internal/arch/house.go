package arch

import (
	"path"
	"slices"
	"strings"
)

const module = "github.com/manorhq/manor"

// The page: imports go down it and never back. The rooms are in the order of
// design §3 but for two that §3 does not list: release stands between provision
// and credential, because creating a tenant reads the default release; doctor
// stands before all, because it looks at what all the others keep.
var (
	edges = []string{"api", "console", "client", "router"}
	rooms = []string{
		"doctor", "rollout", "drift", "backup", "share", "tenant", "provision", "release",
		"credential", "fleet", "quota", "access", "audit",
	}
	ground = []string{"work", "event", "catalog", "migrator", "pg", "selector", "secret"}

	order = slices.Concat(rooms, ground)
)

// hosts are the files of cmd/manor/cli that hold a control plane themselves.
var hosts = []string{"daemon.go", "dev.go", "serve.go", "worker.go"}

// room is the first folder below controlplane, "" for the nouns and for what
// is elsewhere.
func room(dir string) string {
	below, ok := strings.CutPrefix(dir, "controlplane/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(below, "/")
	return name
}

func isRoom(dir string) bool { return slices.Contains(rooms, room(dir)) }
func isEdge(dir string) bool { return slices.Contains(edges, room(dir)) }

// onPage reports whether the house has a place for the package.
func onPage(dir string) bool {
	switch {
	case dir == "controlplane", dir == "cmd/manor", dir == "cmd/manor/cli", dir == "cmd/manor/render":
		return true
	case dir == "schema", within(dir, "ent"), within(dir, "migrations"), within(dir, "internal"):
		return true
	}
	name := room(dir)
	return name == "daemon" || name == "controlplanetest" || isEdge(dir) || slices.Contains(order, name)
}

// forTests reports whether a package is there for tests only, such as
// catalogtest. The name says it, as with the standard library's httptest.
func forTests(dir string) bool { return strings.HasSuffix(path.Base(dir), "test") }

func within(dir, folder string) bool { return dir == folder || strings.HasPrefix(dir, folder+"/") }

// ours cuts the module off an import path of Manor's own.
func ours(imported string) (dir string, ok bool) {
	return strings.CutPrefix(imported, module+"/")
}

// standard reports whether the import is of the standard library, whose paths
// have no domain.
func standard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

func isPGX(imported string) bool   { return within(imported, "github.com/jackc/pgx/v5") }
func isAtlas(imported string) bool { return within(imported, "ariga.io/atlas") }
func isRiver(imported string) bool { return within(imported, "github.com/riverqueue/river") }

func isEnt(imported string) bool {
	return within(imported, "entgo.io/ent") || within(imported, module+"/ent")
}

// isSQL is true of what speaks SQL, or lends something that does.
func isSQL(imported string) bool {
	dir, _ := ours(imported)
	return isPGX(imported) || isEnt(imported) || isAtlas(imported) || isRiver(imported) ||
		within(imported, "database/sql") || within(imported, "github.com/lib/pq") ||
		slices.Contains([]string{"catalog", "migrator", "pg", "work"}, room(dir))
}
