package render

import (
	"strings"

	"github.com/manorhq/manor/controlplane"
)

// Releases lists releases.
func (p *Printer) Releases(releases []controlplane.Release) error {
	return p.print(list(releases), func() string {
		if len(releases) == 0 {
			return "No releases yet. `manor release push DIR --name NAME` pushes one.\n"
		}
		g := p.grid("NAME", ">VERSIONS", "LATEST", "DEFAULT", "HASH", "BY", "AGE")
		for i := range releases {
			r := &releases[i]
			g.row(r.Name, len(r.Versions), r.Latest(), r.Default, short(r.Hash, 12), r.CreatedBy, p.age(r.CreatedAt))
		}
		return g.String()
	})
}

// Release shows one release with its versions.
func (p *Printer) Release(r *controlplane.Release) error {
	return p.print(r, func() string {
		f := p.fields()
		f.add("Name", r.Name)
		f.add("Hash", r.Hash)
		f.add("Extensions", strings.Join(r.Extensions, ", "))
		if r.Default != "" {
			f.add("Default", "new tenants start at "+r.Default)
		}
		f.add("Pushed", p.age(r.CreatedAt)+" ago by "+r.CreatedBy)
		return blocks(f.String(), p.versions(r.Versions))
	})
}

func (p *Printer) versions(versions []controlplane.Version) string {
	g := p.grid("VERSION", "FILE", ">STATEMENTS", "TRANSACTION", "DOWN")
	for _, v := range versions {
		tx := "yes"
		if v.TxMode == "none" {
			tx = "no"
		}
		g.row(v.Version, v.Name, v.Statements, tx, p.down(v))
	}
	return g.String()
}

// down is how a version can be undone, and why not.
func (p *Printer) down(v controlplane.Version) string {
	switch {
	case v.Down == controlplane.DownUnknown:
		return p.style.note("not computed yet")
	case v.Down != controlplane.DownNone:
		return v.Down
	case v.Reason == "":
		return p.style.bad(v.Down)
	}
	return p.style.bad(v.Down) + ": " + v.Reason
}

// ReleaseDone says what was done to a release.
func (p *Printer) ReleaseDone(r *controlplane.Release, did string) error {
	return p.print(r, func() string {
		text := "Release " + p.style.bold(r.Name) + " " + did + ": " + plural(len(r.Versions), "version")
		if latest := r.Latest(); latest != "" {
			text += " up to " + latest
		}
		return text + ", hash " + short(r.Hash, 12) + ".\n"
	})
}
