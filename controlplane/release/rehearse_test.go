package release_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/pgtest"
)

// TestRehearsalTellsOfEveryVersionAndLeavesNothing: neither a database on the
// cluster nor a row in the catalog.
func TestRehearsalTellsOfEveryVersionAndLeavesNothing(t *testing.T) {
	p := controlplanetest.New(t)
	files := controlplanetest.Second()
	files["down/4_tags.sql"] = "DROP TABLE tags;\n"
	p.Push("v2", files)
	r, err := p.RehearseRelease(t.Context(), "v2", controlplane.RehearsalRequest{From: "2"})
	if err != nil {
		t.Fatal(err)
	}
	if r.Release != "v2" || r.From != "2" || r.To != "4" || r.Cluster != "one" || r.ServerVersion < 15 || len(r.Versions) != 2 || !r.Proved() || r.DurationMS == 0 {
		t.Fatalf("got %+v", r)
	}
	stars, tags := r.Versions[0], r.Versions[1]
	if l := stars.Statements[0].Locks; len(l) != 1 || l[0] != (controlplane.RehearsedLock{Relation: "notes", Mode: "ACCESS EXCLUSIVE"}) {
		t.Errorf("locks of %s: %+v", stars.File, l)
	}
	if stars.Down != controlplane.DownComputed || len(stars.Reverse) == 0 || stars.Refuses != controlplane.RefusesSome || stars.Failure.Statement != 2 {
		t.Errorf("%s: %+v", stars.File, stars)
	}
	if tags.Down != controlplane.DownFile || strings.Join(tags.LosesDown, " ") != "table tags" {
		t.Errorf("%s: %+v", tags.File, tags)
	}
	nothingLeft(t, p)
	again, err := p.ShowRelease(t.Context(), "v2")
	if err != nil || again.Versions[2].Down != controlplane.DownUnknown {
		t.Errorf("something was kept of the rehearsal: %+v, %v", again, err)
	}
}

// TestRehearsalThatIsCancelledLeavesNothing is Ctrl-C.
func TestRehearsalThatIsCancelledLeavesNothing(t *testing.T) {
	p := controlplanetest.New(t)
	files := controlplanetest.First()
	files["3_sleep.sql"] = "SELECT pg_sleep(600);\n"
	p.Push("v1", files)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := p.RehearseRelease(ctx, "v1", controlplane.RehearsalRequest{})
		ended <- err
	}()
	super := controlplanetest.Superuser(t, pgtest.Server(t), "postgres")
	p.Eventually("the rehearsal sleeps", func() (asleep bool, err error) {
		err = super.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname LIKE 's\\_%' AND wait_event = 'PgSleep')").Scan(&asleep)
		return asleep, err
	})
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	nothingLeft(t, p)
}

// nothingLeft waits until there is no scratch database.
func nothingLeft(t *testing.T, p *controlplanetest.Plane) {
	t.Helper()
	super, catalog := controlplanetest.Superuser(t, pgtest.Server(t), "postgres"), p.Catalog()
	p.Eventually("no scratch database is left", func() (bool, error) {
		var databases, rows int
		if err := super.QueryRow(t.Context(), "SELECT count(*) FROM pg_database WHERE datname LIKE 's\\_%'").Scan(&databases); err != nil {
			return false, err
		}
		err := catalog.QueryRow(t.Context(), "SELECT count(*) FROM databases WHERE isolation = 'scratch'").Scan(&rows)
		return databases == 0 && rows == 0, err
	})
}

// TestRehearsalFindsACluster that is active, has the extensions and answers.
func TestRehearsalFindsACluster(t *testing.T) {
	p := controlplanetest.Empty(t)
	files := controlplanetest.Summed(t, controlplanetest.First())
	if _, err := p.PushRelease(t.Context(), controlplane.NewRelease{Name: "v1", Files: files, Extensions: []string{"citext"}}); err != nil {
		t.Fatal(err)
	}
	refused := func(ask controlplane.RehearsalRequest, want controlplane.Code, says string) {
		t.Helper()
		_, err := p.RehearseRelease(t.Context(), "v1", ask)
		if controlplane.CodeOf(err) != want || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v", ask, err)
		}
	}
	refused(controlplane.RehearsalRequest{}, controlplane.Refused, "no cluster is active")
	lost := controlplanetest.Proxy(t, pgtest.Server(t))
	p.AddServer("lost", lost)
	lost.Proxy.Refuse()
	lost.Proxy.Cut()
	refused(controlplane.RehearsalRequest{}, controlplane.Unavailable, "lost")

	there := controlplanetest.Proxy(t, pgtest.Server(t))
	p.AddServer("there", there)
	r, err := p.RehearseRelease(t.Context(), "v1", controlplane.RehearsalRequest{To: "1"})
	if err != nil {
		t.Fatal(err)
	}
	if r.Cluster != "there" || len(r.Versions) != 1 {
		t.Errorf("got %+v", r)
	}
	refused(controlplane.RehearsalRequest{Cluster: "lost"}, controlplane.Unavailable, "lost")
	refused(controlplane.RehearsalRequest{Cluster: "nowhere"}, controlplane.NotFound, "no cluster nowhere")
	refused(controlplane.RehearsalRequest{From: "7"}, controlplane.NotFound, "no version 7")
	refused(controlplane.RehearsalRequest{From: "2", To: "1"}, controlplane.Invalid, "version 1 comes before 2")
	nothingLeft(t, p)
}
