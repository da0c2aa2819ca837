package render_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/manorhq/manor/cmd/manor/render"
)

var escapes = regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is one that only moves when told.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func TestPlainProgressSpeaksAtMostEveryFewSecondsAndLastAtTheEnd(t *testing.T) {
	c, errs := &clock{now}, &bytes.Buffer{}
	bar := render.New(render.Config{Err: errs, Now: c.now}).Progress("Rolling out v2")
	for i := range 100 {
		bar.Update(i+1, 100, "")
		c.at = c.at.Add(100 * time.Millisecond)
	}
	bar.Print("acme failed")
	bar.Close()
	bar.Close()
	want := "Rolling out v2: 31 of 100\nRolling out v2: 61 of 100\nRolling out v2: 91 of 100\nacme failed\nRolling out v2: 100 of 100\n"
	if got := errs.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestQuickWorkNeedsNoProgressLines(t *testing.T) {
	c, errs := &clock{now}, &bytes.Buffer{}
	bar := render.New(render.Config{Err: errs, Now: c.now}).Progress("Creating acme")
	bar.Update(0, 1, "")
	bar.Update(1, 1, "")
	bar.Close()
	if errs.Len() > 0 {
		t.Errorf("it said %q", errs.String())
	}
}

func TestLiveProgressClearsItsLineAndFitsTheTerminal(t *testing.T) {
	c, errs := &clock{now}, &bytes.Buffer{}
	bar := render.New(render.Config{Err: errs, Live: true, ErrColor: true, Width: 60, Now: c.now}).Progress("Rolling out v2")
	bar.Update(110, 220, strings.Repeat("110 succeeded, ", 10))
	bar.Print("✗ acme failed")
	bar.Close()
	got := errs.String()
	if !strings.HasSuffix(got, "\r\x1b[K") {
		t.Errorf("the last bar stays: %q", got)
	}
	if !strings.Contains(got, "\r\x1b[K✗ acme failed\n") {
		t.Errorf("the printed line is not on a line of its own: %q", got)
	}
	for line := range strings.SplitSeq(escapes.ReplaceAllString(got, ""), "\r") {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n >= 60 {
			t.Errorf("a line of %d characters would wrap: %q", n, line)
		}
	}
	if !strings.Contains(escapes.ReplaceAllString(got, ""), "━━━━━━━━━━━━━━━───────────────") {
		t.Errorf("no bar that is half full: %q", got)
	}
}
