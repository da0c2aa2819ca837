package fleet

import (
	"slices"
	"strings"

	"github.com/manorhq/manor/controlplane"
)

// Wish is what a tenant asks of the cluster it is placed on.
type Wish struct {
	Cluster string // by name; empty: any
	Region  string // empty: any
}

// Choose picks the cluster for a home: the wished one, or the emptiest active
// one of the region that answers and has room. It is a pure function; down
// holds the names of the clusters that do not answer.
func Choose(clusters []controlplane.Cluster, down map[string]error, w Wish) (*controlplane.Cluster, error) {
	if w.Cluster != "" {
		return chosen(clusters, down, w)
	}
	var best *controlplane.Cluster
	inRegion, full := 0, 0
	for i := range clusters {
		c := &clusters[i]
		if w.Region != "" && c.Region != w.Region {
			continue
		}
		inRegion++
		if isFull(c) {
			full++
		}
		if c.State != controlplane.ClusterActive || down[c.Name] != nil || isFull(c) {
			continue
		}
		if best == nil || c.Tenants < best.Tenants {
			best = c
		}
	}
	switch {
	case best != nil:
		return best, nil
	case len(clusters) == 0:
		return nil, controlplane.Errorf(controlplane.Refused, "there is no cluster yet").WithHint("`manor cluster add` makes one known")
	case inRegion == 0:
		return nil, unserved(clusters, w.Region)
	case full == inRegion:
		return nil, controlplane.Errorf(controlplane.Refused, "every cluster is full").
			WithHint("raise a capacity with `manor cluster set NAME --capacity N`, or add a cluster")
	default:
		return nil, controlplane.Errorf(controlplane.Unavailable, "no cluster that has room is active and answers").
			WithHint("`manor cluster list` shows their states")
	}
}

func chosen(clusters []controlplane.Cluster, down map[string]error, w Wish) (*controlplane.Cluster, error) {
	i := slices.IndexFunc(clusters, func(c controlplane.Cluster) bool { return c.Name == w.Cluster })
	if i < 0 {
		return nil, controlplane.Errorf(controlplane.NotFound, "there is no cluster %s", w.Cluster).WithHint("`manor cluster list` lists them")
	}
	c := &clusters[i]
	switch {
	case w.Region != "" && c.Region != w.Region:
		return nil, controlplane.Errorf(controlplane.Refused, "cluster %s is in region %q, not %s", c.Name, c.Region, w.Region)
	case c.State != controlplane.ClusterActive:
		return nil, controlplane.Errorf(controlplane.Refused, "cluster %s is %s and takes no new tenants", c.Name, c.State).
			WithHint("`manor cluster set %s --state active` opens it", c.Name)
	case isFull(c):
		return nil, controlplane.Errorf(controlplane.Refused, "cluster %s is full: %d of %d tenants", c.Name, c.Tenants, c.Capacity).
			WithHint("raise it with `manor cluster set %s --capacity N`", c.Name)
	case down[c.Name] != nil:
		return nil, down[c.Name]
	}
	return c, nil
}

func unserved(clusters []controlplane.Cluster, region string) error {
	err := controlplane.Errorf(controlplane.Refused, "no cluster serves region %s", region)
	if served := regions(clusters); len(served) > 0 {
		return err.WithHint("regions served: %s", strings.Join(served, ", "))
	}
	return err.WithHint("no cluster has a region yet: `manor cluster set NAME --region %s` gives it one", region)
}

func isFull(c *controlplane.Cluster) bool { return c.Capacity > 0 && c.Tenants >= c.Capacity }

func regions(clusters []controlplane.Cluster) []string {
	var names []string
	for _, c := range clusters {
		if c.Region != "" && !slices.Contains(names, c.Region) {
			names = append(names, c.Region)
		}
	}
	slices.Sort(names)
	return names
}
