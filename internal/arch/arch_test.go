package arch

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestTheHouseKeepsItsRules(t *testing.T) {
	t.Parallel()
	files, err := Read(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	there := packages(files)
	for _, dir := range []string{"controlplane", "controlplane/catalog", "controlplane/rollout", "cmd/manor/cli", "ent/schema", "internal/arch"} {
		if _, ok := there[dir]; !ok {
			t.Errorf("%s was not read: the test looks at the wrong tree", dir)
		}
	}
	for _, v := range Check(files) {
		t.Error(v)
	}
}

// file makes one of package p with the imports; a leading "./" is Manor's own.
func file(name string, imports ...string) File {
	f := File{Path: name, Package: "p", Test: strings.HasSuffix(name, "_test.go")}
	for _, i := range imports {
		if below, ok := strings.CutPrefix(i, "./"); ok {
			i = module + "/" + below
		}
		f.Imports = append(f.Imports, i)
	}
	return f
}

// withPlates completes the packages of the files, so that only what a case is
// about is left to complain about.
func withPlates(files ...File) []File {
	dirs := map[string]bool{}
	for _, f := range files {
		dirs[f.Dir()] = true
	}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		files = append(files, File{Path: dir + "/doc.go", Package: "p", Comment: "Owns: x. May import: x. Doors: x. Loops: x."})
	}
	return files
}

const (
	pgx   = "github.com/jackc/pgx/v5"
	river = "github.com/riverqueue/river"
	atlas = "ariga.io/atlas/sql/migrate"
	cel   = "cel.dev/cel-go/cel"
	tink  = "github.com/tink-crypto/tink-go/v2/aead"
	huma  = "github.com/danielgtaylor/huma/v2"
)

func TestEveryRuleFindsItsBreach(t *testing.T) {
	t.Parallel()
	network := file("cmd/manor/render/table.go", "net")
	network.Net = []string{"SplitHostPort", "Dial"}
	cases := []struct {
		rule string
		file File
		why  string // part of the message
	}{
		{"nouns", file("controlplane/tenant.go", huma), "nobody but the standard library"},
		{"nouns", file("controlplane/tenant.go", "./controlplane/pg"), "nobody but the standard library"},
		{"order", file("controlplane/fleet/service.go", "./controlplane/tenant"), "tenant stands before fleet"},
		{"order", file("controlplane/release/service.go", "./controlplane/provision"), "provision stands before release"},
		{"order", file("controlplane/pg/pg.go", "./controlplane/catalog"), "catalog stands before pg"},
		{"order", file("controlplane/work/work.go", "./controlplane/rollout"), "rollout stands before work"},
		{"order", file("controlplane/pg/pg.go", "./controlplane/client"), "client is above all rooms"},
		{"order", file("controlplane/rollout/service.go", "./cmd/manor/render"), "nobody imports the command"},
		{"edges", file("controlplane/api/routes.go", pgx), "no ent and no SQL"},
		{"edges", file("controlplane/api/routes.go", "database/sql"), "no ent and no SQL"},
		{"edges", file("controlplane/api/routes.go", "./controlplane/catalog"), "no ent and no SQL"},
		{"edges", file("controlplane/api/routes.go", "./ent/tenant"), "no ent and no SQL"},
		{"edges", file("controlplane/api/routes.go", "./controlplane/secret"), "doors of rooms"},
		{"edges", file("controlplane/console/page.go", "./controlplane/rollout"), "only the HTTP API"},
		{"edges", file("controlplane/client/client.go", "./controlplane/api"), "nouns and the standard library"},
		{"edges", file("controlplane/client/client.go", huma), "nouns and the standard library"},
		{"edges", file("controlplane/client/client.go", "database/sql"), "nouns and the standard library"},
		{"edges", file("controlplane/router/router.go", "./controlplane/client"), "customer's process"},
		{"edges", file("controlplane/router/router.go", "database/sql"), "customer's process"},
		{"daemon", file("cmd/manor/cli/tenant.go", "./controlplane/daemon"), "hold a control plane"},
		{"daemon", file("internal/demo/main.go", "./controlplane/daemon"), "hold a control plane"},
		{"commands", file("cmd/manor/main.go", "./controlplane"), "signals and the exit code"},
		{"commands", file("cmd/manor/cli/tenant.go", "./controlplane/tenant"), "speak through client"},
		{"commands", file("cmd/manor/cli/daemon.go", "./controlplane/pg"), "speak through client"},
		{"commands", file("cmd/manor/cli/release.go", "./controlplane/migrator"), "speak through client"},
		{"commands", file("cmd/manor/cli/release_lint.go", "./controlplane/pg"), "speak through client"},
		{"commands", file("cmd/manor/cli/tenant.go", pgx), "speak through client"},
		{"render", network, "not Dial"},
		{"render", file("cmd/manor/render/table.go", "net/http"), "no network"},
		{"render", file("cmd/manor/render/table.go", pgx+"/pgconn"), "no network"},
		{"render", file("cmd/manor/render/table.go", "./controlplane/client"), "draws nouns"},
		{"ent", file("controlplane/pg/pg.go", "./ent"), "the rooms see ent"},
		{"ent", file("controlplane/daemon/daemon.go", "entgo.io/ent/dialect/sql"), "the rooms see ent"},
		{"ent", file("internal/demo/main.go", "./ent/tenant"), "the rooms see ent"},
		{"below ent", file("ent/schema/tenant.go", "./controlplane/pg"), "ent knows the nouns"},
		{"atlas", file("controlplane/rollout/plan.go", atlas), "import Atlas"},
		{"river", file("controlplane/rollout/runner.go", river), "only importer of River"},
		{"river", file("controlplane/rollout/runner_test.go", river+"/rivertype"), "only importer of River"},
		{"cel", file("controlplane/access/rule.go", cel), "only importer of CEL"},
		{"tink", file("controlplane/fleet/store.go", tink), "only importer of Tink"},
		{"internal", file("controlplane/fleet/service.go", "./internal/devpg"), "only manor dev"},
		{"internal", file("cmd/manor/cli/serve.go", "./internal/devpg"), "only manor dev"},
		{"internal", file("controlplane/api/routes.go", "./internal/failpoint"), "rooms and ground mark points"},
		{"test packages", file("controlplane/rollout/service.go", "./controlplane/catalog/catalogtest"), "is for tests"},
		{"page", file("controlplane/util/util.go"), "no such room"},
		{"page", file("pkg/strings/strings.go"), "no such room"},
	}
	seen := map[string]bool{}
	for _, c := range cases {
		seen[c.rule] = true
		t.Run(c.rule+": "+c.file.Path, func(t *testing.T) {
			for _, v := range Check(withPlates(c.file)) {
				if v.Rule == c.rule && strings.Contains(v.Why, c.why) && strings.HasPrefix(c.file.Path, v.Path) {
					return
				}
			}
			t.Errorf("%v was let through: want rule %q to say %q, got %v", c.file, c.rule, c.why, Check(withPlates(c.file)))
		})
	}
	for _, r := range importRules {
		if !seen[r.name] {
			t.Errorf("rule %q has no case that breaks it", r.name)
		}
	}
}

