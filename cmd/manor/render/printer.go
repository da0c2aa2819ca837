package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/manorhq/manor/controlplane"
)

// Format is how results are written.
type Format string

// The formats.
const (
	Table Format = "table" // for people
	JSON  Format = "json"  // the noun, one document
	YAML  Format = "yaml"  // the same keys
)

// Formats are all of them.
var Formats = []Format{Table, JSON, YAML}

// Config is what a [Printer] needs to know about where it writes.
type Config struct {
	Out      io.Writer        // results
	Err      io.Writer        // progress and remarks
	Format   Format           // default: Table
	OutColor bool             // Out is a terminal that wants colour
	ErrColor bool             // the same of Err
	Live     bool             // Err is a terminal: progress is a bar that redraws itself
	Width    int              // of that terminal; 0: not known
	Height   int              // the same
	Now      func() time.Time // default: time.Now
}

// Printer writes nouns in one format.
type Printer struct {
	Config
	style style
}

// New makes a printer.
func New(c Config) *Printer {
	if c.Format == "" {
		c.Format = Table
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Printer{Config: c, style: style{on: c.OutColor}}
}

// ParseFormat reads the value of --output.
func ParseFormat(s string) (Format, error) {
	if f := Format(s); slices.Contains(Formats, f) {
		return f, nil
	}
	return "", controlplane.Errorf(controlplane.Invalid, "output format %q does not exist", s).WithHint("formats: table, json, yaml")
}

// Remark writes a line for people beside the result. Scripts that read the
// result do not see it.
func (p *Printer) Remark(format string, args ...any) {
	fmt.Fprintf(p.Err, format+"\n", args...)
}

// Done writes v for scripts, or the sentence for people.
func (p *Printer) Done(v any, format string, args ...any) error {
	return p.print(v, func() string { return fmt.Sprintf(format, args...) + "\n" })
}

// print writes v as JSON or YAML, or what table returns.
func (p *Printer) print(v any, table func() string) error {
	switch p.Format {
	case JSON:
		return p.encode(v, "  ")
	case YAML:
		return p.yaml(v)
	default:
		_, err := io.WriteString(p.Out, table())
		return err
	}
}

// Line writes v as one JSON document on a line of its own, or as one YAML
// document: how a stream is written.
func (p *Printer) Line(v any) error {
	if p.Format != YAML {
		return p.encode(v, "")
	}
	if _, err := io.WriteString(p.Out, "---\n"); err != nil {
		return err
	}
	return p.yaml(v)
}

func (p *Printer) encode(v any, indent string) error {
	enc := json.NewEncoder(p.Out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	return enc.Encode(v)
}

// yaml goes through JSON, so that keys, their order and the spelling of every
// value are those of the JSON.
func (p *Printer) yaml(v any) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(buf.Bytes(), &doc); err != nil {
		return err
	}
	blockStyle(&doc)
	out := yaml.NewEncoder(p.Out)
	out.SetIndent(2)
	if err := out.Encode(&doc); err != nil {
		return err
	}
	return out.Close()
}

// blockStyle takes off the braces and quotes that JSON brought along; the
// encoder puts quotes back where a string would read as something else.
func blockStyle(n *yaml.Node) {
	n.Style = 0
	if len(n.Content) == 0 && n.Kind != yaml.ScalarNode {
		n.Style = yaml.FlowStyle // {} and []
	}
	for _, c := range n.Content {
		blockStyle(c)
	}
}

// list is how every list goes out: items is never null.
func list[T any](items []T) controlplane.Page[T] {
	if items == nil {
		items = []T{}
	}
	return controlplane.Page[T]{Items: items}
}

// lines joins blocks of text with an empty line between them.
func blocks(parts ...string) string {
	parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" })
	return strings.Join(parts, "\n")
}
