package controlplane

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ClusterState says what new work a cluster gets.
type ClusterState string

// The cluster states.
const (
	ClusterActive   ClusterState = "active"   // takes tenants, is worked on
	ClusterDraining ClusterState = "draining" // keeps its tenants, takes no new ones
	ClusterOffline  ClusterState = "offline"  // nothing is started on it
)

// ClusterStates are all of them.
var ClusterStates = []ClusterState{ClusterActive, ClusterDraining, ClusterOffline}

// Cluster is one running PostgreSQL server (PostgreSQL's own word: a database
// cluster) on which Manor makes homes.
type Cluster struct {
	ID         string       `json:"id"`
	Name       string       `json:"name"`
	Address    Address      `json:"address"`     // Manor's own way in
	AppAddress *Address     `json:"app_address"` // what applications use, perhaps a pooler; null: the same
	Login      string       `json:"login"`       // the control login
	TLS        TLS          `json:"tls"`
	Region     string       `json:"region,omitempty"`
	Labels     Labels       `json:"labels"`
	Capacity   int          `json:"capacity"`   // tenants at most; 0: no limit
	Density    int          `json:"density"`    // schema tenants per shared database at most
	Extensions []string     `json:"extensions"` // allow-listed; installed into schema "extensions"
	State      ClusterState `json:"state"`
	Version    int          `json:"server_version"`    // server_version_num, such as 150018
	SystemID   string       `json:"system_identifier"` // of pg_control_system()
	Skipped    []string     `json:"hardening_skipped"` // steps that need a superuser and were not done
	// Connections are those that Manor opens at most, over all its processes.
	// The rest of MaxConnections is kept for applications, always.
	Connections    int       `json:"connections"`
	MaxConnections int       `json:"max_connections"` // of the server, without those it keeps for superusers
	Flow           Flow      `json:"flow"`
	Tenants        int       `json:"tenants"` // homes on it, in any state but deleted
	CreatedAt      time.Time `json:"created_at"`
}

// Address is where a PostgreSQL server listens: one or several hosts, tried in order.
type Address struct {
	Hosts []string `json:"hosts"` // "host:port", "[::1]:5432"
}

// ParseAddress reads a comma-separated list of hosts with optional ports
// (5432 when absent), IPv6 in brackets.
func ParseAddress(s string) (Address, error) {
	var a Address
	for part := range strings.SplitSeq(s, ",") {
		host, port, err := splitHostPort(strings.TrimSpace(part))
		if err != nil {
			return Address{}, err
		}
		a.Hosts = append(a.Hosts, net.JoinHostPort(host, port))
	}
	return a, nil
}

func splitHostPort(s string) (host, port string, err error) {
	bare := s
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") { // both brackets or none
		bare = s[1 : len(s)-1]
	}
	if net.ParseIP(bare) != nil { // an address without a port
		return bare, "5432", nil
	}
	if host, port, err = net.SplitHostPort(s); err != nil {
		host, port = s, "5432"
	}
	n, convErr := strconv.ParseUint(port, 10, 16)
	if convErr != nil || n == 0 || host == "" || strings.ContainsAny(host, "/ @?=:[]") && net.ParseIP(host) == nil {
		return "", "", Errorf(Invalid, "address %q is not host:port", s).
			WithHint(`give host, host:port or [v6]:port, several separated by commas`)
	}
	return host, port, nil
}

// Split returns the hosts and ports apart, in the same order.
func (a Address) Split() (hosts []string, ports []uint16, err error) {
	for _, hp := range a.Hosts {
		host, port, err := splitHostPort(hp)
		if err != nil {
			return nil, nil, err
		}
		n, _ := strconv.ParseUint(port, 10, 16)
		hosts, ports = append(hosts, host), append(ports, uint16(n))
	}
	if len(hosts) == 0 {
		return nil, nil, Errorf(Invalid, "the address names no host")
	}
	return hosts, ports, nil
}

// String joins the hosts with commas.
func (a Address) String() string { return strings.Join(a.Hosts, ",") }

