package render

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/manorhq/manor/controlplane"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Clusters lists clusters.
func (p *Printer) Clusters(clusters []controlplane.Cluster) error {
	return p.print(list(clusters), func() string {
		if len(clusters) == 0 {
			return "No clusters yet. `manor cluster add --help` shows how to add one.\n"
		}
		g := p.grid("NAME", "STATE", "ADDRESS", "REGION", ">TENANTS", ">CAPACITY", "POSTGRESQL", "LABELS", "AGE")
		for _, c := range clusters {
			g.row(c.Name, p.style.state(string(c.State)), c.Address, c.Region, c.Tenants, capacity(c.Capacity),
				serverVersion(c.Version), labels(c.Labels), p.age(c.CreatedAt))
		}
		return g.String()
	})
}

// Cluster shows one cluster.
func (p *Printer) Cluster(c *controlplane.Cluster) error {
	return p.print(c, func() string { return p.clusterFields(c).String() })
}

func (p *Printer) clusterFields(c *controlplane.Cluster) *fields {
	f := p.fields()
	f.add("Name", c.Name)
	f.add("State", p.style.state(string(c.State)))
	f.add("Address", c.Address)
	if c.AppAddress != nil {
		f.add("App address", c.AppAddress)
	}
	f.add("Login", c.Login)
	f.add("TLS", c.TLS.Mode)
	f.add("Root certificate", c.TLS.RootCert)
	f.add("Certificate", c.TLS.Cert)
	f.add("Region", c.Region)
	f.add("Labels", labels(c.Labels))
	f.add("Tenants", itoa(c.Tenants)+ofCapacity(c.Capacity))
	f.add("Density", itoa(c.Density)+" schemas per database")
	f.add("Connections", connections(c))
	f.add("Extensions", strings.Join(c.Extensions, ", "))
	f.add("PostgreSQL", serverVersion(c.Version))
	f.add("System identifier", c.SystemID)
	f.add("Hardening skipped", strings.Join(c.Skipped, "\n"))
	f.add("Added", p.age(c.CreatedAt)+" ago")
	return f
}

// ClusterDone says what was done to a cluster.
func (p *Printer) ClusterDone(c *controlplane.Cluster, did string) error {
	return p.print(c, func() string {
		text := "Cluster " + p.style.bold(c.Name) + " " + did + ": PostgreSQL " + serverVersion(c.Version) + " at " + c.Address.String()
		if c.Capacity > 0 {
			text += ", room for " + plural(max(0, c.Capacity-c.Tenants), "tenant")
		}
		text += "\n"
		for _, s := range c.Skipped {
			text += "  not hardened: " + s + "\n"
		}
		return text
	})
}

func ofCapacity(n int) string {
	if n == 0 {
		return ", no limit"
	}
	return " of " + itoa(n)
}

// connections says how many of the server's Manor may have. A cluster from
// before there was such a number has none.
func connections(c *controlplane.Cluster) string {
	switch {
	case c.Connections == 0:
		return "no limit; `manor cluster set " + c.Name + " --connections N` sets one"
	case c.MaxConnections == 0:
		return itoa(c.Connections)
	}
	return itoa(c.Connections) + " of " + itoa(c.MaxConnections) + "; " + itoa(max(0, c.MaxConnections-c.Connections)) + " are kept for applications"
}

func capacity(n int) string {
	if n == 0 {
		return "no limit"
	}
	return itoa(n)
}

func serverVersion(num int) string {
	if num == 0 {
		return ""
	}
	return controlplane.VersionString(num)
}

// labels writes "ring=canary,tier=pro", sorted.
func labels(l controlplane.Labels) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(l)) {
		parts = append(parts, k+"="+l[k])
	}
	return strings.Join(parts, ",")
}
