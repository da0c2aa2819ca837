package render

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/manorhq/manor/controlplane"
)

// Progress tells how far a piece of work is: on a terminal a bar that redraws
// itself, perhaps with more below it, elsewhere a plain line now and then.
type Progress struct {
	out   io.Writer
	live  bool
	style style
	label string
	now   func() time.Time
	every time.Duration // between plain lines
	width int           // of the terminal; 0: not known
	most  int           // lines that it may take there; 0: not known
	begun time.Time

	mu          sync.Mutex
	done, total int
	detail      string
	below       []string // lines below the bar
	drawn       int      // lines that are on the screen now
	said        time.Time
	saidText    string
	frame       int
	closed      bool
	stop        chan struct{}
	stopped     chan struct{}
}

const (
	plainEvery = 3 * time.Second
	// silence is how long a plain progress keeps from repeating itself: with the time
	// between two looks less than the ten seconds in which a reader hears something.
	silence    = 7 * time.Second
	frameEvery = 100 * time.Millisecond
	frames     = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
	clearLine  = "\r\x1b[K"
	clearRest  = "\x1b[K" // of the line
	clearBelow = "\x1b[J" // the cursor, and the rest of its line
)

// Progress starts one on the error stream. It must be closed.
func (p *Printer) Progress(label string) *Progress {
	g := &Progress{
		out: p.Err, live: p.Live, style: style{on: p.ErrColor}, label: label, now: p.Now, every: plainEvery, width: p.Width, most: max(0, p.Height-1), begun: p.Now(),
		said: p.Now(), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	if g.live {
		go g.run()
	} else {
		close(g.stopped)
	}
	return g
}

// run keeps the spinner and the clock going between updates.
func (g *Progress) run() {
	defer close(g.stopped)
	tick := time.NewTicker(frameEvery)
	defer tick.Stop()
	for {
		select {
		case <-g.stop:
			return
		case <-tick.C:
			g.mu.Lock()
			g.frame++
			g.draw()
			g.mu.Unlock()
		}
	}
}

// Update says how many of how many are done.
func (g *Progress) Update(done, total int, detail string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done, g.total, g.detail = done, total, detail
	if g.live {
		g.draw()
		return
	}
	if now := g.now(); now.Sub(g.said) >= g.every {
		g.say(now)
	}
}

// Below shows text below the bar, where there is one, in place of what was there.
func (g *Progress) Below(text string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.below = strings.Split(strings.TrimRight(text, "\n"), "\n")
	if g.live {
		g.draw()
	}
}

// Print writes text that stays, above the bar.
func (g *Progress) Print(text string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.live {
		g.wipe()
	}
	fmt.Fprintln(g.out, text)
	if g.live {
		g.draw()
	}
}

// Close ends it: the bar goes away, plain lines get their last one.
func (g *Progress) Close() {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return
	}
	g.closed = true
	close(g.stop)
	if g.live {
		g.wipe()
	} else if g.saidText != "" { // what is quick needs no lines at all
		g.say(g.now())
	}
	g.mu.Unlock()
	<-g.stopped
}

// say writes a plain line. One that repeats the last waits for a while, and
// tells the time.
func (g *Progress) say(now time.Time) {
	text := fmt.Sprintf("%s: %d of %d", g.label, g.done, g.total)
	if g.detail != "" {
		text += ", " + g.detail
	}
	switch {
	case text != g.saidText:
		fmt.Fprintln(g.out, text)
	case now.Sub(g.said) >= silence:
		fmt.Fprintf(g.out, "%s, after %s\n", text, took(now.Sub(g.begun)))
	default:
		return
	}
	g.said, g.saidText = now, text
}

const progressWidth = 30

// draw writes the bar, and what is below it, over the ones before: in one piece,
// and clearing nothing first that is written again. The caller holds mu.
func (g *Progress) draw() {
	if g.closed {
		return
	}
	lines := []string{g.head()}
	if g.width > 0 { // lines that wrap could not be written over
		lines = append(lines, g.below...)
	}
	if g.most > 0 && len(lines) > g.most { // what has left the screen could not be written over
		lines = lines[:g.most]
	}
	text := g.top()
	for i, line := range lines {
		if i > 0 {
			text += "\n"
		}
		text += fit(line, g.width) + clearRest
	}
	if g.drawn > len(lines) {
		text += clearBelow
	}
	g.drawn = len(lines)
	fmt.Fprint(g.out, text)
}

// fit cuts a line that would wrap on a terminal: it could not be cleared. A
// width of 0 is not known.
func fit(line string, width int) string {
	if width == 0 {
		return line
	}
	return lipgloss.NewStyle().MaxWidth(width - 1).Render(line)
}

// top leads to the beginning of what is drawn.
func (g *Progress) top() string {
	if g.drawn < 2 {
		return "\r"
	}
	return fmt.Sprintf("\r\x1b[%dA", g.drawn-1)
}

// wipe takes off the screen what is drawn. The caller holds mu.
func (g *Progress) wipe() {
	text := clearLine
	if g.drawn > 1 {
		text = g.top() + clearBelow
	}
	g.drawn = 0
	fmt.Fprint(g.out, text)
}

func (g *Progress) head() string {
	spinner := string([]rune(frames)[g.frame%len([]rune(frames))])
	text := g.style.paint(cyan, spinner) + " " + g.label
	if g.total > 0 {
		text += " " + g.style.bar(g.done, g.total, progressWidth) + fmt.Sprintf(" %d/%d", g.done, g.total)
	}
	text += " " + g.style.note(took(g.now().Sub(g.begun).Truncate(frameEvery)))
	if g.detail != "" {
		text += "  " + g.detail
	}
	return text
}

// bar is as full as done is of total.
func (s style) bar(done, total, width int) string {
	filled := width
	if total > 0 {
		filled = min(width, done*width/total)
	}
	return s.paint(green, strings.Repeat("━", filled)) + s.note(strings.Repeat("─", width-filled))
}

// Counts writes the targets of a rollout by status, for the detail of a progress.
func (p *Printer) Counts(c controlplane.Counts) string { return style{on: p.ErrColor}.counts(c) }
