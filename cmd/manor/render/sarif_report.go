package render

import (
	"cmp"
	"io"

	"github.com/manorhq/manor/controlplane"
)

// Place is where the failures of a rollout stand in a repository.
type Place struct {
	Dir     string                          // the migration directory, from the root of the repository, with slashes
	Line    func(*controlplane.Failure) int // of the failed statement in its file; 0: not known
	Version string                          // of this binary
}

// SARIF writes what failed for tools that show it beside the code: a result for
// each cause, which says how many tenants it met.
func (r *Report) SARIF(w io.Writer, at Place) error {
	c, err := r.causes()
	if err != nil {
		return err
	}
	var results []sarifResult
	var rules []sarifRule
	index := map[string]int{}
	for _, one := range c.sorted() {
		id := failureRule(&one.example)
		if _, ok := index[id]; !ok {
			index[id] = len(rules)
			rules = append(rules, sarifFailureRule(id))
		}
		results = append(results, sarifFailure(&one, at, id, index[id]))
	}
	document, err := sarifDocument(at.Version, rules, results)
	if err != nil {
		return err
	}
	_, err = w.Write(document)
	return err
}

const (
	needsAttention = "needs-attention"
	otherFailure   = "failed"
)

// failureRule is the SQLSTATE, where there is one.
func failureRule(t *controlplane.Target) string {
	if t.Status == controlplane.TargetNeedsAttention {
		return needsAttention
	}
	return cmp.Or(failureOf(t).SQLState, otherFailure)
}

func sarifFailureRule(id string) sarifRule {
	r := sarifRule{ID: id, Short: sarifText{"PostgreSQL refused the migration of a tenant with SQLSTATE " + id},
		Help:    sarifText{"The message says what stood in the way. Mend it in the tenants, then `manor rollout retry`; or take the rollout back."},
		HelpURI: "https://www.postgresql.org/docs/current/errcodes-appendix.html"}
	switch id {
	case needsAttention:
		r.Short.Text, r.HelpURI = "A tenant is not where its rollout left it, and somebody must look", "https://github.com/manorhq/manor/blob/main/docs/rollouts.md#what-is-left-to-people"
	case otherFailure:
		r.Short.Text, r.HelpURI = "A tenant could not be migrated", "https://github.com/manorhq/manor/blob/main/docs/rollouts.md#what-is-left-to-people"
	}
	r.Configuration.Level = string(controlplane.SeverityError)
	return r
}

// sarifFailure places what has no file at the list of the files.
func sarifFailure(c *cause, at Place, id string, rule int) sarifResult {
	f := failureOf(&c.example)
	line := 0
	if at.Line != nil && f.File != "" {
		line = at.Line(f)
	}
	return sarifResult{RuleID: id, RuleIndex: rule, Level: string(controlplane.SeverityError), Count: c.tenants,
		Message: sarifText{c.who() + " " + words(c.example.Status) + ": " + c.why()}, Locations: sarifAt(at.Dir, cmp.Or(f.File, "atlas.sum"), line)}
}
