package api

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"reflect"

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

// describe adds what Go's types cannot say.
func describe(doc *huma.OpenAPI) {
	cluster := doc.Components.Schemas.Map()["Cluster"]
	cluster.Properties["app_address"] = &huma.Schema{
		Description: "null: the same as address",
		AnyOf:       []*huma.Schema{cluster.Properties["address"], {Type: "null"}},
	}
}
