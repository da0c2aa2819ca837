package migrator

import (
	"fmt"
	"slices"
	"strings"

	"ariga.io/atlas/sql/migrate"

	"github.com/manorhq/manor/controlplane"
)

// everything stands for an atlas:nolint without names.
const everything = ""

// names are what directives name, or everything.
func names(directives []string) []string {
	var all []string
	for _, d := range directives {
		named := strings.Fields(d)
		if len(named) == 0 {
			named = []string{everything}
		}
		all = append(all, named...)
	}
	return all
}

// idle is a directive that does nothing, and why.
type idle struct {
	line      int
	why, hint string
}

// known are Atlas's directives; those that are not supported are refused elsewhere.
var known = []string{"txmode", "nolint", "delimiter", "sum", "checkpoint", "txtar", "assert", "import"}

// idleDirectives finds directives without effect. That of txmode is refused
// when the file is read.
func idleDirectives(src *source) []idle {
	var found []idle
	for _, m := range directive.FindAllStringSubmatchIndex(src.content, -1) {
		name, argument := src.content[m[2]:m[3]], ""
		if m[4] >= 0 {
			argument = src.content[m[4]:m[5]]
		}
		if d := src.idle(name, argument, m[0], src.content[m[0]:m[1]]); d.why != "" {
			d.line = lineOf(src.content, m[2])
			found = append(found, d)
		}
	}
	return found
}

// idle says why the directive at a byte does nothing, if so.
func (src *source) idle(name, argument string, at int, line string) (d idle) {
	switch {
	case !slices.Contains(known, name):
		return idle{why: "Atlas knows no directive atlas:" + name, hint: "its directives are txmode, nolint, delimiter and sum"}
	case name == "delimiter" && at > 0:
		return idle{why: "atlas:delimiter is not the first line of the file", hint: "move it there"}
	case name == "nolint" && !src.hasNolint(at, line):
		return idle{why: "atlas:nolint stands neither at the top of the file nor just above a statement",
			hint: "at the top of the file, a blank line follows it; above a statement, none"}
	case name == "nolint":
		return idle{why: unknownCode(argument), hint: "docs/warnings.md lists the codes"}
	}
	return idle{}
}

// hasNolint reports whether the directive at a byte is one for Atlas, too.
func (src *source) hasNolint(at int, line string) bool {
	top := migrate.NewLocalFile(src.name, []byte(src.content[:at]+strings.TrimSpace(line)+"\n\n"))
	if len(src.nolint) > 0 && len(top.Directive("nolint")) > 0 {
		return true
	}
	i := slices.IndexFunc(src.places, func(p place) bool { return p.at > at })
	return i >= 0 && slices.ContainsFunc(src.places[i].atlas.Comments, func(c string) bool {
		return strings.Contains(c, strings.TrimSpace(line))
	})
}

// unknownCode finds a name of our kind that no warning has. Those without a
// hyphen are Atlas's: it has more than we know of.
func unknownCode(argument string) string {
	for name := range strings.FieldsSeq(argument) {
		if strings.Contains(name, "-") && controlplane.KindOf(controlplane.WarningCode(name)).Sentence == "" {
			return fmt.Sprintf("atlas:nolint names %s, and there is no such warning", name)
		}
	}
	return ""
}