func TestWhatTheHouseAllowsPasses(t *testing.T) {
	t.Parallel()
	address := file("cmd/manor/render/tenant.go", "net", "net/url", "./controlplane", "charm.land/lipgloss/v2")
	address.Net = []string{"SplitHostPort", "JoinHostPort"}
	allowed := withPlates(
		address,
		file("controlplane/tenant.go", "net", "encoding/json"),
		file("controlplane/tenant_test.go", "github.com/google/go-cmp/cmp"),
		file("controlplane/tenant/service.go", "./controlplane", "./controlplane/release", "./controlplane/secret", "./ent/tenant", pgx),
		file("controlplane/catalog/migrate.go", "./controlplane/migrator", "./migrations/catalog", "./ent", "entgo.io/ent/dialect"),
		file("controlplane/catalog/catalogtest/catalogtest.go", "./controlplane/work", "./internal/pgtest"),
		file("controlplane/rollout/service_test.go", "./controlplane/catalog/catalogtest", "./internal/pgtest", "./controlplane/daemon", atlas),
		file("controlplane/migrator/apply.go", atlas),
		file("controlplane/work/work.go", river, "./internal/failpoint"),
		file("controlplane/selector/selector.go", cel),
		file("controlplane/secret/secret.go", tink),
		file("controlplane/api/routes.go", huma, "./controlplane", "./controlplane/tenant", "./controlplane/event"),
		file("controlplane/api/openapi/main.go", "./controlplane/api"),
		file("controlplane/console/page.go", "./controlplane/client"),
		file("controlplane/router/router.go", "./controlplane", pgx+"/pgxpool"),
		file("controlplane/daemon/daemon.go", "./controlplane/api", "./controlplane/rollout", "./controlplane/catalog"),
		file("controlplane/controlplanetest/plane.go", "./controlplane/daemon", "./internal/pgtest"),
		file("cmd/manor/main.go", "./cmd/manor/cli"),
		file("cmd/manor/cli/tenant.go", "./controlplane", "./controlplane/client", "./cmd/manor/render"),
		file("cmd/manor/cli/serve.go", "./controlplane/daemon"),
		file("cmd/manor/cli/release_lint.go", "./controlplane", "./controlplane/migrator", "./cmd/manor/render"),
		file("cmd/manor/cli/dev.go", "./controlplane/daemon", "./controlplane/pg", "./internal/devpg", pgx),
		file("internal/catalogdiff/main.go", atlas, "./ent/migrate", "entgo.io/ent/dialect/sql/schema", "./internal/devpg"),
		file("internal/demo/main.go", atlas, "./controlplane/client", "./internal/devpg"),
		file("ent/schema/tenant.go", "./controlplane", "entgo.io/ent"),
	)
	for _, v := range Check(allowed) {
		t.Error(v)
	}
}

