package cli

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/manorhq/manor/controlplane"
)

// readTenants reads a file of tenants: CSV or YAML by its name, standard input
// by its first characters.
func (a *app) readTenants(path string) ([]controlplane.NewTenant, error) {
	name, content, err := path, []byte(nil), error(nil)
	if path == "-" {
		name = "standard input"
		content, err = io.ReadAll(a.in)
	} else {
		content, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, controlplane.Errorf(controlplane.Invalid, "the tenants cannot be read: %w", err)
	}
	content = bytes.TrimPrefix(content, []byte("\xef\xbb\xbf")) // spreadsheets put it there
	var tenants []controlplane.NewTenant
	if isYAML(path, content) {
		tenants, err = tenantsFromYAML(content)
	} else {
		tenants, err = tenantsFromCSV(content)
	}
	if err == nil && len(tenants) == 0 {
		err = errors.New("it holds no tenant")
	}
	if err != nil {
		hint := "`manor tenant create --help` describes the columns"
		if e, ok := errors.AsType[*controlplane.Error](err); ok && e.Hint != "" {
			hint = e.Hint
		}
		return nil, controlplane.Errorf(controlplane.Invalid, "%s: %w", name, err).WithHint("%s", hint)
	}
	return tenants, nil
}

func isYAML(path string, content []byte) bool {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".yaml", ".yml", ".json":
		return true
	case ".csv":
		return false
	}
	text := bytes.TrimSpace(content)
	return bytes.HasPrefix(text, []byte("- ")) || bytes.HasPrefix(text, []byte("[")) || bytes.HasPrefix(text, []byte("---"))
}

func tenantsFromYAML(content []byte) ([]controlplane.NewTenant, error) {
	var entries []*controlplane.NewTenant // pointers, since an empty entry would otherwise be left out
	dec := yaml.NewDecoder(bytes.NewReader(content))
	dec.KnownFields(true)
	if err := dec.Decode(&entries); err != nil && !errors.Is(err, io.EOF) {
		return nil, yamlError(err)
	}
	if err := dec.Decode(&yaml.Node{}); err == nil {
		return nil, errors.New("there is a second document; put all tenants into one list")
	} else if !errors.Is(err, io.EOF) {
		return nil, yamlError(err)
	}
	var tenants []controlplane.NewTenant
	for i, entry := range entries {
		if entry == nil {
			return nil, fmt.Errorf("entry %d is empty", i+1)
		}
		check := *entry // the entry itself stays as it is: flags may fill it
		if err := check.Validate(); err != nil {
			return nil, fmt.Errorf("entry %d: %w", i+1, err)
		}
		tenants = append(tenants, *entry)
	}
	return tenants, nil
}

// The messages of package yaml that name Go's types.
var (
	yamlNoField = regexp.MustCompile(`(?s)^(line \d+: field .* not found) in type \S+$`)
	yamlNoType  = regexp.MustCompile(`(?s)^(line \d+: )cannot unmarshal .* into (\S+)$`)
)

// yamlError says in the file's terms what package yaml says in Go's.
func yamlError(err error) error {
	e, ok := errors.AsType[*yaml.TypeError](err)
	if !ok {
		return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	var said []string
	for _, text := range e.Errors {
		if m := yamlNoField.FindStringSubmatch(text); m != nil {
			text = m[1] + "; the fields are slug, external_id, isolation, cluster, region, tier, labels"
		} else if m := yamlNoType.FindStringSubmatch(text); m != nil {
			text = m[1] + yamlWanted(m[2])
		}
		said = append(said, text)
	}
	return errors.New(strings.Join(said, "; "))
}

// yamlWanted is what belongs where something could not become a Go type.
func yamlWanted(goType string) string {
	switch {
	case strings.HasPrefix(goType, "[]"):
		return "a list of tenants was expected, as in - slug: acme"
	case strings.HasSuffix(goType, "NewTenant"):
		return "fields were expected, as in slug: acme"
	case strings.HasSuffix(goType, "Labels"), strings.HasPrefix(goType, "map["):
		return "fields were expected, as in ring: canary"
	}
	return "one text was expected"
}

// tenantColumns are the columns of a CSV file and where they go.
var tenantColumns = map[string]func(n *controlplane.NewTenant, value string) error{
	"slug":        func(n *controlplane.NewTenant, v string) error { n.Slug = v; return nil },
	"external_id": func(n *controlplane.NewTenant, v string) error { n.ExternalID = v; return nil },
	"isolation":   func(n *controlplane.NewTenant, v string) error { n.Isolation = controlplane.Isolation(v); return nil },
	"cluster":     func(n *controlplane.NewTenant, v string) error { n.Cluster = v; return nil },
	"region":      func(n *controlplane.NewTenant, v string) error { n.Region = v; return nil },
	"tier":        func(n *controlplane.NewTenant, v string) error { n.Tier = v; return nil },
	"labels":      setLabels,
}

func setLabels(n *controlplane.NewTenant, value string) error {
	var pairs []string
	for p := range strings.SplitSeq(value, ";") {
		if p = strings.TrimSpace(p); p != "" {
			pairs = append(pairs, p)
		}
	}
	labels, err := parseLabels(pairs)
	n.Labels = labels
	return err
}

func tenantsFromCSV(content []byte) ([]controlplane.NewTenant, error) {
	r := csv.NewReader(bytes.NewReader(content))
	r.TrimLeadingSpace = true
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := checkHeader(header); err != nil {
		return nil, err
	}
	var tenants []controlplane.NewTenant
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return tenants, nil
		}
		if err != nil {
			return nil, csvError(err)
		}
		line, _ := r.FieldPos(0)
		n, err := tenantFromRecord(header, record)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		tenants = append(tenants, n)
	}
}

func checkHeader(header []string) error {
	known := sortedKeys(tenantColumns)
	for i, name := range header {
		header[i] = strings.ToLower(strings.TrimSpace(name))
		if !slices.Contains(known, header[i]) {
			return fmt.Errorf("line 1: column %q does not exist; the first line must name the columns, out of: %s", name, strings.Join(known, ", "))
		}
		if slices.Contains(header[:i], header[i]) {
			return fmt.Errorf("line 1: column %q is there twice", name)
		}
	}
	if !slices.Contains(header, "slug") {
		return errors.New("line 1: there is no column slug")
	}
	return nil
}

func csvError(err error) error {
	if e, ok := errors.AsType[*csv.ParseError](err); ok {
		return fmt.Errorf("line %d: %w", e.Line, e.Err)
	}
	return err
}

func tenantFromRecord(header, record []string) (controlplane.NewTenant, error) {
	var n controlplane.NewTenant
	for i, value := range record {
		if err := tenantColumns[header[i]](&n, strings.TrimSpace(value)); err != nil {
			return n, err
		}
	}
	check := n // the row itself stays as it is: flags may fill it
	return n, check.Validate()
}
