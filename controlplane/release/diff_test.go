package release_test

import (
	"errors"
	"testing"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/pgtest"
)

const (
	notes   = "CREATE TABLE notes (id int PRIMARY KEY, body text NOT NULL, stars int);\nCREATE INDEX notes_body_idx ON notes (body);\n"
	desired = notes + "CREATE TABLE tags (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note int NOT NULL REFERENCES notes (id));\n" +
		"ALTER TABLE notes ADD COLUMN pinned bool NOT NULL DEFAULT false;\nCREATE INDEX notes_stars ON notes (stars) WHERE pinned;\n"
)

// pushDiff pushes a directory with what leads it to the desired schema.
func pushDiff(t *testing.T, p *controlplanetest.Plane, name string, files map[string]string) {
	t.Helper()
	n := controlplane.NewDiff{Name: "to_" + name, Path: "app.sql", Schema: []byte(desired)}
	if len(files) > 0 {
		n.Files = controlplanetest.Summed(t, files)
	}
	d, err := p.DiffRelease(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	if !d.Complete || d.InSync || d.NoDown != "" {
		t.Fatalf("got %+v", d)
	}
	all := n.Files
	if all == nil {
		all = map[string][]byte{}
	}
	for name, content := range d.Files {
		all[name] = []byte(content)
	}
	if _, err := p.PushRelease(t.Context(), controlplane.NewRelease{Name: name, Files: all}); err != nil {
		t.Fatal(err)
	}
}

// TestATenantThatRolledADiffOutHasTheDesiredSchema, as a new tenant has that
// gets it in one piece.
func TestATenantThatRolledADiffOutHasTheDesiredSchema(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	first := map[string]string{"20260101000000_notes.sql": notes}
	p.Push("v1", first)
	p.Create(controlplane.NewTenant{}, "rolled")
	pushDiff(t, p, "v2", first)
	if r := p.Rollout(controlplane.NewRollout{Release: "v2"}); r.State != controlplane.RolloutSucceeded {
		t.Fatalf("the rollout is %s", r.State)
	}
	pushDiff(t, p, "whole", nil)
	if _, err := p.SetDefaultRelease(t.Context(), "whole", "", false); err != nil {
		t.Fatal(err)
	}
	p.Create(controlplane.NewTenant{}, "fresh")
	groups, err := p.Fingerprints(t.Context(), controlplane.TenantQuery{})
	if err != nil {
		t.Fatal(err)
	}
	tenants := 0
	for _, g := range groups {
		tenants += g.Tenants
		if g.Fingerprint != groups[0].Fingerprint {
			t.Errorf("the tenants differ: %+v", groups)
		}
	}
	if tenants != 2 {
		t.Errorf("%d tenants were asked", tenants)
	}
}

func TestADiffIsTriedOutWhereItMayBe(t *testing.T) {
	t.Parallel()
	p := controlplanetest.Empty(t)
	ask := func(cluster string) error {
		_, err := p.DiffRelease(t.Context(), controlplane.NewDiff{Name: "next", Schema: []byte(notes), Cluster: cluster})
		return err
	}
	wants := func(cluster string, code controlplane.Code) {
		t.Helper()
		if err := ask(cluster); !errors.Is(err, &controlplane.Error{Code: code}) {
			t.Errorf("on cluster %q: %v, want %s", cluster, err, code)
		}
	}
	wants("", controlplane.Refused)
	server := pgtest.NewServer(t, devpg.Config{})
	p.AddServer("one", server)
	wants("two", controlplane.NotFound)
	for _, cluster := range []string{"", "one"} {
		if err := ask(cluster); err != nil {
			t.Errorf("on cluster %q: %v", cluster, err)
		}
	}
	if left := p.Leftovers(server); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := p.SetCluster(t.Context(), "one", controlplane.ClusterChange{State: new(controlplane.ClusterOffline)}); err != nil {
		t.Fatal(err)
	}
	wants("one", controlplane.Refused)
	wants("", controlplane.Unavailable)
}