func TestNoPackageIsWithoutItsPlate(t *testing.T) {
	t.Parallel()
	generated := File{Path: "ent/tenant/where.go", Package: "tenant", Generated: true}
	program := File{Path: "controlplane/api/openapi/main.go", Package: "main", Comment: "Command openapi writes."}
	plated := File{Path: "controlplane/fleet/doc.go", Package: "fleet", Comment: "Owns: a. May\nimport: b."}
	for name, c := range map[string]struct {
		files []File
		want  string // part of the message, "" for none
	}{
		"no comment":        {[]File{file("controlplane/fleet/store.go")}, "write doc.go"},
		"only in a test":    {[]File{file("internal/x/x.go"), {Path: "internal/x/x_test.go", Comment: "Package x.", Test: true}}, "write doc.go"},
		"in another file":   {[]File{{Path: "internal/x/x.go", Package: "x", Comment: "Package x."}}, "not in doc.go"},
		"silent on imports": {[]File{{Path: "controlplane/fleet/doc.go", Package: "fleet", Comment: "Owns: a."}}, "does not say: may import"},
		"silent on loops":   {[]File{plated, file("controlplane/fleet/runner.go")}, "does not say: loop"},
		"a plate":           {[]File{plated}, ""},
		"generated":         {[]File{generated}, ""},
		"partly generated":  {[]File{generated, file("ent/tenant/extra.go")}, "write doc.go"},
		"a program":         {[]File{program}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := Check(c.files)
			if c.want == "" && len(got) == 0 {
				return
			}
			if len(got) != 1 || c.want == "" || got[0].Rule != "plate" || !strings.Contains(got[0].Why, c.want) {
				t.Errorf("want one violation that says %q, got %v", c.want, got)
			}
		})
	}
}

func TestReadSeesWhatTheCompilerMaySee(t *testing.T) {
	t.Parallel()
	tree := fstest.MapFS{
		"go.mod":                {Data: []byte("module m")},
		"a/doc.go":              {Data: []byte("// Package a is one.\npackage a\n")},
		"a/a_windows.go":        {Data: []byte("//go:build windows\n\npackage a\n\nimport n \"net\"\n\nvar _ = n.Dial\n")},
		"a/a_test.go":           {Data: []byte("package a_test\n\nimport . \"net\"\n")},
		"a/gen.go":              {Data: []byte("// Code generated by x, DO NOT EDIT.\n\npackage a\n")},
		"a/testdata/x.go":       {Data: []byte("no Go")},
		".cache/x.go":           {Data: []byte("no Go")},
		"_old/x.go":             {Data: []byte("no Go")},
		"other/go.mod":          {Data: []byte("module other")},
		"other/inside/other.go": {Data: []byte("no Go")},
	}
	got, err := Read(tree)
	if err != nil {
		t.Fatal(err)
	}
	want := []File{
		{Path: "a/a_test.go", Package: "a_test", Imports: []string{"net"}, Net: []string{"everything, by a dot import"}, Test: true},
		{Path: "a/a_windows.go", Package: "a", Imports: []string{"net"}, Net: []string{"Dial"}},
		{Path: "a/doc.go", Package: "a", Comment: "Package a is one.\n"},
		{Path: "a/gen.go", Package: "a", Generated: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	tree["a/broken.go"] = &fstest.MapFile{Data: []byte("package")}
	if _, err := Read(tree); err == nil || !strings.Contains(err.Error(), "a/broken.go") {
		t.Errorf("a file that does not parse: %v, want an error that names it", err)
	}
}

func TestViolationNamesFileImportAndRule(t *testing.T) {
	t.Parallel()
	v := Check(withPlates(file("controlplane/pg/pg.go", "./controlplane/tenant")))
	want := "controlplane/pg/pg.go imports github.com/manorhq/manor/controlplane/tenant: imports go down the page, and tenant stands before pg there: " +
		strings.Join(order, " ") + " [order]"
	if len(v) != 1 || v[0].String() != want {
		t.Errorf("got  %v\nwant %s", v, want)
	}
}
