package api

import (
	"encoding/json"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/manorhq/manor/controlplane"
)

// StrategySchema returns the JSON schema of a strategy file, for editors. about
// says what a field of a type means; the types cannot.
func StrategySchema(about func(typ, field string) string) ([]byte, error) {
	registry := huma.NewMapRegistry("#/$defs/", huma.DefaultSchemaNamer)
	registry.Schema(reflect.TypeFor[controlplane.Strategy](), true, "")
	defs := registry.Map()
	for name, def := range defs {
		for field, p := range def.Properties {
			p.Description, p.Format, p.Nullable = about(name, field), "", false
		}
	}
	for _, d := range durationFields {
		p := defs[d.typ].Properties[d.field]
		p.Pattern, p.Examples = durationPattern, []any{d.example}
	}
	defs["Strategy"].Properties["on_breach"].Enum = enum(controlplane.OnErrors)
	defs["Gate"].Properties["on"].Enum = enum(controlplane.GateOns)
	b, err := json.MarshalIndent(map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": strategySchemaID, "title": "A strategy of Manor: how a rollout goes about its tenants",
		"$ref": "#/$defs/Strategy", "$defs": defs,
	}, "", "  ")
	return append(b, '\n'), err
}

const (
	strategySchemaID = "https://raw.githubusercontent.com/manorhq/manor/main/docs/strategy.schema.json"
	durationPattern  = `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$` // of those that time.ParseDuration reads, the ones that can be meant
)

// durationFields are strings to huma: [controlplane.Duration] writes itself.
var durationFields = []struct{ typ, field, example string }{
	{"Wave", "soak", "15m"}, {"Gate", "for", "5m"}, {"Timeouts", "lock", "500ms"}, {"Timeouts", "statement", "30s"}, {"Timeouts", "tenant", "10m"},
	{"Retry", "backoff", "1s"}, {"Retry", "max", "1m"}, {"Snapshot", "keep", "72h"}, {"Snapshot", "timeout", "10m"},
}
