package render

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/manorhq/manor/controlplane"
)

// What of JUnit's XML is written: one suite, a test for each target. There is no
// standard; these are the attributes that the strictest of the schemas in use
// requires, and no others.
// https://github.com/windyroad/JUnit-Schema/blob/master/JUnit.xsd
type (
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		XMLName xml.Name      `xml:"testcase"`
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		Time    string        `xml:"time,attr"`
		Skipped *junitSkipped `xml:"skipped"`
		Failure *junitFailure `xml:"failure"`
	}
	junitSkipped struct {
		Message string `xml:"message,attr"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes the rollout as a suite of tests, one for each target: it passes
// if the tenant is where the command was to take it. Targets are written as they
// are read.
func (r *Report) JUnit(w io.Writer) error {
	if err := r.junitHead(w); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("    ", "  ")
	for t, err := range r.Targets() {
		if err != nil {
			return err
		}
		if err := e.Encode(r.junitCase(&t)); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "\n    <system-out></system-out>\n    <system-err></system-err>\n  </testsuite>\n</testsuites>\n")
	return err
}

func (r *Report) junitHead(w io.Writer) error {
	of, counts := r.Rollout, r.counts()
	var b strings.Builder
	b.WriteString(xml.Header + "<testsuites>\n")
	fmt.Fprintf(&b, "  <testsuite id=\"0\" package=\"manor\" name=%s tests=\"%d\" failures=\"%d\" errors=\"0\" skipped=\"%d\" time=\"%.3f\" timestamp=%s hostname=\"localhost\">\n",
		quoteXML("rollout "+of.ID), of.Counts.Sum(), counts[failed], counts[skipped], r.took().Seconds(), quoteXML(of.CreatedAt.UTC().Format("2006-01-02T15:04:05")))
	b.WriteString("    <properties>\n")
	for _, p := range []junitProperty{{"rollout", of.ID}, {"state", string(of.State)}, {"release", of.Release}, {"version", of.Version}, {"reason", of.Reason}} {
		if p.Value != "" {
			fmt.Fprintf(&b, "      <property name=%s value=%s></property>\n", quoteXML(p.Name), quoteXML(p.Value))
		}
	}
	b.WriteString("    </properties>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) junitCase(t *controlplane.Target) *junitCase {
	took := time.Duration(t.DurationMS) * time.Millisecond
	c := &junitCase{Name: t.Tenant, Class: t.Wave + "." + cmp.Or(t.Cluster, "no cluster"), Time: fmt.Sprintf("%.3f", took.Seconds())}
	f := failureOf(t)
	switch r.outcome(t.Status) {
	case failed:
		c.Failure = &junitFailure{Message: cmp.Or(f.Message, words(t.Status)), Type: cmp.Or(f.SQLState, words(t.Status)), Text: junitText(f)}
	case skipped:
		c.Skipped = &junitSkipped{Message: words(t.Status)}
		if f.Message != "" {
			c.Skipped.Message += ": " + f.String()
		}
	}
	return c
}

// junitText is where it failed, and the statement.
func junitText(f *controlplane.Failure) string {
	text := f.String()
	if f.SQL != "" {
		text += "\n\n" + f.SQL
	}
	if f.Hint != "" {
		text += "\n\n" + f.Hint
	}
	return text
}

func quoteXML(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return `"` + b.String() + `"`
}
