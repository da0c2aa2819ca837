package migrator

import (
	"fmt"
	"strings"

	"github.com/manorhq/manor/controlplane"
)

// Reverses say per version how it is undone.
type Reverses map[string]Reverse

// Reverse undoes one version. Without statements it says why there is none.
type Reverse struct {
	Statements []string `json:"statements,omitempty"`
	Kind       string   `json:"kind"` // controlplane.DownFile, DownComputed or DownNone
	Reason     string   `json:"reason,omitempty"`
}

// Reverse returns the down file of a version.
func (r *Release) Reverse(version string) (Reverse, bool) {
	down, ok := r.downs[version]
	if !ok {
		return Reverse{}, false
	}
	reverse := Reverse{Kind: controlplane.DownFile}
	for _, s := range down.statements {
		reverse.Statements = append(reverse.Statements, s.sql)
	}
	return reverse, true
}

// downFiles returns what undoes each of the files.
func (r *Release) downFiles(files []*file, reverses Reverses) ([]*file, error) {
	downs := make([]*file, len(files))
	for i, f := range files {
		if downs[i] = r.downs[f.version]; downs[i] != nil {
			continue
		}
		var err error
		if downs[i], err = computedFile(f, reverses[f.version]); err != nil {
			return nil, err
		}
	}
	return downs, nil
}

// computedFile is the down file that would hold a computed reverse.
func computedFile(f *file, reverse Reverse) (*file, error) {
	if reverse.Kind != controlplane.DownComputed {
		reason := reverse.Reason
		if reason == "" {
			reason = "there is no down file"
		}
		return nil, controlplane.Errorf(controlplane.Refused, "version %s cannot be undone: %s", f.version, reason).
			WithHint("write %s%s", downDir, f.name)
	}
	down := &file{name: "computed reverse of " + f.name, version: f.version, down: true}
	for _, sql := range reverse.Statements {
		s, err := newStatement(sql)
		if err == nil {
			err = s.check(false)
		}
		if err != nil {
			return nil, fmt.Errorf("computed reverse of version %s: %s: %w", f.version, strings.TrimSpace(sql), err)
		}
		down.statements = append(down.statements, s)
	}
	return down, nil
}
