package render_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/manorhq/manor/cmd/manor/render"
	"github.com/manorhq/manor/controlplane"
)

func TestSARIFLooksAsTheGoldenFileSays(t *testing.T) {
	document, err := render.SARIF(lint.Items, "migrations/my tenants", "v1.4.0")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "lint.sarif", string(document))
}

// TestSARIFHasWhatItsSchemaRequires: of the properties that are written, those
// that sarif-schema-2.1.0.json requires, and those that code hosts ask for.
func TestSARIFHasWhatItsSchemaRequires(t *testing.T) {
	for name, warnings := range map[string][]controlplane.Warning{"some": lint.Items, "none": nil} {
		document, err := render.SARIF(warnings, ".", "v1.4.0")
		if err != nil {
			t.Fatal(err)
		}
		var log struct {
			Schema  string `json:"$schema"`
			Version string `json:"version"`
			Runs    []struct {
				Tool struct {
					Driver struct {
						Name  string `json:"name"`
						Rules []struct {
							ID    string                `json:"id"`
							Short struct{ Text string } `json:"shortDescription"`
							Help  struct{ Text string } `json:"help"`
						} `json:"rules"`
					} `json:"driver"`
				} `json:"tool"`
				Results []struct {
					RuleID    string                `json:"ruleId"`
					RuleIndex *int                  `json:"ruleIndex"`
					Level     string                `json:"level"`
					Message   struct{ Text string } `json:"message"`
					Locations []struct {
						Physical struct {
							Artifact struct{ URI string }    `json:"artifactLocation"`
							Region   struct{ StartLine int } `json:"region"`
						} `json:"physicalLocation"`
					} `json:"locations"`
				} `json:"results"`
			} `json:"runs"`
		}
		if err := json.Unmarshal(document, &log); err != nil {
			t.Fatal(err)
		}
		if log.Schema == "" || log.Version != "2.1.0" || len(log.Runs) != 1 || log.Runs[0].Tool.Driver.Name == "" ||
			log.Runs[0].Results == nil || log.Runs[0].Tool.Driver.Rules == nil || len(log.Runs[0].Results) != len(warnings) {
			t.Fatalf("%s: the head is incomplete:\n%s", name, document)
		}
		rules := log.Runs[0].Tool.Driver.Rules
		for i, r := range log.Runs[0].Results {
			if r.RuleIndex == nil || rules[*r.RuleIndex].ID != r.RuleID || r.RuleID != string(warnings[i].Code) ||
				rules[*r.RuleIndex].Short.Text == "" || rules[*r.RuleIndex].Help.Text == "" {
				t.Errorf("result %d has no rule", i)
			}
			if !slices.Contains([]string{"none", "note", "warning", "error"}, r.Level) || r.Message.Text == "" {
				t.Errorf("result %d: level %q, message %q", i, r.Level, r.Message.Text)
			}
			if len(r.Locations) != 1 || r.Locations[0].Physical.Artifact.URI == "" || r.Locations[0].Physical.Region.StartLine < 1 {
				t.Errorf("result %d is nowhere", i)
			}
		}
	}
}
