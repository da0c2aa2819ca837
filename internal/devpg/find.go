package devpg

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// oldestMajor is the oldest PostgreSQL that Manor works with; older ones are passed over.
const oldestMajor = 15

// binaries is a folder with at least initdb and postgres in it.
type binaries struct {
	dir     string
	version string // such as 18.4
	major   int
}

func (b binaries) path(program string) string { return filepath.Join(b.dir, program) }

// machine is where servers are looked for: the real one, or a tree of folders that a test made.
type machine struct {
	root     string   // goes before each of the usual folders; "" on the real one
	path     []string // the folders of PATH
	platform string   // as npm names it, such as linux-x64
	pins     map[string]pin
	isRoot   bool
	cache    string
}

func thisMachine(cache string) (machine, error) {
	m := machine{
		path:     filepath.SplitList(os.Getenv("PATH")),
		platform: platform(),
		pins:     pins[platform()],
		isRoot:   os.Geteuid() == 0,
		cache:    cache,
	}
	if m.cache == "" {
		parent := "/var/cache" // the user whom root starts the server as must get there, so not /root/.cache
		if !m.isRoot {
			var err error
			if parent, err = os.UserCacheDir(); err != nil {
				return machine{}, err
			}
		}
		m.cache = filepath.Join(parent, "manor", "devpg")
	}
	return m, os.MkdirAll(m.cache, 0o755)
}

func platform() string {
	arch := runtime.GOARCH
	if arch == "amd64" {
		arch = "x64"
	}
	return runtime.GOOS + "-" + arch
}

// usualFolders is where package managers put servers, outside of PATH.
var usualFolders = []string{
	"/usr/lib/postgresql/*/bin", // Debian, Ubuntu
	"/usr/pgsql-*/bin",          // the PostgreSQL project's packages for Red Hat
	"/opt/homebrew/opt/postgresql@*/bin",
	"/usr/local/opt/postgresql@*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
}

// binaries returns the newest installed server of that major version (any if ""), or else gets one.
func (m machine) binaries(ctx context.Context, version string) (binaries, error) {
	if bin, ok := m.installed(ctx, version); ok {
		return bin, nil
	}
	return m.get(ctx, version)
}

func (m machine) installed(ctx context.Context, version string) (binaries, bool) {
	var found []binaries
	for _, dir := range m.folders(ctx) {
		if bin, err := inspect(ctx, dir); err == nil && bin.suits(version) {
			found = append(found, bin)
		}
	}
	if len(found) == 0 {
		return binaries{}, false
	}
	slices.SortStableFunc(found, func(a, b binaries) int { return compareVersions(b.version, a.version) })
	return found[0], true
}

func (b binaries) suits(version string) bool {
	if version == "" {
		return b.major >= oldestMajor
	}
	return strconv.Itoa(b.major) == version
}

// folders lists each folder that may hold a server; among servers of one version the first is taken.
func (m machine) folders(ctx context.Context) []string {
	dirs := slices.Clone(m.path)
	if pgConfig := m.look("pg_config"); pgConfig != "" {
		if out, err := output(ctx, exec.Command(pgConfig, "--bindir")); err == nil {
			dirs = append(dirs, strings.TrimSpace(out))
		}
	}
	for _, pattern := range usualFolders {
		matches, _ := filepath.Glob(m.root + pattern) // the patterns are well formed
		dirs = append(dirs, matches...)
	}
	return dirs
}

// look finds a program in PATH, "" if it is not there.
func (m machine) look(program string) string {
	for _, dir := range m.path {
		if path := filepath.Join(dir, program); isProgram(path) {
			return path
		}
	}
	return ""
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

var versionLine = regexp.MustCompile(`\(PostgreSQL\) ((\d+)[^\s]*)`)

// inspect asks a folder's server for its version. A client's folder has no initdb or no postgres.
func inspect(ctx context.Context, dir string) (binaries, error) {
	bin := binaries{dir: dir}
	for _, program := range []string{"initdb", "postgres"} {
		if !isProgram(bin.path(program)) {
			return binaries{}, fmt.Errorf("%s has no %s", dir, program)
		}
	}
	out, err := output(ctx, exec.Command(bin.path("postgres"), "--version"))
	if err != nil {
		return binaries{}, err
	}
	match := versionLine.FindStringSubmatch(out)
	if match == nil {
		return binaries{}, fmt.Errorf("%s: not a version of PostgreSQL: %q", bin.path("postgres"), out)
	}
	bin.version = match[1]
	bin.major, err = strconv.Atoi(match[2])
	return bin, err
}

var digits = regexp.MustCompile(`\d+`)

// compareVersions orders "9.6", "15.18" and "18beta1" by their numbers.
func compareVersions(a, b string) int {
	return slices.CompareFunc(digits.FindAllString(a, -1), digits.FindAllString(b, -1), func(x, y string) int {
		return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y))
	})
}
