//go:build ignore

// Command entc generates package ent. It is a program rather than ent's own
// command so that go.mod pins the generator without the command's dependencies.
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
