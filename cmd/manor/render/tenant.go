package render

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/manorhq/manor/controlplane"
)

// Tenants lists a page of tenants.
func (p *Printer) Tenants(page controlplane.Page[controlplane.Tenant]) error {
	if page.Items == nil {
		page.Items = []controlplane.Tenant{}
	}
	err := p.print(page, func() string {
		if len(page.Items) == 0 {
			return "No tenants found.\n"
		}
		g := p.grid("SLUG", "STATE", "ISOLATION", "CLUSTER", "REGION", "TIER", "VERSION", "LABELS", "AGE")
		for i := range page.Items {
			t := &page.Items[i]
			g.row(t.Slug, p.tenantState(t), t.Isolation, t.Cluster, t.Region, t.Tier, t.Version, labels(t.Labels), p.age(t.CreatedAt))
		}
		return g.String()
	})
	if p.Format == Table && page.Next != "" {
		p.Remark("There are more: --cursor %s goes on.", page.Next)
	}
	return err
}

// tenantState adds an ellipsis while the cluster has not been brought to the state.
func (p *Printer) tenantState(t *controlplane.Tenant) string {
	word := p.style.state(string(t.State))
	if !t.Settled && t.State != controlplane.TenantProvisioning && t.State != controlplane.TenantFailed {
		word += "…"
	}
	return word
}

// Tenant shows one tenant.
func (p *Printer) Tenant(t *controlplane.Tenant) error {
	return p.print(t, func() string {
		f := p.fields()
		f.add("Slug", t.Slug)
		f.add("External id", t.ExternalID)
		f.add("State", p.tenantState(t))
		f.add("Isolation", t.Isolation)
		f.add("Cluster", t.Cluster)
		f.add("Region", t.Region)
		f.add("Tier", t.Tier)
		f.add("Labels", labels(t.Labels))
		f.add("Release", t.Release)
		f.add("Version", t.Version)
		f.add("Pinned", t.Pin.String())
		f.add("Database", t.Placement.Database)
		f.add("Schema", t.Placement.Schema)
		f.add("Role", t.Placement.Role)
		f.add("Logins", strings.Trim(strings.Join(t.Placement.Logins[:], ", "), ", "))
		f.add("Generation", t.Placement.Generation)
		f.add("Failure", p.failure(t.Failure))
		f.add("Created", p.age(t.CreatedAt)+" ago")
		f.add("Updated", p.age(t.UpdatedAt)+" ago")
		return f.String()
	})
}

// TenantDone says what was done to a tenant.
func (p *Printer) TenantDone(t *controlplane.Tenant, did string) error {
	return p.print(t, func() string {
		return "Tenant " + p.style.bold(t.Slug) + " " + did + ".\n"
	})
}

// aFew is how many results are shown one by one; more are summed up.
const aFew = 30

// TenantResults says what became of each tenant of a call on several.
// Failures are always shown one by one.
func (p *Printer) TenantResults(results []controlplane.TenantResult, did string) error {
	return p.print(list(results), func() string {
		var done []*controlplane.Tenant
		bad := p.grid("SLUG", "PROBLEM")
		for _, r := range results {
			if problem := Problem(r); problem != "" {
				bad.row(r.Slug, p.style.bad(problem))
			} else {
				done = append(done, r.Tenant)
			}
		}
		return blocks(p.resultTable(done), bad.String(), p.resultSum(len(done), len(bad.rows), did))
	})
}

// VersionResults says what became of each tenant whose version was set. Failures
// are always shown one by one, many of the rest by where they were.
func (p *Printer) VersionResults(results []controlplane.VersionResult, did string) error {
	return p.print(list(results), func() string {
		type way struct{ was, is string }
		ways, order, changed, same := p.grid("SLUG", "WAS", "IS"), []way{}, 0, 0
		counts, bad := map[way]int{}, p.grid("SLUG", "AT", "PROBLEM")
		for _, r := range results {
			if r.Error != nil {
				bad.row(r.Slug, r.Is, p.style.bad(r.Error.Message)+"\n"+r.Error.Hint)
				continue
			}
			w := way{cmp.Or(r.Was, controlplane.NoVersion), cmp.Or(r.Is, controlplane.NoVersion)}
			if r.Partial != "" {
				w.was += ", part of " + r.Partial
			}
			ways.row(r.Slug, w.was, w.is)
			if counts[w]++; counts[w] == 1 {
				order = append(order, w)
			}
			if r.Changed() {
				changed++
			} else {
				same++
			}
		}
		if len(ways.rows) > aFew {
			ways = p.grid("WAS", "IS", ">TENANTS")
			for _, w := range order {
				ways.row(w.was, w.is, counts[w])
			}
		}
		sum := p.resultSum(changed, len(bad.rows), did)
		if same > 0 {
			sum += plural(same, "tenant") + " there already.\n"
		}
		return blocks(ways.String(), bad.String(), sum)
	})
}

func (p *Printer) resultSum(done, failed int, did string) string {
	if done+failed == 0 {
		return "Nothing to do.\n"
	}
	text := plural(done, "tenant") + " " + did
	if failed > 0 {
		text += ", " + p.style.bad(itoa(failed)+" not")
	}
	return text + ".\n"
}

