package controlplane

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Strategy is how a rollout goes about its tenants: in which order, how many at
// a time, what it waits for and when it stops. It is written down in a file, or
// kept by name; every part may be left out.
type Strategy struct {
	Name      string    `json:"name,omitempty"` // under which it is kept
	Waves     []Wave    `json:"waves,omitempty"`
	Limits    Limits    `json:"limits,omitzero"`
	BatchSize int       `json:"batch_size,omitempty"`
	Budget    *Budget   `json:"budget,omitempty"`
	OnBreach  OnError   `json:"on_breach,omitempty"` // of the budget; default: pause
	Gates     []Gate    `json:"gates,omitempty"`     // after each wave, before the next, in order
	Timeouts  Timeouts  `json:"timeouts,omitzero"`
	Retry     Retry     `json:"retry,omitzero"`
	Windows   []Window  `json:"windows,omitempty"`
	Check     Check     `json:"check,omitempty"`    // of a tenant that has arrived; default: schema
	Snapshot  *Snapshot `json:"snapshot,omitempty"` // of each tenant's own database, before it is changed; default: none
}

// Check says what is looked at before a tenant counts as arrived.
type Check string

// What is looked at before a tenant counts as arrived.
const (
	CheckSchema Check = "schema" // that its schema is what the release makes of an empty one
	CheckNone   Check = "none"   // nothing beyond its revisions
)

// Checks are all of them.
var Checks = []Check{CheckSchema, CheckNone}

// Wave is an ordered part of a rollout. A tenant is in the first that takes it.
type Wave struct {
	Name    string   `json:"name"`
	Match   string   `json:"match,omitempty"`    // CEL over a tenant; default: any that no wave before took
	Percent float64  `json:"percent,omitempty"`  // of the whole selection, at most
	OrderBy []string `json:"order_by,omitempty"` // CEL that gives texts, ascending; default: by slug
	Soak    Duration `json:"soak,omitempty"`     // how long to wait after its last tenant
}

// Limits are how many tenants are worked on at a time.
type Limits struct {
	Total       int `json:"total,omitempty"`        // by all workers and rollouts together
	PerCluster  int `json:"per_cluster,omitempty"`  // default: as the cluster's flow allows
	PerDatabase int `json:"per_database,omitempty"` // in one shared database
}

// Budget is how many tenants may fail before a rollout starts nothing more: at
// whichever bound is reached first.
type Budget struct {
	Failures int     `json:"failures,omitempty"`
	Ratio    float64 `json:"ratio,omitempty"` // of all targets of the rollout
}

// Gate is what must be so before the next wave begins. One of SQL, HTTP and
// Approval is given.
type Gate struct {
	SQL      string   `json:"sql,omitempty"`      // one row with one boolean
	On       GateOn   `json:"on,omitempty"`       // where SQL is asked; default: cluster
	HTTP     string   `json:"http,omitempty"`     // URL that is asked with GET
	Expect   int      `json:"expect,omitempty"`   // status code; default: 200
	For      Duration `json:"for,omitempty"`      // how long it must be so without a break
	Approval bool     `json:"approval,omitempty"` // by a person: `rollout approve`
}

// GateOn says where a gate's SQL is asked.
type GateOn string

// Where a gate's SQL is asked.
const (
	GateOnCluster GateOn = "cluster" // once on each cluster of the wave, as the control login
	GateOnTenant  GateOn = "tenant"  // in the home of each tenant that the wave changed, as its owner
)

// GateOns are all of them.
var GateOns = []GateOn{GateOnCluster, GateOnTenant}

// Timeouts bound what a rollout may do to a tenant's users.
type Timeouts struct {
	Lock      Duration `json:"lock,omitempty"`      // default: 500ms
	Statement Duration `json:"statement,omitempty"` // default: 30s
	Tenant    Duration `json:"tenant,omitempty"`    // for all of one attempt; default: none
}

// Retry is how a tenant comes back that had to wait.
type Retry struct {
	Attempts int      `json:"attempts,omitempty"` // default: 12
	Backoff  Duration `json:"backoff,omitempty"`  // before the second attempt, then doubling; default: 500ms
	Max      Duration `json:"max,omitempty"`      // longest pause; default: 30s
}

// Defaults of a strategy.
const (
	DefaultLockTimeout      = Duration(500 * time.Millisecond)
	DefaultStatementTimeout = Duration(30 * time.Second)
	DefaultAttempts         = 12
	DefaultBackoff          = Duration(500 * time.Millisecond)
	DefaultMaxBackoff       = Duration(30 * time.Second)
)

