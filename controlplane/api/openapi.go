package api

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/manorhq/manor/controlplane"
)

// Document is the API's OpenAPI 3.1 document, indented, as docs/openapi.json
// has it.
func Document() ([]byte, error) {
	s := newServer(Config{Logger: slog.New(slog.DiscardHandler)})
	b, err := json.MarshalIndent(s.api.OpenAPI(), "", "  ")
	return append(b, '\n'), err
}

// documentStream describes the one route that huma does not serve.
func documentStream(doc *huma.OpenAPI, op huma.Operation) {
	text := &huma.Schema{Type: huma.TypeString}
	op.Description = "The first event is `hello` with the cursor the stream starts at; a comment comes every 10 s. " +
		"The id of an event is its cursor. A failure of the stream comes as an `error` event whose data is a Problem."
	op.Parameters = []*huma.Param{
		{Name: "after", In: "query", Schema: text, Description: "cursor to resume after; default: from now on"},
		{Name: "Last-Event-ID", In: "header", Schema: text, Description: "as after, and before it"},
	}
	event := doc.Components.Schemas.Schema(eventType, true, "Event")
	op.Responses = map[string]*huma.Response{
		"200":     {Description: http.StatusText(http.StatusOK), Content: map[string]*huma.MediaType{"text/event-stream": {Schema: event}}},
		"default": {Description: "Error", Content: map[string]*huma.MediaType{"application/problem+json": {Schema: doc.Components.Schemas.Schema(problemType, true, "Problem")}}},
	}
	doc.AddOperation(&op)
}

var (
	eventType   = reflect.TypeFor[controlplane.Event]()
	problemType = reflect.TypeFor[problem]()
)

// describe adds what Go's types cannot say. Requests get their closed sets as
// words only: a value outside is the nouns' to refuse, with a hint.
func describe(doc *huma.OpenAPI) {
	schemas := doc.Components.Schemas.Map()
	cluster := schemas["Cluster"]
	cluster.Properties["app_address"] = &huma.Schema{
		Description: "null: the same as address",
		AnyOf:       []*huma.Schema{cluster.Properties["address"], {Type: "null"}},
	}
	for _, p := range []*huma.Schema{cluster.Properties["state"], schemas["ClusterStatus"].Properties["state"]} {
		p.Enum = enum(controlplane.ClusterStates)
	}
	tenant, rollout := schemas["Tenant"].Properties, schemas["Rollout"].Properties
	tenant["state"].Enum = enum(controlplane.TenantStates)
	tenant["isolation"].Enum = enum(controlplane.Isolations)
	rollout["state"].Enum = enum(controlplane.RolloutStates)
	rollout["on_error"].Enum = enum(controlplane.OnErrors)
	schemas["Target"].Properties["status"].Enum = enum(controlplane.TargetStatuses)
	schemas["Finding"].Properties["kind"].Enum = enum(controlplane.FindingKinds)

	schemas["ClusterChange"].Properties["state"].Description = words(controlplane.ClusterStates)
	schemas["NewTenant"].Properties["isolation"].Description = words(controlplane.Isolations)
	schemas["NewRollout"].Properties["on_error"].Description = words(controlplane.OnErrors)
	schemas["TLS"].Properties["mode"].Description = words(controlplane.TLSModes)
}

func enum[T ~string](values []T) (all []any) {
	for _, v := range values {
		all = append(all, string(v))
	}
	return all
}

func words[T ~string](values []T) string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = string(v)
	}
	return "one of " + strings.Join(all, ", ")
}
