package controlplane

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestDurationsAreWrittenAsPeopleDo(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"500ms": 500 * time.Millisecond, "15m": 15 * time.Minute, "1h30m": 90 * time.Minute, "1h0m5s": time.Hour + 5*time.Second, "0s": 0, "1.5s": 1500 * time.Millisecond} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want {
			t.Errorf("%s is read as %s: %v", text, d, err)
		}
		var again Duration
		if err := again.UnmarshalText([]byte(d.String())); err != nil || again != d {
			t.Errorf("%s is written as %s", text, d)
		}
	}
	if got := Duration(90 * time.Minute).String(); got != "1h30m" {
		t.Errorf("90 minutes are written %s", got)
	}
	if err := new(Duration).UnmarshalText([]byte("soon")); !strings.Contains(err.Error(), `"soon" is no duration`) {
		t.Errorf("an error that says %v", err)
	}
}

func TestStrategyNamesTheFirstFieldThatCannotBeMeant(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"waves": [{"name": ""}]}`:                               "waves[0].name: it is missing",
		`{"waves": [{"name": "a", "percent": 5}, {"name": "a"}]}`: `waves[1].name: there are two waves "a"`,
		`{"waves": [{"name": "a", "percent": 101}]}`:              "waves[0].percent: 101 is not between 0 and 100",
		`{"waves": [{"name": "a", "match": "true"}]}`:             "waves[0]: the last wave must take the rest",
		`{"waves": [{"name": "a", "soak": "-1s"}]}`:               "waves[0].soak",
		`{"budget": {}}`:         "budget: it says neither failures nor ratio",
		`{"on_breach": "pause"}`: "budget: it says neither",
		`{"budget": {"failures": 1}, "on_breach": "explode"}`:            `on_breach: "explode" is none of continue, pause, rollback, rollback_wave`,
		`{"budget": {"failures": 1}, "on_breach": "continue"}`:           "on_breach: a budget that is breached cannot continue",
		`{"budget": {"ratio": 1.5}}`:                                     "budget.ratio",
		`{"budget": {"failures": -1}}`:                                   "budget.failures",
		`{"gates": [{}]}`:                                                "gates[0]: a gate is one of sql, http and approval",
		`{"gates": [{"sql": "select true", "approval": true}]}`:          "gates[0]: a gate is one of",
		`{"gates": [{"sql": "select true", "on": "moon"}]}`:              `gates[0].on: "moon" is none of cluster, tenant`,
		`{"gates": [{"approval": true, "for": "5m"}]}`:                   "gates[0].for: an approval has no length",
		`{"gates": [{"approval": true}, {"http": "localhost:9000/ok"}]}`: "gates[1].http: it is no URL",
		`{"gates": [{"http": "http://here", "expect": 7}]}`:              "gates[0].expect",
		`{"gates": [{"approval": true, "expect": 200}]}`:                 "gates[0]: on belongs to sql, and expect to http",
		`{"timeouts": {"lock": "25h"}}`:                                  "timeouts.lock",
		`{"retry": {"attempts": 1001}}`:                                  "retry.attempts",
		`{"windows": [{"hours": "1-5"}]}`:                                `windows[0].hours: "1-5" are no hours`,
		`{"windows": [{"hours": "01:00-01:00"}]}`:                        "windows[0].hours",
		`{"windows": [{"hours": "01:00-05:00", "zone": "Europe/Bern"}]}`: `windows[0].zone: "Europe/Bern" is no time zone`,
		`{"gates": [{"http": "http://ada:secret@here/"}]}`:               "gates[0].http: a password in it would be shown",
		`{"limits": {"total": -5}}`:                                      "limits.total: -5 is not between 1 and 1000",
		`{"windows": [{"hours": "01:00-05:00", "zone": "Local"}]}`:       `"Local" is no time zone`,
		`{"name": "Not a name"}`:                                         `strategy name "Not a name" is not valid`,
	} {
		var s Strategy
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", text, err, want)
		}
	}
	full := `{"waves": [{"name": "canary", "match": "true", "soak": "15m"}, {"name": "rest", "order_by": ["tenant.slug"]}], "limits": {"total": 64},
		"budget": {"failures": 5, "ratio": 0.01}, "gates": [{"sql": "select true"}, {"http": "http://here/ready", "for": "5m"}, {"approval": true}],
		"timeouts": {"lock": "500ms"}, "retry": {"attempts": 5, "backoff": "1s", "max": "1m"}, "windows": [{"hours": "22:00-05:00", "zone": "Europe/Berlin"}]}`
	var s Strategy
	if err := json.Unmarshal([]byte(full), &s); err != nil || s.Validate() != nil {
		t.Fatalf("%v, %v", err, s.Validate())
	}
	filled := s.Filled()
	if filled.Gates[0].On != GateOnCluster || filled.Gates[1].Expect != 200 || filled.OnBreach != OnErrorPause || filled.Timeouts.Statement != DefaultStatementTimeout {
		t.Errorf("filled: %+v", filled)
	}
	if s.Gates[0].On != "" {
		t.Error("filling in changed the strategy itself")
	}
}

func TestBudgetIsSpentAtWhicheverBoundIsReachedFirst(t *testing.T) {
	t.Parallel()
	b := &Budget{Failures: 5, Ratio: 0.01}
	for _, c := range []struct {
		failures, targets int
		want              bool
	}{{0, 100, false}, {1, 100, true}, {1, 101, false}, {4, 10000, false}, {5, 10000, true}} {
		if got := b.Spent(c.failures, c.targets); got != c.want {
			t.Errorf("%d of %d: %v", c.failures, c.targets, got)
		}
	}
	if (*Budget)(nil).Spent(100, 100) {
		t.Error("no budget is spent")
	}
}

func TestWindowFollowsTheClocksOfItsZone(t *testing.T) {
	t.Parallel()
	night := Window{Hours: "01:00-05:00", Zone: "Europe/Berlin"}
	late := Window{Hours: "22:00-02:30", Zone: "America/New_York"}
	at := func(text string) time.Time {
		t.Helper()
		when, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	for _, c := range []struct {
		window Window
		now    string
		open   bool
		next   string
	}{
		{night, "2026-11-20T01:00:00+01:00", true, ""},
		{night, "2026-11-20T04:59:59+01:00", true, ""},
		{night, "2026-11-20T05:00:00+01:00", false, "2026-11-21T01:00:00+01:00"},
		{night, "2026-11-20T00:59:00+01:00", false, "2026-11-20T01:00:00+01:00"},
		// The clocks go forward at 02:00: the window is three hours long.
		{night, "2026-03-29T00:00:00Z", true, ""}, // 01:00
		{night, "2026-03-29T02:59:59Z", true, ""}, // 04:59:59
		{night, "2026-03-29T03:00:00Z", false, "2026-03-30T01:00:00+02:00"},
		// They go back at 03:00: it is five hours long.
		{night, "2026-10-24T22:59:59Z", false, "2026-10-25T01:00:00+02:00"},
		{night, "2026-10-24T23:00:00Z", true, ""},
		{night, "2026-10-25T03:59:59Z", true, ""},
		{night, "2026-10-25T04:00:00Z", false, "2026-10-26T01:00:00+01:00"},
		{late, "2026-11-20T23:00:00-05:00", true, ""},
		{late, "2026-11-21T02:29:00-05:00", true, ""},
		{late, "2026-11-21T02:30:00-05:00", false, "2026-11-21T22:00:00-05:00"},
		{Window{Hours: "00:00-24:00"}, "2026-11-21T02:30:00Z", true, ""},
		{Window{Hours: "nonsense"}, "2026-11-21T02:30:00Z", false, "0001-01-01T00:00:00Z"},
	} {
		open, next := c.window.Open(at(c.now))
		if open != c.open || !open && !next.Equal(at(c.next)) {
			t.Errorf("%s at %s: open %v, next %s; want %v, %s", c.window, c.now, open, next, c.open, c.next)
		}
	}
}
