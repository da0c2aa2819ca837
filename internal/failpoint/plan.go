package failpoint

import (
	"fmt"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// act is what happens at a point.
type act string

const (
	kill   act = "kill"
	stop   act = "stop"
	panics act = "panic"
	sleep  act = "sleep"
)

// moment is the nth time that a point is reached, from 1.
type moment struct {
	point string
	nth   int
}

func (m moment) String() string { return m.point + "#" + strconv.Itoa(m.nth) }

// death is what happens at a moment; the zero one is nothing.
type death struct {
	act   act
	sleep time.Duration
}

// parse reads deaths: "point#2=kill,other#1=sleep:1s".
func parse(text string) (map[moment]death, error) {
	deaths := map[moment]death{}
	for one := range strings.SplitSeq(text, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		m, d, err := parseOne(one)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", one, err)
		}
		deaths[m] = d
	}
	return deaths, nil
}

func parseOne(text string) (m moment, d death, err error) {
	where, what, _ := strings.Cut(text, "=")
	point, nth, counted := strings.Cut(where, "#")
	m = moment{point, 1}
	if counted {
		if m.nth, err = strconv.Atoi(nth); err != nil || m.nth < 1 {
			return m, d, fmt.Errorf("%q is no count", nth)
		}
	}
	how, length, _ := strings.Cut(what, ":")
	switch d.act = act(how); d.act {
	case kill, stop, panics:
	case sleep:
		d.sleep, err = time.ParseDuration(length)
	default:
		err = fmt.Errorf("want point#count=kill, stop, panic or sleep:1s")
	}
	return m, d, err
}

// counter counts how often each point was reached.
type counter struct {
	deaths map[moment]death
	log    io.Writer // nil: none

	mu      sync.Mutex
	reached map[string]int
}

func newCounter(deaths map[moment]death) *counter {
	return &counter{deaths: deaths, reached: map[string]int{}}
}

// reach counts, writes the log, and says what is to happen.
func (c *counter) reach(point string) death {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reached[point]++
	m := moment{point, c.reached[point]}
	if c.log != nil {
		fmt.Fprintln(c.log, m)
	}
	return c.deaths[m]
}

// notNamed are the parts of a function's name that say how the compiler made
// it: its receiver, and the closures in it.
var notNamed = regexp.MustCompile(`\(\*?[\w.\[\]]+\)\.|(\.(func)?\d+|\[\.\.\.\]|-range\d+)+$`)

// short is the name of a function with its package, as people say it:
// "rollout.Sweep".
func short(function string) string {
	return notNamed.ReplaceAllString(path.Base(function), "")
}
