package migrator

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"ariga.io/atlas/sql/migrate"

	"github.com/manorhq/manor/controlplane"
)

// downDir holds the down files of a migration directory.
const downDir = "down/"

// Release is a migration directory, parsed and checked. It does not change and
// may be shared.
type Release struct {
	raw     map[string][]byte
	hash    string
	files   []*file          // in the order they are applied
	downs   map[string]*file // by version
	scripts sync.Map         // scriptKey → *script
	made    atomic.Int64     // scripts
}

// file is one migration file, up or down.
type file struct {
	name        string // relative to the directory
	version     string
	description string
	hash        string // as atlas.sum has it, without h1:; cumulative
	down        bool   // undoes its version
	alone       bool   // atlas:txmode none: no transaction around it
	statements  []statement
	partial     []string // Atlas's hash of the statements up to each, with h1:
}

// Parse reads a migration directory: *.sql, atlas.sum and down/*.sql. What it
// answers is an Invalid error that names the file and line, for a directory
// that does not fit its atlas.sum or that holds a statement which would break
// out of the transaction that Manor runs it in.
func Parse(files map[string][]byte) (r *Release, err error) {
	defer recovered("parse the release", &err)
	r = &Release{raw: files, hash: hashFiles(files), downs: map[string]*file{}}
	var dir migrate.MemDir
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := r.add(&dir, name, files[name]); err != nil {
			return nil, err
		}
	}
	for _, check := range []func() error{func() error { return r.checkSum(&dir) }, r.checkVersions, r.checkDowns} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// add parses one file into the release, and shows it to Atlas.
func (r *Release) add(dir *migrate.MemDir, name string, content []byte) error {
	if name == migrate.HashFileName {
		return dir.WriteFile(name, content)
	}
	f, err := parseFile(name, content)
	if err != nil {
		return err
	}
	if f.down {
		r.downs[f.version] = f
		return nil
	}
	r.files = append(r.files, f)
	return dir.WriteFile(name, content)
}

// newFile checks the name of a file and that its content is text.
func newFile(name string, content []byte) (*file, *migrate.LocalFile, error) {
	base, isDown := strings.CutPrefix(name, downDir)
	atlas := migrate.NewLocalFile(base, content)
	f := &file{name: name, version: atlas.Version(), description: atlas.Desc(), down: isDown}
	switch {
	case !strings.HasSuffix(name, ".sql") || strings.Contains(base, "/"):
		return f, atlas, controlplane.Errorf(controlplane.Invalid, "file %s does not belong to a migration directory", name).
			WithHint("a release holds *.sql, atlas.sum and down/*.sql")
	case f.version == "":
		return f, atlas, invalid(name, 0, "the name does not begin with a version").WithHint("name files VERSION_description.sql")
	}
	return f, atlas, checkBytes(name, content)
}

func parseFile(name string, content []byte) (*file, error) {
	f, atlas, err := newFile(name, content)
	if err != nil {
		return nil, err
	}
	return f, f.read(atlas, content)
}

// read fills a file with what its content says.
func (f *file) read(atlas *migrate.LocalFile, content []byte) error {
	if err := f.readDirectives(atlas); err != nil {
		return err
	}
	if err := f.readStatements(string(content)); err != nil {
		return err
	}
	sum := sha256.New()
	for _, s := range f.statements {
		io.WriteString(sum, s.sql)
		f.partial = append(f.partial, "h1:"+base64.StdEncoding.EncodeToString(sum.Sum(nil)))
	}
	return nil
}

