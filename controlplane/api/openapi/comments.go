package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strconv"
	"strings"
)

// fieldComments reads what Go files say of the fields of their structs, by type
// and name in JSON.
func fieldComments(files ...string) (map[[2]string]string, error) {
	comments := map[[2]string]string{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if typ, ok := n.(*ast.TypeSpec); ok {
				if fields, ok := typ.Type.(*ast.StructType); ok {
					readFields(comments, typ.Name.Name, fields)
				}
			}
			return true
		})
	}
	return comments, nil
}

func readFields(comments map[[2]string]string, typ string, fields *ast.StructType) {
	for _, f := range fields.Fields.List {
		if f.Tag == nil || f.Comment == nil {
			continue
		}
		tag, _ := strconv.Unquote(f.Tag.Value)
		name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
		comments[[2]string{typ, name}] = strings.TrimSpace(f.Comment.Text())
	}
}
