package tenant_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/pgtest"
)

// clusterOf makes a server known once more, under another name and region.
func clusterOf(t *testing.T, p *controlplanetest.Plane, s controlplanetest.Server, n controlplane.NewCluster) {
	t.Helper()
	p.AddServer("tmp-"+n.Name, s) // makes the control login
	again := p.Control
	if err := p.RemoveCluster(t.Context(), again.Name, false); err != nil {
		t.Fatal(err)
	}
	again.Name, again.Region, again.Capacity = n.Name, n.Region, n.Capacity
	if _, err := p.AddCluster(t.Context(), again); err != nil {
		t.Fatal(err)
	}
}

func TestTenantThatFindsNoPlaceIsRefusedClearlyAndChangesNothing(t *testing.T) {
	t.Parallel()
	none := creator(t, controlplanetest.Empty(t), controlplane.NewTenant{Slug: "acme"})[0]
	refusedWith(t, "no cluster", none.Error, controlplane.Refused, "manor cluster add")

	server := pgtest.NewServer(t, devpg.Config{})
	p := controlplanetest.Empty(t)
	clusterOf(t, p, pgtest.Server(t), controlplane.NewCluster{Name: "full", Region: "eu", Capacity: 1})
	p.Create(controlplane.NewTenant{Cluster: "full"}, "first")
	clusterOf(t, p, pgtest.Server(t), controlplane.NewCluster{Name: "closed", Region: "us"})
	draining := controlplane.ClusterDraining
	if _, err := p.SetCluster(t.Context(), "closed", controlplane.ClusterChange{State: &draining}); err != nil {
		t.Fatal(err)
	}
	clusterOf(t, p, server, controlplane.NewCluster{Name: "down", Region: "asia"})
	if err := server.Crash(); err != nil {
		t.Fatal(err)
	}
	before := everything(t, p)
	for what, c := range map[string]struct {
		n    controlplane.NewTenant
		code controlplane.Code
		says string
	}{
		"region nobody serves":  {controlplane.NewTenant{Region: "mars"}, controlplane.Refused, "regions served: asia, eu, us"},
		"unknown cluster":       {controlplane.NewTenant{Cluster: "nine"}, controlplane.NotFound, "there is no cluster nine"},
		"full cluster":          {controlplane.NewTenant{Cluster: "full"}, controlplane.Refused, "full: 1 of 1 tenants"},
		"region with full ones": {controlplane.NewTenant{Region: "eu"}, controlplane.Refused, "--capacity"},
		"draining cluster":      {controlplane.NewTenant{Cluster: "closed"}, controlplane.Refused, "--state active"},
		"region draining":       {controlplane.NewTenant{Region: "us"}, controlplane.Unavailable, "manor cluster list"},
		"cluster down":          {controlplane.NewTenant{Cluster: "down"}, controlplane.Unavailable, "cannot reach"},
		"region down":           {controlplane.NewTenant{Region: "asia"}, controlplane.Unavailable, "manor cluster list"},
		"cluster elsewhere":     {controlplane.NewTenant{Cluster: "full", Region: "us"}, controlplane.Refused, `in region "eu", not us`},
		"isolation":             {controlplane.NewTenant{Isolation: "table"}, controlplane.Invalid, "neither schema nor database"},
		"slug":                  {controlplane.NewTenant{Slug: "No Good"}, controlplane.Invalid, `"No Good"`},
		"reserved slug":         {controlplane.NewTenant{Slug: "postgres"}, controlplane.Invalid, "reserved"},
		"taken slug":            {controlplane.NewTenant{Slug: "first"}, controlplane.Conflict, "slug first is taken"},
		"tier":                  {controlplane.NewTenant{Tier: "Gold!"}, controlplane.Invalid, "tier"},
		"label":                 {controlplane.NewTenant{Labels: controlplane.Labels{"A B": ""}}, controlplane.Invalid, "A B"},
	} {
		if c.n.Slug == "" {
			c.n.Slug = "acme"
		}
		r := creator(t, p, c.n)
		if len(r) != 1 || r[0].Error == nil {
			t.Errorf("%s: %+v", what, r)
			continue
		}
		refusedWith(t, what, r[0].Error, c.code, c.says)
	}
	if diff := cmp.Diff(before, everything(t, p)); diff != "" {
		t.Errorf("the catalog (-before +after):\n%s", diff)
	}
}

func TestOneBadTenantOfACallDoesNotHoldUpTheOthers(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	results := creator(t, p, controlplane.NewTenant{Slug: "acme"}, controlplane.NewTenant{Slug: "acme"},
		controlplane.NewTenant{Slug: "Bad"}, controlplane.NewTenant{Slug: "globex", Cluster: "nine"}, controlplane.NewTenant{Slug: "initech"})
	var made []string
	for _, r := range results {
		if r.Error == nil {
			made = append(made, p.Settled(r.Slug).Slug)
		}
	}
	if diff := cmp.Diff([]string{"acme", "initech"}, made); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
}

func TestLoginOfATenantReachesNothingButItsOwnData(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, like controlplane.NewTenant) {
		p := controlplanetest.New(t)
		p.Push("v1", controlplanetest.First())
		neighbour := p.Create(like, "acme", "globex")[1].Placement
		p.Exec("globex", "INSERT INTO notes VALUES (1, 'private')")
		own := p.Connect("acme")
		theirs := pgx.Identifier{neighbour.Schema}.Sanitize()
		for _, statement := range []string{
			"SELECT body FROM " + theirs + ".notes",
			"DELETE FROM " + theirs + ".notes",
			"SET ROLE " + neighbour.Role,
			"SET ROLE " + neighbour.Logins[0],
			"CREATE TABLE mine (id int)",
			"CREATE TABLE public.mine (id int)",
			"CREATE TEMP TABLE mine (id int)",
			"CREATE SCHEMA mine",
			"CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
			"CREATE DATABASE mine",
			"CREATE ROLE mine",
			"DROP TABLE notes",
			"ALTER TABLE notes ADD COLUMN mine int",
			"SELECT * FROM atlas_schema_revisions",
			"DELETE FROM atlas_schema_revisions",
			"SELECT * FROM manor.marker",
			"UPDATE manor.marker SET epoch = 0",
		} {
			if _, err := own.Exec(t.Context(), statement); err == nil {
				t.Errorf("%s: done", statement)
			} else if !strings.Contains(err.Error(), "SQLSTATE 42501") && !strings.Contains(err.Error(), "SQLSTATE 42P01") {
				t.Errorf("%s: %v", statement, err)
			}
		}
		dsn, err := p.TenantDSN(t.Context(), "acme", true)
		if err != nil {
			t.Fatal(err)
		}
		other := *dsn
		for _, database := range []string{neighbour.Database, p.Create(controlplane.NewTenant{Isolation: controlplane.IsolationDatabase}, "initech")[0].Placement.Database} {
			if other.Database = database; database == dsn.Database {
				continue
			}
			conn, err := controlplanetest.Dial(t.Context(), &other)
			if err == nil {
				_ = conn.Close(t.Context())
				t.Errorf("the login is let into database %s", database)
			} else if !strings.Contains(err.Error(), "SQLSTATE 42501") {
				t.Errorf("database %s: %v", database, err)
			}
		}
		own.Exec(t.Context(), "INSERT INTO notes VALUES (1, 'mine')")
		var body string
		if err := own.QueryRow(t.Context(), "SELECT string_agg(body, ',') FROM notes").Scan(&body); err != nil || body != "mine" {
			t.Errorf("its own notes: %q, %v", body, err)
		}
	})
}
