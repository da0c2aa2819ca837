package rollout_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/pgtest"
)

// TestPlanOnCopiesNamesTheTenantsThatWouldFail, whatever their isolation, and
// nothing is left of the copies but the record that they were made.
func TestPlanOnCopiesNamesTheTenantsThatWouldFail(t *testing.T) {
	p := controlplanetest.New(t)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, "acme", "bird")
	p.Create(controlplane.NewTenant{Isolation: controlplane.IsolationDatabase}, "crow")
	files := controlplanetest.First()
	files["3_stars.sql"] = "ALTER TABLE notes ALTER COLUMN stars SET NOT NULL;\n"
	p.Push("v2", files)
	for i, slug := range []string{"acme", "bird", "crow"} { // the largest first
		p.Exec(slug, "INSERT INTO notes SELECT n, repeat('hush', 500), CASE WHEN n > $1 OR $2 THEN n END FROM generate_series(1, $3) n", 3, slug == "bird", 900-200*i)
	}
	analyzed(t, p)
	plan := planned(t, p, controlplane.NewRollout{Release: "v2", OnClones: 20})
	var seen []string
	for _, c := range plan.Clones {
		text := fmt.Sprintf("%s from %s on %s: %d tables, %d rows", c.Tenant, c.From, c.Cluster, c.Tables, c.Rows)
		if v := c.Refused(); v != nil {
			text += fmt.Sprintf(", refuses %s, %d", v.Failure.SQLState, v.Nulls)
		}
		if !c.Copied || c.Why != "" || c.Bytes < c.Rows*2000 || c.CopyMS == 0 {
			t.Errorf("%+v", c)
		}
		seen = append(seen, text)
	}
	if diff := cmp.Diff([]string{
		"acme from 2 on one: 1 tables, 900 rows, refuses 23502, 3",
		"bird from 2 on one: 1 tables, 700 rows",
		"crow from 2 on one: 1 tables, 500 rows, refuses 23502, 3",
	}, seen); diff != "" {
		t.Fatal(diff)
	}
	if l := plan.Clones[1].Versions[0].Statements[0].Locks; l[0] != (controlplane.RehearsedLock{Relation: "notes", Mode: "ACCESS EXCLUSIVE"}) {
		t.Errorf("locks on a copy: %+v", l)
	}
	if diff := cmp.Diff([]string{"acme", "crow"}, plan.FailsFor()); diff != "" {
		t.Error(diff)
	}
	var warned []string
	for _, w := range plan.Warnings {
		if w.Code == controlplane.WarnRefusedOnCopy && w.Version == "3" && w.Statement == 1 {
			warned = append(warned, w.Message)
		}
	}
	if len(warned) != 2 || !strings.Contains(warned[0], "on a copy of tenant acme: ") || !strings.Contains(warned[0], ", 3 rows: the rollout would fail") || strings.Contains(strings.Join(warned, ""), "hush") {
		t.Errorf("warnings %q", warned)
	}
	var left []string
	err := controlplanetest.Superuser(t, pgtest.Server(t), "postgres").QueryRow(t.Context(), "SELECT array_agg(datname::text) FROM pg_database WHERE starts_with(datname, 's_')").Scan(&left)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	var audited []string
	err = p.Catalog().QueryRow(t.Context(), "SELECT array_agg(subject ORDER BY subject) FROM audit_records WHERE action = 'tenant.copy' AND detail ->> 'release' = 'v2'").Scan(&audited)
	if err != nil || !slices.Equal(audited, []string{"acme", "bird", "crow"}) {
		t.Errorf("audited: %v, %v", audited, err)
	}
	r, err := p.StartRollout(t.Context(), controlplane.NewRollout{Plan: plan.ID, AllowUnproved: true}) // as its generated rows say, not its copies
	if err != nil {
		t.Fatal(err)
	}
	if r = p.Rested(r.ID); r.Counts[controlplane.TargetFailed] != 2 || r.Counts[controlplane.TargetSucceeded] != 1 {
		t.Errorf("the rollout went otherwise: %v", r.Counts)
	}
}

// analyzed lets PostgreSQL know how large the tables are.
func analyzed(t *testing.T, p *controlplanetest.Plane) {
	t.Helper()
	var databases []string
	if err := p.Catalog().QueryRow(t.Context(), "SELECT array_agg(name) FROM databases WHERE isolation <> 'scratch'").Scan(&databases); err != nil {
		t.Fatal(err)
	}
	for _, name := range databases {
		if _, err := controlplanetest.Superuser(t, pgtest.Server(t), name).Exec(t.Context(), "ANALYZE"); err != nil {
			t.Fatal(err)
		}
	}
}

var bytes = regexp.MustCompile(`\d{4,}`)

// TestCopiesAreOfEveryVersionFirst, then of the largest; what is too large or
// locked is named with the reason, and keeps no other from being copied.
func TestCopiesAreOfEveryVersionFirst(t *testing.T) {
	p := ringed(t)
	if r := p.Rollout(controlplane.NewRollout{Release: "v2", Version: "3", Select: `tenant.slug == "acme-005"`}); r.State != controlplane.RolloutSucceeded {
		t.Fatalf("state %s", r.State)
	}
	p.Exec("acme-003", "INSERT INTO notes SELECT n, repeat(md5(n::text), 20), 1 FROM generate_series(1, 3000) n")
	p.Exec("acme-004", "INSERT INTO notes SELECT n, 'small', 1 FROM generate_series(1, 500) n")
	analyzed(t, p)
	place, err := p.ShowTenant(t.Context(), "acme-005")
	if err != nil {
		t.Fatal(err)
	}
	super := controlplanetest.Superuser(t, pgtest.Server(t), place.Placement.Database)
	if _, err := super.Exec(t.Context(), "BEGIN; LOCK TABLE "+place.Placement.Schema+".notes"); err != nil {
		t.Fatal(err)
	}
	plan := planned(t, p, controlplane.NewRollout{Release: "v2", OnClones: 3, CloneLimit: 1 << 20})
	var seen []string
	for _, c := range plan.Clones {
		why, _, _ := strings.Cut(c.Why, ":")
		seen = append(seen, fmt.Sprintf("%s from %s: %d %s", c.Tenant, c.From, c.Rows, bytes.ReplaceAllString(why, "N")))
	}
	if diff := cmp.Diff([]string{
		"acme-003 from 2: 0 the home has N bytes, and no more than N are copied",
		"acme-005 from 3: 0 somebody else has locked a table of the home",
		"acme-004 from 2: 500 ",
	}, seen); diff != "" {
		t.Error(diff)
	}
	if len(plan.FailsFor()) > 0 {
		t.Errorf("fails for %v", plan.FailsFor())
	}
	for _, n := range []controlplane.NewRollout{{OnClones: 21, Keep: true}, {OnClones: -1, Keep: true}, {OnClones: 1}, {OnClones: 1, Keep: true, NoRehearsal: true}} {
		n.Release = "v2"
		if _, err := p.PlanRollout(t.Context(), n); !errors.Is(err, &controlplane.Error{Code: controlplane.Invalid}) {
			t.Errorf("%+v: %v", n, err)
		}
	}
}