const (
	maxWaves  = 100
	maxSoak   = Duration(30 * 24 * time.Hour)
	maxWait   = Duration(24 * time.Hour)
	maxTries  = 1000
	restName  = "rest"
	wholeName = "all"
)

// Filled is the strategy with its defaults in place: one wave of all tenants
// where it names none.
func (s Strategy) Filled() Strategy {
	if len(s.Waves) == 0 {
		s.Waves = []Wave{{Name: wholeName}}
	}
	if s.Budget != nil && s.OnBreach == "" {
		s.OnBreach = OnErrorPause
	}
	s.Timeouts.Lock = cmp.Or(s.Timeouts.Lock, DefaultLockTimeout)
	s.Timeouts.Statement = cmp.Or(s.Timeouts.Statement, DefaultStatementTimeout)
	s.Retry.Attempts = cmp.Or(s.Retry.Attempts, DefaultAttempts)
	s.Retry.Backoff = cmp.Or(s.Retry.Backoff, DefaultBackoff)
	s.Retry.Max = cmp.Or(s.Retry.Max, DefaultMaxBackoff)
	s.Check = cmp.Or(s.Check, CheckSchema)
	s.Snapshot = s.Snapshot.filled()
	s.Gates = slices.Clone(s.Gates)
	for i := range s.Gates {
		g := &s.Gates[i]
		if g.SQL != "" {
			g.On = cmp.Or(g.On, GateOnCluster)
		}
		if g.HTTP != "" {
			g.Expect = cmp.Or(g.Expect, http.StatusOK)
		}
	}
	return s
}

// Validate names the first field that cannot be meant. Expressions are left to
// who compiles them.
func (s *Strategy) Validate() error {
	if s.Name != "" {
		if err := ValidateName("strategy", s.Name); err != nil {
			return err
		}
	}
	if s.Check != "" && !slices.Contains(Checks, s.Check) {
		return strategyError("check", "%q is none of %s", s.Check, joined(Checks))
	}
	checks := []func() error{s.validateLimits, s.validateWaves, s.validateBudget, s.validateGates, s.validateTimes, s.validateWindows, s.Snapshot.validate}
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Strategy) validateLimits() error {
	for field, n := range map[string]int{"limits.total": s.Limits.Total, "limits.per_cluster": s.Limits.PerCluster, "limits.per_database": s.Limits.PerDatabase, "batch_size": s.BatchSize} {
		if n < 0 || n > maxConcurrency {
			return strategyError(field, "%d is not between 1 and %d", n, maxConcurrency)
		}
	}
	return nil
}

func (s *Strategy) validateWaves() error {
	if len(s.Waves) > maxWaves {
		return strategyError("waves", "there are %d, more than %d", len(s.Waves), maxWaves)
	}
	names := map[string]bool{}
	for i, w := range s.Waves {
		field := fmt.Sprintf("waves[%d]", i)
		switch {
		case w.Name == "":
			return strategyError(field+".name", "it is missing")
		case names[w.Name]:
			return strategyError(field+".name", "there are two waves %q", w.Name)
		case w.Percent < 0 || w.Percent > 100:
			return strategyError(field+".percent", "%g is not between 0 and 100", w.Percent)
		case w.Soak < 0 || w.Soak > maxSoak:
			return strategyError(field+".soak", "%s is not between 0 and %s", w.Soak, maxSoak)
		}
		if err := ValidateName("wave", w.Name); err != nil {
			return strategyError(field+".name", "%s", err)
		}
		names[w.Name] = true
	}
	if n := len(s.Waves); n > 0 && (s.Waves[n-1].Match != "" || s.Waves[n-1].Percent > 0) {
		return strategyError(fmt.Sprintf("waves[%d]", n-1), "the last wave must take the rest").
			WithHint("add one without match and percent, such as {name: %s}", restName)
	}
	return nil
}

func (s *Strategy) validateBudget() error {
	b := s.Budget
	switch {
	case s.OnBreach != "" && !slices.Contains(OnErrors, s.OnBreach):
		return strategyError("on_breach", "%q is none of %s", s.OnBreach, joined(OnErrors))
	case b == nil && s.OnBreach != "" && s.OnBreach != OnErrorContinue, b != nil && b.Failures == 0 && b.Ratio == 0:
		return strategyError("budget", "it says neither failures nor ratio").WithHint("for example {failures: 5, ratio: 0.01}")
	case b == nil:
		return nil
	case s.OnBreach == OnErrorContinue:
		return strategyError("on_breach", "a budget that is breached cannot continue").WithHint("leave the budget out")
	case b.Failures < 0:
		return strategyError("budget.failures", "%d is below 1", b.Failures)
	case b.Ratio < 0 || b.Ratio > 1:
		return strategyError("budget.ratio", "%g is not between 0 and 1", b.Ratio)
	}
	return nil
}

