package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

func TestTheExampleOfTheHelpIsAStrategyWithEveryPart(t *testing.T) {
	s, err := parseStrategy([]byte(strategyExample))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	var given map[string]any
	if err := yaml.Unmarshal([]byte(strategyExample), &given); err != nil {
		t.Fatal(err)
	}
	for part := range readSchema(t).Defs["Strategy"].Properties {
		if _, ok := given[part]; !ok && part != "name" && part != "batch_size" {
			t.Errorf("the example says nothing of %s", part)
		}
	}
}

func TestTheExampleOfTheDocsIsTheOneOfTheHelp(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "rollouts.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	text, _, _ := strings.Cut(rest, "```\n")
	got, err := parseStrategy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want, err := parseStrategy([]byte(strategyExample))
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v, -help +docs\n%s", err, diff)
	}
}

type schema struct {
	Defs map[string]schema `json:"$defs"`

	Ref        string            `json:"$ref"`
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
	Additional *bool             `json:"additionalProperties"`
	Required   []string          `json:"required"`
}

func readSchema(t *testing.T) schema {
	t.Helper()
	var s schema
	if err := json.Unmarshal(strategySchema, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// stray names a key that the schema has not, or lacks one that it requires.
func (s schema) stray(root schema, value any, at string) string {
	if s.Ref != "" {
		s = root.Defs[strings.TrimPrefix(s.Ref, "#/$defs/")]
	}
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			if found := s.Items.stray(root, item, at+"[]"); found != "" {
				return found
			}
		}
	case map[string]any:
		for _, key := range s.Required {
			if _, ok := v[key]; !ok {
				return at + " without " + key
			}
		}
		for key, item := range v {
			p, ok := s.Properties[key]
			if !ok && s.Additional != nil && !*s.Additional {
				return at + "." + key
			}
			if found := p.stray(root, item, at+"."+key); found != "" {
				return found
			}
		}
	}
	return ""
}

func TestTheSchemaRefusesTheKeysThatTheLoaderRefuses(t *testing.T) {
	root := readSchema(t)
	for text, refused := range map[string]bool{
		strategyExample: false, "": false, "batch_size: 5\nname: careful\n": false,
		"wavez: []": true, "waves: [{name: rest, percentage: 3}]": true, "limits: {totals: 3}": true, "budget: {failure: 1}": true,
		"gates: [{approve: true}]": true, "timeouts: {locks: 1s}": true, "retry: {attempt: 1}": true, "windows: [{hours: '01:00-05:00', days: 3}]": true,
	} {
		var document map[string]any
		if err := yaml.Unmarshal([]byte(text), &document); err != nil {
			t.Fatal(err)
		}
		_, err := parseStrategy([]byte(text))
		if stray := root.stray(root, document, "strategy"); (err != nil) != refused || (stray != "") != refused {
			t.Errorf("%q: the loader says %v, the schema %q", text, err, stray)
		}
	}
}
