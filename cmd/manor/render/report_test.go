package render_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/manorhq/manor/cmd/manor/render"
	"github.com/manorhq/manor/controlplane"
)

// targetsOf is a rollout's targets as a service gives them.
func targetsOf(all ...controlplane.Target) func(...controlplane.TargetStatus) iter.Seq2[controlplane.Target, error] {
	return func(of ...controlplane.TargetStatus) iter.Seq2[controlplane.Target, error] {
		return func(yield func(controlplane.Target, error) bool) {
			for _, t := range all {
				if (len(of) == 0 || slices.Contains(of, t.Status)) && !yield(t, nil) {
					return
				}
			}
		}
	}
}

// with is a target of a status, with a failure or none.
func with(tenant string, status controlplane.TargetStatus, f *controlplane.Failure) controlplane.Target {
	t := target
	t.Tenant, t.Status, t.Failure = tenant, status, f
	return t
}

// reportOf is a report of a rollout that has these targets and two waves.
func reportOf(state controlplane.RolloutState, targets ...controlplane.Target) *render.Report {
	r := rollout
	r.State, r.Counts, r.Targets = state, controlplane.Counts{}, len(targets)
	for _, t := range targets {
		r.Counts[t.Status]++
	}
	r.Waves = []controlplane.WaveStatus{
		{Number: 1, Name: "canary", State: controlplane.WavePassed, Targets: 2, Counts: controlplane.Counts{controlplane.TargetSucceeded: 2}},
		{Number: 2, Name: "rest", State: controlplane.WaveRunning, Targets: len(targets), Counts: r.Counts},
	}
	return &render.Report{Rollout: &r, At: now, Targets: targetsOf(targets...)}
}

var (
	mixed = []controlplane.Target{
		with("acme", controlplane.TargetSucceeded, nil),
		with("globex", controlplane.TargetCurrent, nil),
		with("hooli", controlplane.TargetFailed, failure),
		with("initech", controlplane.TargetFailed, failure),
		with("massive", controlplane.TargetNeedsAttention, &controlplane.Failure{Message: "the tenant is at 9, not where the rollout left it (3)"}),
		with("piedpiper", controlplane.TargetFailed, syntax),
		with("soylent", controlplane.TargetSkipped, &controlplane.Failure{Message: `it is <"suspended">`}),
		with("tyrell", controlplane.TargetFailed, nil),
		with("umbrella", controlplane.TargetPending, nil),
	}
	place = render.Place{Dir: "migrations/my tenants", Version: "v1.4.0", Line: func(f *controlplane.Failure) int { return 10 * f.Statement }}
)

// manyCauses is more than a summary shows unfolded.
func manyCauses() []controlplane.Target {
	var all []controlplane.Target
	for i := range 23 {
		all = append(all, with(fmt.Sprintf("t-%02d", i), controlplane.TargetFailed, &controlplane.Failure{Message: fmt.Sprintf("`cause` %d", i), SQLState: "22012", File: "3_c.sql", Statement: i + 1}))
	}
	return all
}

// writers are all kinds of reports.
var writers = map[string]func(*render.Report, io.Writer) error{
	"junit": (*render.Report).JUnit, "md": (*render.Report).Summary,
	"sarif": func(r *render.Report, w io.Writer) error { return r.SARIF(w, place) },
}