func (p *Printer) resultTable(done []*controlplane.Tenant) string {
	if len(done) <= aFew {
		g := p.grid("SLUG", "STATE", "ISOLATION", "CLUSTER", "VERSION")
		for _, t := range done {
			g.row(t.Slug, p.tenantState(t), t.Isolation, t.Cluster, t.Version)
		}
		return g.String()
	}
	type group struct {
		cluster, state, version string
		isolation               controlplane.Isolation
	}
	counts, order := map[group]int{}, []group{}
	for _, t := range done {
		k := group{t.Cluster, p.tenantState(t), t.Version, t.Isolation}
		if counts[k]++; counts[k] == 1 {
			order = append(order, k)
		}
	}
	g := p.grid("CLUSTER", "ISOLATION", "STATE", "VERSION", ">TENANTS")
	for _, k := range order {
		g.row(k.cluster, k.isolation, k.state, k.version, counts[k])
	}
	return g.String()
}

// Problem says why a result is not a success; empty when it is one.
func Problem(r controlplane.TenantResult) string {
	switch {
	case r.Error != nil:
		return r.Error.Message
	case r.Tenant == nil:
		return "no answer"
	case r.Tenant.State == controlplane.TenantFailed && r.Tenant.Failure != nil:
		return r.Tenant.Failure.String()
	case r.Tenant.State == controlplane.TenantFailed:
		return "provisioning failed"
	}
	return ""
}

// failure is what PostgreSQL refused, with the statement below it and a caret
// under the place.
func (p *Printer) failure(f *controlplane.Failure) string {
	if f == nil {
		return ""
	}
	text := p.style.bad(f.String())
	if f.SQL != "" {
		text += "\n" + excerpt(f.SQL, f.Position)
	}
	if f.Hint != "" {
		text += "\nHint: " + f.Hint
	}
	return text
}

// excerpt is the line of a statement that holds the position (a character,
// from 1), with a caret below; without one it is the statement on one line.
func excerpt(sql string, position int) string {
	runes := []rune(strings.TrimRight(sql, "\n \t"))
	if position < 1 || position > len(runes) {
		return "  " + oneLine(sql)
	}
	start, end := position-1, position-1
	for start > 0 && runes[start-1] != '\n' {
		start--
	}
	for end < len(runes) && runes[end] != '\n' {
		end++
	}
	line := strings.ReplaceAll(string(runes[start:end]), "\t", " ")
	return "  " + line + "\n  " + strings.Repeat(" ", position-1-start) + "^"
}

// oneLine is a statement without its comment lines and line breaks, cut where
// it is long.
func oneLine(sql string) string { return lineOf(sql, 120) }

// lineOf is oneLine of at most so many characters.
func lineOf(sql string, most int) string {
	var words []string
	for line := range strings.SplitSeq(sql, "\n") {
		if !strings.HasPrefix(strings.TrimSpace(line), "--") {
			words = append(words, strings.Fields(line)...)
		}
	}
	runes := []rune(strings.Join(words, " "))
	if len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return string(runes)
}

// DSN shows how to connect as a tenant.
func (p *Printer) DSN(d *controlplane.DSN) error {
	return p.print(d, func() string {
		var hosts, ports []string
		for _, hp := range d.Hosts {
			host, port, err := net.SplitHostPort(hp)
			if err != nil {
				host, port = hp, "5432"
			}
			hosts, ports = append(hosts, host), append(ports, port)
		}
		password := d.Password
		if password == "" {
			password = "***"
		}
		f := p.fields()
		f.add("Host", strings.Join(hosts, ","))
		f.add("Port", strings.Join(ports, ","))
		f.add("Database", d.Database)
		f.add("Schema", d.Schema)
		f.add("User", d.User)
		f.add("Password", password)
		f.add("TLS", d.TLS.Mode)
		f.add("Root certificate", d.TLS.RootCert)
		f.add("Version", d.Version)
		f.add("URI", URI(d))
		return f.String()
	})
}

// URI is the connection string of a tenant, with the password only if d has it.
func URI(d *controlplane.DSN) string {
	user := url.User(d.User)
	if d.Password != "" {
		user = url.UserPassword(d.User, d.Password)
	}
	query := url.Values{}
	if d.TLS.Mode != "" {
		query.Set("sslmode", d.TLS.Mode)
	}
	if d.TLS.RootCert != "" {
		query.Set("sslrootcert", d.TLS.RootCert)
	}
	return fmt.Sprintf("postgresql://%s@%s/%s?%s", user, strings.Join(d.Hosts, ","), url.PathEscape(d.Database), query.Encode())
}

// Fingerprints lists groups of tenants with equal schemas.
func (p *Printer) Fingerprints(groups []controlplane.FingerprintGroup) error {
	return p.print(list(groups), func() string {
		if len(groups) == 0 {
			return "No tenants found.\n"
		}
		g := p.grid("VERSION", "POSTGRESQL", "FINGERPRINT", ">OBJECTS", ">TENANTS", "SUCH AS")
		for _, f := range groups {
			g.row(f.Version, f.Server, short(f.Fingerprint, 16), f.Objects, f.Tenants, strings.Join(f.Examples, ", "))
		}
		return g.String()
	})
}

// URI writes the connection string alone, for scripts.
func (p *Printer) URI(d *controlplane.DSN) error {
	return p.Done(map[string]string{"uri": URI(d)}, "%s", URI(d))
}

// TenantCreated says where a new tenant lives.
func (p *Printer) TenantCreated(t *controlplane.Tenant, did string) error {
	return p.print(t, func() string {
		text := fmt.Sprintf("Tenant %s %s on cluster %s with a %s of its own", p.style.bold(t.Slug), did, t.Cluster, t.Isolation)
		if t.Version != "" {
			text += ", at version " + t.Version
		}
		return text + ".\n"
	})
}
