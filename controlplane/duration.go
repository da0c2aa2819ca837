package controlplane

import (
	"fmt"
	"time"
)

// Duration is a length of time that people write down: "500ms", "15m", "1h30m".
type Duration time.Duration

// MarshalText writes it without the zeros that Go adds: "15m", not "15m0s".
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what time.ParseDuration does.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return Errorf(Invalid, "%q is no duration", text).WithHint("for example 500ms, 30s, 15m, 1h30m")
	}
	*d = Duration(parsed)
	return nil
}

// String is the shortest way to write it.
func (d Duration) String() string {
	t := time.Duration(d)
	if t == 0 || t%time.Second != 0 {
		return t.String()
	}
	text := ""
	for _, unit := range []struct {
		name string
		is   time.Duration
	}{{"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}} {
		if n := t / unit.is; n != 0 {
			text += fmt.Sprintf("%d%s", n, unit.name)
			t %= unit.is
		}
	}
	return text
}
