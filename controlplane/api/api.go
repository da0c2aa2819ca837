package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/manorhq/manor/controlplane"
)

// Config is what the API stands on.
type Config struct {
	Fleet    Fleet
	Tenants  Tenants
	Releases Releases
	Rollouts Rollouts
	Doctor   Doctor
	Events   Events

	// Schema answers the version the catalog is at, for the health route.
	// Default: the answer has none.
	Schema  func(context.Context) (string, error)
	Version string       // of the program
	Logger  *slog.Logger // default: slog.Default()
}

// New returns the handler of the whole API.
func New(c Config) http.Handler { return newServer(c) }

type server struct {
	Config
	mux *http.ServeMux
	api huma.API
}

func newServer(c Config) *server {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	s := &server{Config: c, mux: http.NewServeMux()}
	s.api = humago.New(s.mux, humaConfig())
	for _, r := range s.routes() {
		r.register(s, r.operation())
	}
	describe(s.api.OpenAPI())
	// Not huma's own route: that one fills its cache without a lock.
	document := sync.OnceValues(func() ([]byte, error) { return json.Marshal(s.api.OpenAPI()) })
	s.mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, r *http.Request) {
		s.serveDocument(w, r, document)
	})
	return s
}

func (s *server) serveDocument(w http.ResponseWriter, r *http.Request, document func() ([]byte, error)) {
	b, err := document()
	if err != nil {
		s.problem(r.Context(), "openapi", err).write(w)
		return
	}
	w.Header().Set("Content-Type", "application/openapi+json")
	w.Write(b) // nobody to tell when the client is gone
}

// documentVersion is that of the API, not of the program: the document changes
// with the routes and the nouns only.
const documentVersion = "1"

func humaConfig() huma.Config {
	c := huma.DefaultConfig("Manor", documentVersion)
	c.Info.Description = "The control plane of a PostgreSQL fleet: clusters, tenants, releases, rollouts."
	c.OpenAPIPath, c.SchemasPath = "", ""
	c.DocsPath = ""     // huma's pages load from a CDN
	c.CreateHooks = nil // they add $schema to every answer
	c.RejectUnknownQueryParameters = true
	format := huma.Format{Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: unmarshal}
	c.Formats = map[string]huma.Format{"application/json": format, "json": format}
	return c
}

// unmarshal decodes without quoting the input in its errors: it may be a password.
func unmarshal(data []byte, v any) error {
	err := json.Unmarshal(data, v)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("not valid JSON at byte %d", syntax.Offset)
	}
	if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s does not fit its type", mismatch.Field)
	}
	if err != nil {
		return errors.New("does not fit the schema")
	}
	return nil
}

// list makes the answer of a door that returns everything at once.
func list[T any](items []T, err error) (controlplane.Page[T], error) {
	return full(controlplane.Page[T]{Items: items}, err)
}

// full sees to it that an empty list is [] and never null.
func full[T any](p controlplane.Page[T], err error) (controlplane.Page[T], error) {
	if p.Items == nil {
		p.Items = []T{}
	}
	return p, err
}
