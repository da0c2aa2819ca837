package main

import (
	"encoding/csv"
	"os"
	"slices"
	"strconv"

	"github.com/manorhq/manor/controlplane"
)

// The customers of the demo: 200 in schemas, 20 in databases. All names are made up.
var (
	firstWords = []string{
		"amber", "aspen", "beacon", "birch", "blue-heron", "bright", "cedar", "cobalt", "copper", "coral",
		"crescent", "delta", "elm-street", "ember", "evergreen", "falcon", "fern", "foxglove", "granite", "harbor",
		"hazel", "indigo", "juniper", "kestrel", "lantern", "larkspur", "linden", "magnolia", "maple", "marlow",
		"northwind", "oakwood", "orchard", "pebble", "quarry", "redwood", "saffron", "silver", "thistle", "willow",
	}
	trades = []string{"bakery", "freight", "labs", "dental", "studio"}

	bigWords  = []string{"atlas", "borealis", "castle", "dominion", "everest", "frontier", "grand", "highland", "imperial", "jubilee"}
	bigTrades = []string{"bank", "insurance"}
)

// Who plays a part of their own.
const (
	importer = "cobalt-freight" // has data that version 21 refuses
	nosy     = "amber-bakery"   // tries the neighbours' doors
)

const (
	schemaTenants   = 200
	databaseTenants = 20
	allTenants      = schemaTenants + databaseTenants
)

// customers are the rows of tenants.csv.
func customers() []controlplane.NewTenant {
	var rows []controlplane.NewTenant
	for _, first := range firstWords {
		for _, trade := range trades {
			n := len(rows)
			rows = append(rows, controlplane.NewTenant{
				Slug: first + "-" + trade, Isolation: controlplane.IsolationSchema, Region: regions[n%2],
				Tier: []string{"free", "pro", "pro"}[n%3], Labels: controlplane.Labels{"ring": ring(n)},
			})
		}
	}
	for i, first := range bigWords {
		for _, trade := range bigTrades {
			rows = append(rows, controlplane.NewTenant{
				Slug: first + "-" + trade, Isolation: controlplane.IsolationDatabase, Region: regions[i%2],
				Tier: "enterprise", Labels: controlplane.Labels{"ring": "rest"},
			})
		}
	}
	for i := range rows {
		rows[i].ExternalID = "C-" + strconv.Itoa(1001+i)
	}
	return rows
}

// ring is who gets a release when: 10 canaries, 40 early ones, the rest.
func ring(n int) string {
	switch {
	case n%20 == 7:
		return "canary"
	case n%5 == 1:
		return "early"
	}
	return "rest"
}

// busy are the tenants that have data and users at work: ten in schemas, two in databases.
func busy() []string {
	return []string{
		nosy, importer, "aspen-labs", "blue-heron-dental", "coral-studio", "evergreen-bakery",
		"harbor-freight", "juniper-labs", "maple-dental", "willow-studio", "castle-bank", "highland-insurance",
	}
}

func writeCustomers(path string, rows []controlplane.NewTenant) error {
	lines := [][]string{{"slug", "external_id", "isolation", "region", "tier", "labels"}}
	for _, r := range rows {
		lines = append(lines, []string{r.Slug, r.ExternalID, string(r.Isolation), r.Region, r.Tier, "ring=" + r.Labels["ring"]})
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return csv.NewWriter(f).WriteAll(lines)
}

// fleet is what the demo learns about the tenants as it goes.
type fleet struct {
	versions []string // of release 2
	tenants  map[string]controlplane.Tenant
	sessions map[string]*session
	rollout  string // id
	before   controlplane.Page[controlplane.FingerprintGroup]
	rows     map[string]int // of the busy ones, by tenant
}

// first is the last version of release 1, last that of release 2.
func (f *fleet) first() string { return f.versions[releaseOne-1] }
func (f *fleet) last() string  { return f.versions[len(f.versions)-1] }

// neighbour is a tenant other than of, in alphabetical order the first that fits.
func (f *fleet) neighbour(of string, fits func(a, b controlplane.Tenant) bool) (controlplane.Tenant, bool) {
	var slugs []string
	for slug, t := range f.tenants {
		if slug != of && fits(f.tenants[of], t) {
			slugs = append(slugs, slug)
		}
	}
	if len(slugs) == 0 {
		return controlplane.Tenant{}, false
	}
	return f.tenants[slices.Min(slugs)], true
}
