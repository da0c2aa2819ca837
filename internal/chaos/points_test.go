package chaos_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// seen are the points that the first runs of all drills came by.
var seen points

type points struct {
	mu    sync.Mutex
	names map[string]bool
}

func (p *points) note(moments []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.names == nil {
		p.names = map[string]bool{}
	}
	for _, m := range moments {
		name, _, _ := strings.Cut(m, "#")
		p.names[name] = true
	}
}

// reached reports whether a point of the source was, by its name or, where it
// is a step of many places, by the end of it.
func (p *points) reached(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for point := range p.names {
		if point == name || strings.HasSuffix(point, "."+name) {
			return true
		}
	}
	return false
}

// marked are the points that the source of the control plane marks, by the
// constant that each call of Reach ends with.
func marked(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	root := filepath.Join("..", "..", "controlplane")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if name := markedBy(n); name != "" {
				found[name] = path
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// markedBy is the constant end of what a call of Reach names, "" of other nodes.
func markedBy(n ast.Node) string {
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) != 1 {
		return ""
	}
	if f, ok := call.Fun.(*ast.SelectorExpr); !ok || f.Sel.Name != "Reach" {
		return ""
	}
	last := call.Args[0]
	if sum, ok := last.(*ast.BinaryExpr); ok {
		last = sum.Y
	}
	name, ok := last.(*ast.BasicLit)
	if !ok {
		return ""
	}
	text, _ := strconv.Unquote(name.Value)
	return strings.TrimPrefix(text, ".")
}
