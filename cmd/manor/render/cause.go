package render

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/manorhq/manor/controlplane"
)

// cause is what went wrong for one or several tenants in the same way.
type cause struct {
	example controlplane.Target // the first that was met
	tenants int
}

// causes groups failed targets. It holds one target for each cause, however
// many there are.
type causes struct {
	list  []cause
	index map[Cause]int
	moved bool // one of them is not at the version it came from
}

// Cause is what failed targets have in common that failed in the same way. It
// leaves the message out where PostgreSQL gave a code: it may name what only one
// tenant has.
type Cause struct {
	status    controlplane.TargetStatus
	file      string
	statement int
	code      string // SQLSTATE, else the message
}

// CauseOf is why a target failed. Two that are equal are of one cause.
func CauseOf(t *controlplane.Target) Cause {
	f := failureOf(t)
	return Cause{t.Status, f.File, f.Statement, cmp.Or(f.SQLState, f.Message)}
}

func (c *causes) add(t *controlplane.Target) {
	key := CauseOf(t)
	c.moved = c.moved || t.Version != t.From
	i, known := c.index[key]
	if !known {
		if c.index == nil {
			c.index = map[Cause]int{}
		}
		i = len(c.list)
		c.index[key], c.list = i, append(c.list, cause{example: *t})
	}
	c.list[i].tenants++
}

// sorted are the causes, that of most tenants first.
func (c *causes) sorted() []cause {
	list := slices.Clone(c.list)
	slices.SortStableFunc(list, func(a, b cause) int { return cmp.Compare(b.tenants, a.tenants) })
	return list
}

// causesOf groups the targets at hand.
func causesOf(targets []controlplane.Target) *causes {
	c := &causes{}
	for i := range targets {
		c.add(&targets[i])
	}
	return c
}

// who is "acme on east", or "3 tenants, such as acme on east".
func (c *cause) who() string {
	text := c.example.Tenant
	if c.example.Cluster != "" {
		text += " on " + c.example.Cluster
	}
	if c.tenants > 1 {
		text = fmt.Sprintf("%s, such as %s", plural(c.tenants, "tenant"), text)
	}
	return text
}

// failureOf is the target's failure; an empty one where nothing was written down.
func failureOf(t *controlplane.Target) *controlplane.Failure {
	if t.Failure == nil {
		return &controlplane.Failure{}
	}
	return t.Failure
}

// why is all that is known of a cause on one line.
func (c *cause) why() string { return cmp.Or(c.example.Failure.String(), "no reason was written down") }
