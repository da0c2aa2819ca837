// Command openapi writes the API's OpenAPI document to the file it is given.
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

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("give one file name, got %d", len(args))
	}
	document, err := api.Document()
	if err != nil {
		return fmt.Errorf("making the document: %w", err)
	}
	return os.WriteFile(args[0], document, 0o644)
}