// checkSum compares the directory with its atlas.sum and takes the hashes.
func (r *Release) checkSum(dir *migrate.MemDir) error {
	if len(r.files) == 0 {
		return controlplane.Errorf(controlplane.Invalid, "the release holds no migration file").
			WithHint("give a directory with VERSION_description.sql files")
	}
	const rehash = "run `atlas migrate hash` if the change is meant; a file that tenants already have must not change"
	err := migrate.Validate(dir)
	if sum, ok := errors.AsType[*migrate.ChecksumError](err); ok {
		return controlplane.Errorf(controlplane.Invalid, "atlas.sum:%d: %s was %s after the directory was hashed",
			sum.Line, sum.File, sum.Reason).WithHint(rehash)
	}
	switch {
	case errors.Is(err, migrate.ErrChecksumNotFound):
		return controlplane.Errorf(controlplane.Invalid, "atlas.sum is missing").WithHint("run `atlas migrate hash`")
	case err != nil:
		return controlplane.Errorf(controlplane.Invalid, "atlas.sum cannot be read: %w", err).WithHint("run `atlas migrate hash`")
	}
	hashes, err := dir.Checksum()
	if err != nil {
		return fmt.Errorf("hash the release: %w", err)
	}
	for _, f := range r.files {
		if f.hash, err = hashes.SumByName(f.name); err != nil {
			return fmt.Errorf("hash of %s: %w", f.name, err)
		}
	}
	return nil
}

// checkVersions refuses versions that are equal, or that sort otherwise as
// numbers than as the strings by which Atlas compares them.
func (r *Release) checkVersions() error {
	for i, f := range r.files[1:] {
		before := r.files[i]
		switch {
		case before.version == f.version:
			return invalid(f.name, 0, "version %s is also that of %s", f.version, before.name)
		case before.version > f.version, numeric(before.version) && numeric(f.version) && len(before.version) > len(f.version):
			return invalid(f.name, 0, "version %s comes after %s", f.version, before.version).
				WithHint("versions are compared as strings: give all the same number of digits")
		}
	}
	return nil
}

func numeric(s string) bool { return strings.Trim(s, "0123456789") == "" }

func (r *Release) checkDowns() error {
	for _, down := range r.downs {
		if i := r.index(down.version); i < 0 || r.files[i].name != strings.TrimPrefix(down.name, downDir) {
			return invalid(down.name, 0, "there is no migration %s that it undoes", strings.TrimPrefix(down.name, downDir))
		}
	}
	return nil
}

// index returns the place of a version among the files, -1 for "", the state
// before the first, and -2 for a version that the release does not hold.
func (r *Release) index(version string) int {
	if version == "" {
		return -1
	}
	i, ok := slices.BinarySearchFunc(r.files, version, func(f *file, v string) int { return cmp.Compare(f.version, v) })
	if !ok {
		return -2
	}
	return i
}

// Hash is the address of the release: sha256 over the names and contents of its
// files, down files included, in hex.
func (r *Release) Hash() string { return r.hash }

func hashFiles(files map[string][]byte) string {
	sum := sha256.New()
	write := func(b []byte) {
		_ = binary.Write(sum, binary.BigEndian, uint64(len(b)))
		sum.Write(b)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		write([]byte(name))
		write(files[name])
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Files are the files as they were given to Parse. Nobody may write to them.
func (r *Release) Files() map[string][]byte { return r.raw }

// Versions describes the files in the order they are applied. Down is
// [controlplane.DownFile] or [controlplane.DownUnknown].
func (r *Release) Versions() []controlplane.Version {
	versions := make([]controlplane.Version, len(r.files))
	for i, f := range r.files {
		versions[i] = controlplane.Version{
			Version: f.version, Name: f.name, Statements: len(f.statements), Hash: f.hash,
			TxMode: "file", Down: controlplane.DownUnknown,
		}
		if f.alone {
			versions[i].TxMode = "none"
		}
		if r.downs[f.version] != nil {
			versions[i].Down = controlplane.DownFile
		}
	}
	return versions
}

// recovered turns a panic of Atlas's into an error.
func recovered(doing string, err *error) {
	if p := recover(); p != nil {
		*err = controlplane.Errorf(controlplane.Internal, "%s: Atlas panicked: %v", doing, p)
	}
}
