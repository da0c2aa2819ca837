package render

// CatalogStatus is how the catalog stands to this binary.
type CatalogStatus struct {
	Current string   `json:"current"` // version of the catalog, "" before the first migration
	Latest  string   `json:"latest"`  // version this binary brings
	Pending []string `json:"pending"`
	Newer   bool     `json:"newer"` // the catalog has versions this binary does not know
	Copy    bool     `json:"copy"`  // it was copied from another catalog and not claimed yet
}

// Catalog shows it.
func (p *Printer) Catalog(s CatalogStatus) error {
	if s.Pending == nil {
		s.Pending = []string{}
	}
	return p.print(s, func() string {
		current := s.Current
		if current == "" {
			current = "not created yet"
		}
		f := p.fields()
		f.add("Version", current)
		f.add("Latest", s.Latest)
		switch {
		case len(s.Pending) > 0:
			f.add("Pending", plural(len(s.Pending), "migration")+": `manor catalog migrate` applies them")
		case s.Newer:
			f.add("Pending", "none: the catalog is newer than this binary, which refuses to write; install a newer manor")
		default:
			f.add("Pending", "none")
		}
		if s.Copy {
			f.add("Copy", p.style.bad("yes: its tenants belong to the catalog that it was copied from")+
				"\nIt can be read. `manor catalog claim` makes it a catalog of its own.")
		}
		return f.String()
	})
}