func TestReportsLookAsTheGoldenFilesSay(t *testing.T) {
	paused := reportOf(controlplane.RolloutPaused, mixed...)
	paused.Rollout.Reason = "1 failed: `on error` is pause"
	back := reportOf(controlplane.RolloutRolledBack, with("acme", controlplane.TargetRolledBack, nil), with("hooli", controlplane.TargetSkipped, &controlplane.Failure{Message: "the rollout was rolled back before its turn"}))
	back.Back = true
	all := reportOf(controlplane.RolloutFailed, mixed...)
	for name, r := range map[string]*render.Report{
		"failed.junit": all, "failed.md": all, "failed.sarif": all, "paused.md": paused, "rolled-back.junit": back, "rolled-back.md": back,
		"succeeded.md":    reportOf(controlplane.RolloutSucceeded, mixed[:2]...),
		"succeeded.sarif": reportOf(controlplane.RolloutSucceeded, mixed[:2]...),
		"interrupted.md":  reportOf(controlplane.RolloutRunning, mixed[7:]...),
		"causes.md":       reportOf(controlplane.RolloutFailed, manyCauses()...),
	} {
		var out bytes.Buffer
		_, kind, _ := strings.Cut(name, ".")
		if err := writers[kind](r, &out); err != nil {
			t.Fatal(err)
		}
		golden(t, "report-"+name, out.String())
	}
}

func TestAReportThatCannotReadItsTargetsFails(t *testing.T) {
	lost := errors.New("lost")
	r := reportOf(controlplane.RolloutFailed, mixed...)
	r.Targets = func(...controlplane.TargetStatus) iter.Seq2[controlplane.Target, error] {
		return func(yield func(controlplane.Target, error) bool) { yield(controlplane.Target{}, lost) }
	}
	for ext, write := range writers {
		if err := write(r, io.Discard); !errors.Is(err, lost) {
			t.Errorf("%s: %v", ext, err)
		}
	}
}

// TestJUnitHasWhatItsSchemaRequires: the elements and attributes that
// github.com/windyroad/JUnit-Schema requires, in its order.
func TestJUnitHasWhatItsSchemaRequires(t *testing.T) {
	var out bytes.Buffer
	if err := reportOf(controlplane.RolloutFailed, mixed...).JUnit(&out); err != nil {
		t.Fatal(err)
	}
	required := map[string][]string{
		"testsuite": {"id", "package", "name", "timestamp", "hostname", "tests", "failures", "errors", "time"},
		"property":  {"name", "value"}, "testcase": {"name", "classname", "time"}, "failure": {"type"},
	}
	seen, count := "", map[string]int{}
	suite := map[string]string{}
	d := xml.NewDecoder(&out)
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		given := map[string]string{}
		for _, a := range e.Attr {
			given[a.Name.Local] = a.Value
		}
		for _, name := range required[e.Name.Local] {
			if given[name] == "" {
				t.Errorf("%s has no %s", e.Name.Local, name)
			}
		}
		if count[e.Name.Local]++; count[e.Name.Local] == 1 {
			seen += " " + e.Name.Local
		}
		if e.Name.Local == "testsuite" {
			suite = given
		}
	}
	if want := " testsuites testsuite properties property testcase failure skipped system-out system-err"; seen != want {
		t.Errorf("elements come as%s, want%s", seen, want)
	}
	for attribute, element := range map[string]string{"tests": "testcase", "failures": "failure", "skipped": "skipped"} {
		if suite[attribute] != strconv.Itoa(count[element]) {
			t.Errorf("the suite says %s of %s, and there are %d", suite[attribute], attribute, count[element])
		}
	}
	if _, err := time.Parse("2006-01-02T15:04:05", suite["timestamp"]); err != nil {
		t.Error(err)
	}
}

func TestJUnitHoldsOneTargetAtATime(t *testing.T) {
	r := reportOf(controlplane.RolloutSucceeded, mixed[0])
	var out bytes.Buffer
	r.Targets = func(...controlplane.TargetStatus) iter.Seq2[controlplane.Target, error] {
		return func(yield func(controlplane.Target, error) bool) {
			for n := 1; yield(with(fmt.Sprintf("t-%d", n), controlplane.TargetSucceeded, nil), nil) && n < 1000; n++ {
				if !strings.Contains(out.String(), fmt.Sprintf(`name="t-%d"`, n)) {
					t.Fatalf("target %d was read and is not written", n)
				}
			}
		}
	}
	if err := r.JUnit(&out); err != nil {
		t.Error(err)
	}
}
