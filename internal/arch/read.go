package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// File is what the rules know of one Go file.
type File struct {
	Path      string   // from the module's root, with slashes
	Package   string   // as in the package clause
	Imports   []string // import paths
	Net       []string // what it uses of package net
	Comment   string   // the package comment, "" if another file has it
	Generated bool
	Test      bool
}

// Dir is the folder, which is also the package's path below the module's.
func (f File) Dir() string { return path.Dir(f.Path) }

// Read parses every Go file below the module's root, whatever its build tags.
func Read(root fs.FS) ([]File, error) {
	var files []File
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && passedOver(root, name):
			return fs.SkipDir
		case entry.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		f, err := read(root, name)
		files = append(files, f)
		return err
	})
	return files, err
}

// passedOver folders are no packages of this module, as for the go command.
func passedOver(root fs.FS, name string) bool {
	base := path.Base(name)
	if base == "testdata" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return true
	}
	_, err := fs.Stat(root, path.Join(name, "go.mod"))
	return err == nil
}

func read(root fs.FS, name string) (File, error) {
	source, err := fs.ReadFile(root, name)
	if err != nil {
		return File{}, err
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return File{}, err
	}
	f := File{
		Path:      name,
		Package:   parsed.Name.Name,
		Comment:   parsed.Doc.Text(),
		Generated: ast.IsGenerated(parsed),
		Test:      strings.HasSuffix(name, "_test.go"),
	}
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return File{}, err
		}
		f.Imports = append(f.Imports, imported)
		if imported == "net" {
			f.Net = uses(parsed, spec)
		}
	}
	return f, nil
}

// uses lists the names that a file takes from an import. A dot import shows
// none of them, so it is listed itself.
func uses(file *ast.File, spec *ast.ImportSpec) []string {
	known := "net"
	if spec.Name != nil {
		known = spec.Name.Name
	}
	if known == "." {
		return []string{"everything, by a dot import"}
	}
	var names []string
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == known {
				names = append(names, s.Sel.Name)
			}
		}
		return true
	})
	return names
}

// pack is what the rules know of one package.
type pack struct {
	comment   string
	plate     bool // the comment is in doc.go
	main      bool
	generated bool // all of it
	runner    bool // has a runner.go, so a loop
}

// packages sums the files up by folder. Tests, and programs beside a package
// that only `go run FILE` sees, do not count.
func packages(files []File) map[string]pack {
	all := map[string]pack{}
	for _, f := range files {
		if f.Test {
			continue
		}
		p, seen := all[f.Dir()]
		p.main = f.Package == "main" && (!seen || p.main)
		p.generated = f.Generated && (!seen || p.generated)
		p.runner = p.runner || path.Base(f.Path) == "runner.go"
		if f.Comment != "" && p.comment == "" {
			p.comment, p.plate = f.Comment, path.Base(f.Path) == "doc.go"
		}
		all[f.Dir()] = p
	}
	return all
}