func (s *Strategy) validateGates() error {
	for i, g := range s.Gates {
		field := fmt.Sprintf("gates[%d]", i)
		kinds := 0
		for _, given := range []bool{g.SQL != "", g.HTTP != "", g.Approval} {
			if given {
				kinds++
			}
		}
		switch {
		case kinds != 1:
			return strategyError(field, "a gate is one of sql, http and approval").WithHint("write several gates as several items")
		case g.On != "" && !slices.Contains(GateOns, g.On):
			return strategyError(field+".on", "%q is none of %s", g.On, joined(GateOns))
		case g.On != "" && g.SQL == "", g.Expect != 0 && g.HTTP == "":
			return strategyError(field, "on belongs to sql, and expect to http")
		case g.For < 0 || g.For > maxWait:
			return strategyError(field+".for", "%s is not between 0 and %s", g.For, maxWait)
		case g.Approval && g.For != 0:
			return strategyError(field+".for", "an approval has no length")
		case g.Expect != 0 && (g.Expect < 100 || g.Expect > 599):
			return strategyError(field+".expect", "%d is no HTTP status", g.Expect)
		}
		if u, err := url.Parse(g.HTTP); g.HTTP != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
			return strategyError(field+".http", "it is no URL").WithHint("for example http://127.0.0.1:9000/ready")
		} else if g.HTTP != "" && u.User != nil {
			return strategyError(field+".http", "a password in it would be shown to everybody").WithHint("leave user and password out")
		}
	}
	return nil
}

func (s *Strategy) validateTimes() error {
	for _, d := range []struct {
		field string
		value Duration
	}{
		{"timeouts.lock", s.Timeouts.Lock}, {"timeouts.statement", s.Timeouts.Statement}, {"timeouts.tenant", s.Timeouts.Tenant},
		{"retry.backoff", s.Retry.Backoff}, {"retry.max", s.Retry.Max},
	} {
		if d.value < 0 || d.value > maxWait || d.value != 0 && d.value < Duration(time.Millisecond) {
			return strategyError(d.field, "%s is not between 1ms and %s", d.value, maxWait)
		}
	}
	if s.Retry.Attempts < 0 || s.Retry.Attempts > maxTries {
		return strategyError("retry.attempts", "%d is not between 1 and %d", s.Retry.Attempts, maxTries)
	}
	return nil
}

func (s *Strategy) validateWindows() error {
	for i, w := range s.Windows {
		field := fmt.Sprintf("windows[%d]", i)
		if _, _, err := w.clock(); err != nil {
			return strategyError(field+".hours", "%q are no hours", w.Hours).WithHint("for example 01:00-05:00")
		}
		if _, err := w.location(); err != nil || w.Zone == "Local" {
			return strategyError(field+".zone", "%q is no time zone", w.Zone).WithHint("for example Europe/Berlin")
		}
	}
	return nil
}

// Spent reports whether failures among targets use a budget up.
func (b *Budget) Spent(failures, targets int) bool {
	if b == nil || failures == 0 {
		return false
	}
	return b.Failures > 0 && failures >= b.Failures || b.Ratio > 0 && float64(failures) >= b.Ratio*float64(targets)-1e-9
}

// String is "5 failures or 1 %".
func (b *Budget) String() string {
	if b == nil {
		return ""
	}
	var bounds []string
	if b.Failures == 1 {
		bounds = append(bounds, "1 failure")
	} else if b.Failures > 0 {
		bounds = append(bounds, fmt.Sprintf("%d failures", b.Failures))
	}
	if b.Ratio > 0 {
		bounds = append(bounds, fmt.Sprintf("%.6g %% of the tenants", b.Ratio*100))
	}
	return strings.Join(bounds, " or ")
}

// String is what the gate asks, in a few words.
func (g Gate) String() string {
	text := "approval"
	switch {
	case g.SQL != "":
		text = "sql on each " + string(g.On) + ": " + g.SQL
	case g.HTTP != "":
		text = fmt.Sprintf("http %s is %d", shown(g.HTTP), g.Expect)
	}
	if g.For > 0 {
		text += " for " + g.For.String()
	}
	return text
}

// shown is a URL without what may be a secret in it.
func shown(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "?"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

func strategyError(field, format string, args ...any) *Error {
	return Errorf(Invalid, "the strategy is not valid: "+field+": "+format, args...)
}

func joined[T ~string](values []T) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = string(v)
	}
	return strings.Join(texts, ", ")
}
