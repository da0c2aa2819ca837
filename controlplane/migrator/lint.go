package migrator

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"ariga.io/atlas/sql/migrate"

	"github.com/manorhq/manor/controlplane"
)

// Lint reads a migration directory as [Parse] does and says what its author
// should know, without a database: what would be refused, hold others up, break
// applications, lose data, or fail on some tenants. It looks at the files after
// the version since; those are taken to go out together, so tables that they
// make are empty. With "" it looks at all files and takes each to go out alone.
// atlas:nolint silences warnings and notes. The error is about the call.
func Lint(files map[string][]byte, since string) (report *controlplane.Lint, err error) {
	defer recovered("lint the release", &err)
	l := &linter{
		files: files, release: &Release{downs: map[string]*file{}}, memory: newMemory(),
		report: controlplane.Lint{Since: since, Items: []controlplane.Warning{}},
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if name != migrate.HashFileName {
			l.read(name, files[name])
		}
	}
	if len(l.sources) == 0 {
		return nil, l.release.checkSum(&migrate.MemDir{})
	}
	if err := l.choose(since); err != nil {
		return nil, err
	}
	for i := range l.sources {
		l.lint(i)
	}
	l.checkDirectory()
	slices.SortStableFunc(l.report.Items, func(a, b controlplane.Warning) int {
		return cmp.Or(cmp.Compare(a.Version, b.Version), cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return &l.report, nil
}

// source is a file and what was read of it.
type source struct {
	*file
	content  string
	places   []place
	problems []*controlplane.Error // why it cannot be part of a release
	nolint   []string              // of the file as a whole
}

// linter goes through the files in their order.
type linter struct {
	memory
	files   map[string][]byte
	release *Release
	sources []*source
	downs   []*source
	first   int // of the files that are looked at
	group   int // first file of those that go out together with the one in hand
	at      int // file in hand
	n       int // its statement in hand, from 0
	report  controlplane.Lint
}

// read takes one file apart, as far as that is possible.
func (l *linter) read(name string, content []byte) {
	f, atlas, err := newFile(name, content)
	src := &source{file: f, content: string(content)}
	if src.refuse(err); err == nil {
		src.refuse(f.readDirectives(atlas))
		src.places, err = f.scan(src.content)
		src.refuse(err)
	}
	src.nolint = names(atlas.Directive("nolint"))
	if f.down {
		l.downs = append(l.downs, src)
		l.release.downs[f.version] = f
		return
	}
	l.sources = append(l.sources, src)
	l.release.files = append(l.release.files, f)
}

// refuse keeps an error as a reason against the file.
func (src *source) refuse(err error) {
	if e, ok := errors.AsType[*controlplane.Error](err); ok {
		src.problems = append(src.problems, e)
	}
}

// choose finds the first file to look at.
func (l *linter) choose(since string) error {
	if since == "" {
		return nil
	}
	i := slices.IndexFunc(l.sources, func(src *source) bool { return src.version == since })
	if i < 0 {
		return controlplane.Errorf(controlplane.Invalid, "the directory holds no version %s", since).
			WithHint("give the version that tenants are at, the digits with which its file begins")
	}
	l.first = i + 1
	return nil
}

// lint looks at one file, or only remembers what it makes.
func (l *linter) lint(i int) {
	src := l.sources[i]
	l.at, l.group = i, i
	if l.report.Since != "" {
		l.group = l.first
	}
	looked := i >= l.first
	if looked {
		l.report.Files++
		l.checkFile(src)
	}
	for n := range src.places {
		l.n = n
		if looked {
			l.checkStatement(src, n)
		}
		l.remember(&src.places[n].statement, i)
	}
	if down := l.release.downs[src.version]; looked && down != nil {
		l.checkDown(down)
	}
}

// checkStatement applies the rules to the nth statement, unless it is refused anyway.
func (l *linter) checkStatement(src *source, n int) {
	if src.places[n].refused != nil {
		l.addRefused(src, n)
		return
	}
	for _, rule := range rules {
		for _, f := range rule(l, &src.places[n].statement) {
			l.add(src, n, f.at, controlplane.NewWarning(f.code, f.what))
		}
	}
}

// checkDown looks for what would be refused in a down file: that it drops is its purpose.
func (l *linter) checkDown(f *file) {
	i := slices.IndexFunc(l.downs, func(src *source) bool { return src.file == f })
	src := l.downs[i]
	l.addProblems(src)
	for n := range src.places {
		if src.places[n].refused != nil {
			l.addRefused(src, n)
			continue
		}
		for _, f := range qualifiedNames(l, &src.places[n].statement) {
			l.add(src, n, f.at, controlplane.NewWarning(f.code, f.what))
		}
	}
}

// checkFile looks at the file as a whole.
func (l *linter) checkFile(src *source) {
	l.addProblems(src)
	for _, d := range idleDirectives(src) {
		w := controlplane.NewWarning(controlplane.WarnDirective, d.why)
		w.Line, w.Hint = d.line, d.hint
		l.add(src, -1, 0, w)
	}
	if src.alone && len(src.places) > 1 {
		l.add(src, 1, 0, controlplane.NewWarning(controlplane.WarnSeveralAlone, "several statements without a transaction"))
	}
	if l.release.downs[src.version] != nil {
		return
	}
	for n := range src.places {
		if why := src.places[n].reason(); why != "" {
			l.add(src, n, 0, controlplane.NewWarning(controlplane.WarnNoWayBack, why+", and there is no down file"))
			return
		}
	}
}

// reason is why no way back can be computed for the statement.
func (p *place) reason() string {
	if p.refused != nil {
		return ""
	}
	return p.notAdditive()
}

// checkDirectory looks at what the files are together.
func (l *linter) checkDirectory() {
	var dir migrate.MemDir
	for _, name := range slices.Sorted(maps.Keys(l.files)) {
		if !strings.Contains(name, "/") {
			_ = dir.WriteFile(name, l.files[name]) // in memory
		}
	}
	for _, c := range []struct {
		check func() error
		code  controlplane.WarningCode
		file  string
	}{
		{func() error { return l.release.checkSum(&dir) }, controlplane.WarnSum, migrate.HashFileName},
		{l.release.checkVersions, controlplane.WarnRefused, ""},
		{l.release.checkDowns, controlplane.WarnOrphanDown, ""},
	} {
		if e, ok := errors.AsType[*controlplane.Error](c.check()); ok {
			l.addError(c.code, c.file, e)
		}
	}
}

// addError adds an error about a file, whose message may begin with file and line.
func (l *linter) addError(code controlplane.WarningCode, name string, e *controlplane.Error) {
	w := controlplane.NewWarning(code, "")
	w.Severity, w.Message, w.File = controlplane.SeverityError, e.Message, name
	if e.Hint != "" {
		w.Hint = e.Hint
	}
	l.place(&w)
	if i := slices.IndexFunc(l.sources, func(src *source) bool { return src.name == w.File }); i >= 0 {
		w.Version = l.sources[i].version
	}
	l.report.Add(w)
}

// place takes file and line out of the message, where [invalid] put them.
func (l *linter) place(w *controlplane.Warning) {
	where, message, ok := strings.Cut(w.Message, ": ")
	name, line, _ := strings.Cut(where, ":")
	if _, known := l.files[name]; !ok || !known {
		return
	}
	line, _, _ = strings.Cut(line, ":") // Atlas adds a column
	w.File, w.Message = name, message
	w.Line, _ = strconv.Atoi(line)
}

// addProblems adds why a file cannot be part of a release.
func (l *linter) addProblems(src *source) {
	for _, e := range src.problems {
		code := controlplane.WarnRefused
		if strings.HasSuffix(e.Message, noEffect) {
			code = controlplane.WarnDirective
		}
		l.addError(code, src.name, e)
	}
}

// addRefused adds why a statement may not be part of a release.
func (l *linter) addRefused(src *source, n int) {
	r := src.places[n].refused
	code := controlplane.WarnRefused
	switch {
	case strings.HasSuffix(r.what, leadsOut):
		code = controlplane.WarnSearchPath
	case strings.HasSuffix(r.what, needsNone):
		code = controlplane.WarnNeedsNoTransaction
	}
	w := controlplane.NewWarning(code, "")
	w.Message, w.Hint = r.what, r.hint
	l.add(src, n, r.at, w)
}

// add places a warning and adds it, unless it is silenced. at is the byte of the
// statement; n is -1 for the file as a whole.
func (l *linter) add(src *source, n, at int, w controlplane.Warning) {
	w.Version, w.File = src.version, src.name
	silent := src.nolint
	if n >= 0 {
		p := &src.places[n]
		w.Statement, w.Line, w.SQL = n+1, lineOf(src.content, p.at+at), p.atlas.Text
		silent = append(slices.Clip(silent), names(p.atlas.Directive("nolint"))...)
	}
	kind := controlplane.KindOf(w.Code)
	silenced := slices.ContainsFunc(silent, func(name string) bool { return name == everything || slices.Contains(kind.Names(), name) })
	if silenced && w.Severity != controlplane.SeverityError {
		l.report.Silenced++
		return
	}
	l.report.Add(w)
}
