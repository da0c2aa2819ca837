// Command gen generates package ent from ent/schema; `go generate ./ent` runs
// it. It is a program of ours rather than ent's own command so that go.mod
// pins the generator without that command's dependencies.
package main

import (
	"log"

	"entgo.io/ent/entc"
	"entgo.io/ent/entc/gen"
)

func main() {
	err := entc.Generate("./schema", &gen.Config{
		Features: []gen.Feature{gen.FeatureLock, gen.FeatureUpsert, gen.FeatureExecQuery, gen.FeatureModifier},
	})
	if err != nil {
		log.Fatalf("generating ent from ent/schema: %v", err)
	}
}
