// Command openapi writes what machines read of the API: its OpenAPI document, and
// the schema of a strategy file, in as many places as are named.
package main

import (
	"fmt"
	"os"

	"github.com/manorhq/manor/controlplane/api"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

// nouns hold the types of a strategy.
var nouns = []string{"../strategy.go", "../window.go", "../snapshot.go"}

func run(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("give the file of the document, and those of the strategy's schema: got %q", args)
	}
	document, err := api.Document()
	if err != nil {
		return fmt.Errorf("making the document: %w", err)
	}
	comments, err := fieldComments(nouns...)
	if err != nil {
		return fmt.Errorf("reading the nouns: %w", err)
	}
	schema, err := api.StrategySchema(func(typ, field string) string { return comments[[2]string{typ, field}] })
	if err != nil {
		return fmt.Errorf("making the schema: %w", err)
	}
	if err := os.WriteFile(args[0], document, 0o644); err != nil {
		return err
	}
	for _, file := range args[1:] {
		if err := os.WriteFile(file, schema, 0o644); err != nil {
			return err
		}
	}
	return nil
}
