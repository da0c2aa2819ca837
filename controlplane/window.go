package controlplane

import (
	"strings"
	"time"
	_ "time/tzdata" // zones must not depend on the machine
)

// Window is when tenants may be migrated. A tenant that several match is in the
// first; one that none matches may be migrated at any time.
type Window struct {
	Match string `json:"match,omitempty"` // CEL over a tenant; default: any
	Hours string `json:"hours"`           // "01:00-05:00", over midnight too
	Zone  string `json:"zone,omitempty"`  // of the IANA database; default: UTC
}

// Open reports whether the window is open and, if it is not, when it opens next.
// Hours are those of the zone's own clocks: where these are put forward in the
// middle of a window it is shorter, and longer where they are put back. A window
// that is not valid never opens.
func (w Window) Open(now time.Time) (open bool, next time.Time) {
	from, to, err := w.clock()
	zone, zoneErr := w.location()
	if err != nil || zoneErr != nil {
		return false, time.Time{}
	}
	year, month, day := now.In(zone).Date()
	at := func(days, minute int) time.Time { return time.Date(year, month, day+days, 0, minute, 0, 0, zone) }
	for days := -1; days <= 1; days++ { // yesterday's may last until today
		opens, closes := at(days, from), at(days, to)
		if to <= from {
			closes = at(days+1, to)
		}
		if now.Before(opens) {
			return false, opens
		}
		if now.Before(closes) {
			return true, time.Time{}
		}
	}
	return false, at(2, from)
}

// clock is when the window opens and closes, in minutes of a day.
func (w Window) clock() (opens, closes int, err error) {
	from, to, _ := strings.Cut(w.Hours, "-")
	if opens, err = minuteOfDay(strings.TrimSpace(from)); err == nil {
		closes, err = minuteOfDay(strings.TrimSpace(to))
	}
	if err == nil && opens == closes {
		err = Errorf(Invalid, "they end when they begin")
	}
	return opens, closes, err
}

func minuteOfDay(text string) (int, error) {
	if text == "24:00" {
		return 24 * 60, nil
	}
	t, err := time.Parse("15:04", text)
	return t.Hour()*60 + t.Minute(), err
}

func (w Window) location() (*time.Location, error) { return time.LoadLocation(w.Zone) }

// String is "01:00-05:00 Europe/Berlin".
func (w Window) String() string {
	if w.Zone == "" {
		return w.Hours + " UTC"
	}
	return w.Hours + " " + w.Zone
}