// TLS is how connections to a cluster are secured. Verification is the default.
type TLS struct {
	Mode     string `json:"mode"`                // verify-full (default), verify-ca, require, disable
	RootCert string `json:"root_cert,omitempty"` // file names on the machine that Manor runs on
	Cert     string `json:"cert,omitempty"`
	Key      string `json:"key,omitempty"`
}

// TLSModes are the modes of libpq that make a promise; prefer and allow make none.
var TLSModes = []string{"verify-full", "verify-ca", "require", "disable"}

// NewCluster is what `cluster add` takes.
type NewCluster struct {
	Name       string   `json:"name"`
	Address    Address  `json:"address"`
	AppAddress *Address `json:"app_address,omitempty"`
	Login      string   `json:"login"`
	Password   string   `json:"password"`     // in the clear on this one request
	TLS        TLS      `json:"tls,omitzero"` // zero: verify-full
	Region     string   `json:"region,omitempty"`
	Labels     Labels   `json:"labels,omitempty"`
	Capacity   int      `json:"capacity,omitempty"`
	Density    int      `json:"density,omitempty"` // 0: 1000
	// Connections that Manor opens at most; 0: a quarter of those that the server has.
	Connections int      `json:"connections,omitempty"`
	Extensions  []string `json:"extensions,omitempty"`
	DryRun      bool     `json:"dry_run,omitempty"`
}

// DefaultDensity is how many schema tenants one shared database takes.
const DefaultDensity = 1000

// Validate fills in the defaults and names the first field that cannot be meant.
func (n *NewCluster) Validate() error {
	n.TLS.Mode = cmp.Or(n.TLS.Mode, "verify-full")
	n.Density = cmp.Or(n.Density, DefaultDensity)
	if err := ValidateName("cluster", n.Name); err != nil {
		return err
	}
	if _, _, err := n.Address.Split(); err != nil {
		return err
	}
	if n.AppAddress != nil {
		if _, _, err := n.AppAddress.Split(); err != nil {
			return err
		}
	}
	if n.Region != "" {
		if err := ValidateName("region", n.Region); err != nil {
			return err
		}
	}
	for _, e := range n.Extensions {
		if err := ValidateName("extension", e); err != nil {
			return err
		}
	}
	switch {
	case n.Login == "":
		return Errorf(Invalid, "cluster %s: the control login is missing", n.Name).WithHint("give --login NAME")
	case !slices.Contains(TLSModes, n.TLS.Mode):
		return Errorf(Invalid, "TLS mode %q is not one of %s", n.TLS.Mode, strings.Join(TLSModes, ", "))
	case n.Capacity < 0 || n.Density < 1:
		return Errorf(Invalid, "cluster %s: capacity and density must be positive", n.Name)
	}
	return n.Labels.Validate()
}

// ClusterChange is what `cluster set` may change; nil fields stay.
type ClusterChange struct {
	Address     *Address      `json:"address,omitempty"`
	AppAddress  *Address      `json:"app_address,omitempty"` // without hosts: removed, applications use Address
	Password    *string       `json:"password,omitempty"`
	TLS         *TLS          `json:"tls,omitempty"`
	Region      *string       `json:"region,omitempty"`
	Labels      Labels        `json:"labels,omitempty"` // merged; an empty value removes the label
	Capacity    *int          `json:"capacity,omitempty"`
	Density     *int          `json:"density,omitempty"`
	Connections *int          `json:"connections,omitempty"`
	Extensions  []string      `json:"extensions,omitempty"` // added
	State       *ClusterState `json:"state,omitempty"`
	DryRun      bool          `json:"dry_run,omitempty"`
}

// MinServerVersion is the oldest PostgreSQL Manor works on, as server_version_num.
const MinServerVersion = 150000

// VersionString writes a server_version_num as people do: 150018 as "15.18".
func VersionString(num int) string { return fmt.Sprintf("%d.%d", num/10000, num%10000) }
