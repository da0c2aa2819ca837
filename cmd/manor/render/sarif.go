package render

import (
	"encoding/json"
	"net/url"
	"path"
	"slices"

	"github.com/manorhq/manor/controlplane"
)

// What of SARIF 2.1.0 is written: a run of one tool, its rules, and a result
// for each warning.
// https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool struct {
			Driver sarifDriver `json:"driver"`
		} `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID            string    `json:"id"`
		Short         sarifText `json:"shortDescription"`
		Help          sarifText `json:"help"`
		HelpURI       string    `json:"helpUri"`
		Configuration struct {
			Level string `json:"level"`
		} `json:"defaultConfiguration"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		RuleIndex int             `json:"ruleIndex"`
		Level     string          `json:"level"` // the words are those of our severities
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
		Count     int             `json:"occurrenceCount,omitempty"`
	}
	sarifLocation struct {
		Physical struct {
			Artifact struct {
				URI string `json:"uri"`
			} `json:"artifactLocation"`
			Region struct {
				StartLine int `json:"startLine"`
			} `json:"region"`
		} `json:"physicalLocation"`
	}
)

// SARIF writes warnings about the files of a migration directory for tools that
// show them beside the code. dir is relative to the root of the repository, with
// slashes; version is that of this binary.
func SARIF(warnings []controlplane.Warning, dir, version string) ([]byte, error) {
	var results []sarifResult
	var rules []sarifRule
	index := map[controlplane.WarningCode]int{}
	for i := range warnings {
		w := &warnings[i]
		if _, ok := index[w.Code]; !ok {
			index[w.Code] = len(rules)
			rules = append(rules, sarifRuleOf(w))
		}
		results = append(results, sarifResultOf(w, dir, index[w.Code]))
	}
	return sarifDocument(version, rules, results)
}

func sarifDocument(version string, rules []sarifRule, results []sarifResult) ([]byte, error) {
	run := sarifRun{Results: append([]sarifResult{}, results...)} // never null
	run.Tool.Driver = sarifDriver{Name: "manor", Version: version, InformationURI: "https://github.com/manorhq/manor", Rules: append([]sarifRule{}, rules...)}
	document, err := json.MarshalIndent(sarifLog{
		Schema:  "https://json.schemastore.org/sarif-2.1.0.json",
		Version: "2.1.0", Runs: []sarifRun{run},
	}, "", "  ")
	return append(document, '\n'), err
}

func sarifRuleOf(w *controlplane.Warning) sarifRule {
	kind := controlplane.KindOf(w.Code)
	r := sarifRule{ID: string(w.Code), Short: sarifText{kind.Sentence}, Help: sarifText{kind.Hint}, HelpURI: w.Link}
	if r.Help.Text == "" {
		r.Help.Text = kind.Sentence
	}
	r.Configuration.Level = string(kind.Severity)
	return r
}

// sarifResultOf places what is about a file as a whole at its first line.
func sarifResultOf(w *controlplane.Warning, dir string, rule int) sarifResult {
	message := w.Message
	if w.Hint != "" {
		message += "\n" + w.Hint
	}
	r := sarifResult{RuleID: string(w.Code), RuleIndex: rule, Level: string(w.Severity), Message: sarifText{message}, Locations: sarifAt(dir, w.File, w.Line)}
	if !slices.Contains(controlplane.Severities, w.Severity) {
		r.Level = string(controlplane.SeverityWarning)
	}
	return r
}

// sarifAt is a line of a file of a migration directory; 0 is the file as a whole.
func sarifAt(dir, file string, line int) []sarifLocation {
	at := make([]sarifLocation, 1)
	at[0].Physical.Artifact.URI = (&url.URL{Path: path.Join(dir, file)}).String()
	at[0].Physical.Region.StartLine = max(1, line)
	return at
}
