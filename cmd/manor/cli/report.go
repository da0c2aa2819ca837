package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/manorhq/manor/cmd/manor/render"
	"github.com/manorhq/manor/controlplane"
)

// reports are the files in which a command that waits says how it went.
type reports struct {
	junit, sarif, summary string
	migrations            string // directory
}

func reportFlags(cmd *cobra.Command) *reports {
	r := &reports{}
	fs := cmd.Flags()
	fs.StringVar(&r.junit, "junit", "", "when it rests, write a test for each tenant to this `file`, as JUnit's XML")
	fs.StringVar(&r.sarif, "sarif", "", "the same for what failed, as SARIF 2.1.0: see --migrations")
	fs.StringVar(&r.summary, "summary", "", "the same as Markdown, for a pull request")
	fs.StringVar(&r.migrations, "migrations", "", "the migration `directory` in the repository, to which --sarif refers (default: the working directory)")
	must(cmd.MarkFlagFilename("junit", "xml"))
	must(cmd.MarkFlagFilename("sarif", "sarif"))
	must(cmd.MarkFlagFilename("summary", "md"))
	must(cmd.MarkFlagDirname("migrations"))
	return r
}

// files are those that are wanted, and what each says.
func (r *reports) files() map[string]func(*render.Report, io.Writer) error {
	all := map[string]func(*render.Report, io.Writer) error{
		r.junit:   (*render.Report).JUnit,
		r.summary: (*render.Report).Summary,
		r.sarif: func(report *render.Report, w io.Writer) error {
			return report.SARIF(w, render.Place{Dir: fromHere(cmp.Or(r.migrations, ".")), Line: r.line, Version: Version()})
		},
	}
	delete(all, "")
	return all
}

// check refuses before anything is done what could not be written at the end.
func (r *reports) check(waits bool) error {
	if r.migrations != "" {
		if info, err := os.Stat(r.migrations); err != nil || !info.IsDir() {
			return usage("give the directory that `manor release push` was given", "--migrations %s is no directory", r.migrations)
		}
	}
	if given := slices.DeleteFunc([]string{r.junit, r.sarif, r.summary}, func(file string) bool { return file == "" }); len(given) > len(r.files()) {
		return usage("give each of --junit, --sarif and --summary a file of its own", "%s would be written twice", given[0])
	}
	for file := range r.files() {
		if !waits {
			return usage("leave --junit, --sarif and --summary out, or add --wait", "%s would say how the rollout went, and nobody waits for that", file)
		}
		temp, err := beside(file)
		if err != nil {
			return controlplane.Errorf(controlplane.Invalid, "%s cannot be written: %w", file, err).WithHint("nothing was started; name a file in a directory that is there")
		}
		discard(temp)
	}
	return nil
}

// write writes all of them, each whole or not at all.
func (r *reports) write(report *render.Report) error {
	var all []error
	for file, say := range r.files() {
		if err := writeWhole(file, func(w io.Writer) error { return say(report, w) }); err != nil {
			all = append(all, controlplane.Errorf(controlplane.Internal, "%s cannot be written: %w", file, err))
		}
	}
	return errors.Join(all...)
}

// line is where a failure's statement stands in its file, as far as the file is
// there and still holds it.
func (r *reports) line(f *controlplane.Failure) int {
	content, err := os.ReadFile(filepath.Join(r.migrations, filepath.FromSlash(path.Clean("/"+f.File))))
	if err != nil || f.SQL == "" {
		return 0
	}
	before, _, found := strings.Cut(string(content), f.SQL)
	if !found {
		return 0
	}
	return 1 + strings.Count(before, "\n") + strings.Count(upTo(f.SQL, f.Position), "\n")
}

// upTo is a text before its character n, counted from 1; nothing for 0.
func upTo(text string, n int) string {
	end := 0
	for ; n > 1 && end < len(text); n-- {
		_, size := utf8.DecodeRuneInString(text[end:])
		end += size
	}
	return text[:end]
}

// writeWhole puts a file in place once all of it is there.
func writeWhole(file string, say func(io.Writer) error) error {
	temp, err := beside(file)
	if err != nil {
		return err
	}
	defer discard(temp)
	w := bufio.NewWriter(temp)
	if err := say(w); err != nil {
		return err
	}
	if err := errors.Join(w.Flush(), temp.Chmod(0o644), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), file)
}

// beside makes a file from which another is going to be renamed.
func beside(file string) (*os.File, error) {
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "write", Path: file, Err: errors.New("it is no regular file")}
	}
	return os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*")
}

func discard(temp *os.File) {
	temp.Close()
	_ = os.Remove(temp.Name()) // it is gone once it was renamed
}

// fromHere is a directory as seen from the working directory, which in a
// pipeline is the repository, with slashes.
func fromHere(dir string) string {
	if filepath.IsAbs(dir) {
		if here, err := os.Getwd(); err == nil {
			if rel, err := filepath.Rel(here, dir); err == nil {
				dir = rel
			}
		}
	}
	return filepath.ToSlash(dir)
}

// reportsWithin bounds how long the reports of an interrupted command may take.
const reportsWithin = 10 * time.Second

// report writes the files that were asked for. An interrupted command says what
// is known then.
func (w *rolloutWatch) report(ctx context.Context) error {
	if len(w.reports.files()) == 0 {
		return nil
	}
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), reportsWithin)
		defer cancel()
		if _, err := w.look(ctx); err != nil {
			return err
		}
	}
	return w.reports.write(&render.Report{Rollout: w.now, Back: w.rollback, At: time.Now(), Targets: func(of ...controlplane.TargetStatus) iter.Seq2[controlplane.Target, error] {
		return w.targets(ctx, of)
	}})
}

// targets reads the targets page by page, those of each status in turn.
func (w *rolloutWatch) targets(ctx context.Context, of []controlplane.TargetStatus) iter.Seq2[controlplane.Target, error] {
	if len(of) == 0 {
		of = []controlplane.TargetStatus{""}
	}
	return func(yield func(controlplane.Target, error) bool) {
		for _, status := range of {
			q := controlplane.TargetQuery{Status: status, Limit: most}
			for more := true; more; more = q.Cursor != "" {
				page, err := w.s.Targets(ctx, w.now.ID, q)
				if err != nil {
					yield(controlplane.Target{}, err)
					return
				}
				for i := range page.Items {
					if !yield(page.Items[i], nil) {
						return
					}
				}
				q.Cursor = page.Next
			}
		}
	}
}
