package doctor_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/pgtest"
)

// differences in short: tenant, catalog, stamp, actual, corrected.
func differences(v *controlplane.Verification) []string {
	lines := []string{}
	for _, d := range v.Differences {
		lines = append(lines, fmt.Sprintf("%s %q %q %q %t", d.Tenant, d.Catalog, d.Stamp, d.Actual, d.Corrected))
	}
	return lines
}

func TestVerifyFindsAndCorrectsWhatTheRevisionsSayOtherwise(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, f *fixture, like controlplane.NewTenant) {
		f.Create(like, "acme", "globex", "hooli", "initech")
		if v := f.verify(false); v.Tenants != 4 || v.Agree != 4 || len(v.Differences)+len(v.Unreached)+v.AtWork > 0 {
			t.Fatalf("of a healthy fleet: %+v", v)
		}
		// The catalog is ahead of one tenant and behind another, as after a failover that lost commits
		// and after a result that was never reported.
		f.Push("v2", controlplanetest.Second())
		if r := f.Rollout(controlplane.NewRollout{Release: "v2"}); r.State != controlplane.RolloutSucceeded {
			t.Fatalf("the rollout is %s", r.State)
		}
		v1, v2 := f.releaseID("v1"), f.releaseID("v2")
		f.inHome("acme", `DROP TABLE %s.tags; DELETE FROM %s.atlas_schema_revisions WHERE version = '4'`)
		f.stamp("acme", "3")
		f.inCatalog(`UPDATE tenants SET version = '2', release_id = $1 WHERE slug = 'globex'`, v1)
		want := []string{`acme "4" "3" "3" false`, `globex "2" "4" "4" false`}
		if diff := cmp.Diff(want, differences(f.verify(true))); diff != "" {
			t.Errorf("a dry run (-want +got):\n%s", diff)
		}
		head, err := f.EventsHead(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want = []string{`acme "4" "3" "3" true`, `globex "2" "4" "4" true`}
		v := f.verify(false)
		if diff := cmp.Diff(want, differences(v)); diff != "" {
			t.Errorf("differences (-want +got):\n%s", diff)
		}
		if !strings.Contains(v.Differences[0].Reason, "ahead of the tenant") || !strings.Contains(v.Differences[1].Reason, "lags behind") {
			t.Errorf("the reasons are %q and %q", v.Differences[0].Reason, v.Differences[1].Reason)
		}
		if v := f.verify(false); v.Agree != 4 || len(v.Differences) > 0 {
			t.Errorf("the second time: %+v", v)
		}
		f.corrected(head, "acme", "globex")
		got := f.strings(f.Catalog(), `SELECT slug || ' ' || version || ' ' || release_id FROM tenants ORDER BY slug LIMIT 2`)
		if diff := cmp.Diff([]string{"acme 3 " + v2, "globex 4 " + v2}, got); diff != "" {
			t.Errorf("the catalog (-want +got):\n%s", diff)
		}
	})
}

func (f *fixture) releaseID(name string) string {
	f.t.Helper()
	r, err := f.ShowRelease(f.t.Context(), name)
	if err != nil {
		f.t.Fatal(err)
	}
	return r.ID
}

// stamp gives a tenant a stamp, in its marker and where it has one as the
// comment of its database.
func (f *fixture) stamp(slug, version string) {
	f.t.Helper()
	p := f.placement(slug)
	f.onCluster(p.Database, `UPDATE manor.marker SET version = $1 WHERE schema = $2`, version, p.Schema)
	f.onCluster(p.Database, fmt.Sprintf(`DO $do$ BEGIN
		IF shobj_description((SELECT oid FROM pg_database WHERE datname = current_database()), 'pg_database') IS NOT NULL THEN
			EXECUTE format('COMMENT ON DATABASE %%I IS %%L', current_database(), jsonb_set(
				shobj_description((SELECT oid FROM pg_database WHERE datname = current_database()), 'pg_database')::jsonb, '{version}', '"%s"')::text);
		END IF;
	END $do$`, version))
}

// corrected wants an audit record and an event of each tenant.
func (f *fixture) corrected(after string, slugs ...string) {
	f.t.Helper()
	got := f.strings(f.Catalog(), `SELECT subject FROM audit_records WHERE action = 'tenant.correct' AND actor LIKE 'user:%' ORDER BY subject`)
	if diff := cmp.Diff(slugs, got); diff != "" {
		f.t.Errorf("audit records (-want +got):\n%s", diff)
	}
	missing := map[string]bool{}
	for _, slug := range slugs {
		missing[slug] = true
	}
	enough := errors.New("enough")
	err := f.Events(f.t.Context(), after, func(e controlplane.Event) error {
		var changed controlplane.TenantEvent
		if err := json.Unmarshal(e.Data, &changed); err != nil || e.Kind != controlplane.EventTenantChanged {
			return err
		}
		if delete(missing, changed.Slug); len(missing) == 0 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		f.t.Errorf("no events of %v: %v", missing, err)
	}
}

func TestVerifyLeavesTenantsToWhoeverWorksOnThem(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.Create(controlplane.NewTenant{}, "acme", "globex", "hooli")
	f.inCatalog(`UPDATE tenants SET version = '1'`)
	f.inCatalog(`INSERT INTO rollouts (id, state, release_id, version, batch_size, concurrency, created_by) VALUES ('r_x', 'paused', 'x', '2', 1, 1, 'x')`)
	f.inCatalog(`INSERT INTO targets (rollout_id, tenant_id, slug, cluster_id, database_id, status) SELECT 'r_x', id, slug, 'c', 'd', 'unknown' FROM tenants WHERE slug = 'acme'`)
	f.inCatalog(`UPDATE tenants SET settled = false, updated_at = now() + interval '1 hour' WHERE slug = 'globex'`)
	v := f.verify(false)
	if diff := cmp.Diff([]string{`hooli "1" "2" "2" true`}, differences(v)); diff != "" || v.AtWork != 2 || v.Tenants != 1 {
		t.Errorf("%+v, differences (-want +got):\n%s", v, diff)
	}
	if got := f.strings(f.Catalog(), `SELECT slug FROM tenants WHERE version = '1' ORDER BY 1`); !cmp.Equal(got, []string{"acme", "globex"}) {
		t.Errorf("still at version 1 are %v", got)
	}
}

func TestVerifyTakesRevisionsForTheTruthWhereTheStampIsOutdated(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, f *fixture, like controlplane.NewTenant) {
		f.Create(like, "acme", "globex")
		f.stamp("acme", "1")
		v := f.verify(false)
		if diff := cmp.Diff([]string{`acme "2" "1" "2" false`}, differences(v)); diff != "" || !strings.Contains(v.Differences[0].Reason, "stamp is outdated") {
			t.Errorf("%+v (-want +got):\n%s", v, diff)
		}
	})
}

func TestVerifyCorrectsNothingThatItCannotProve(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, f *fixture, like controlplane.NewTenant) {
		f.Create(like, "acme", "globex", "hooli", "initech")
		f.inCatalog(`UPDATE tenants SET version = '1'`)
		f.inCatalog(`UPDATE placements SET generation = 7 WHERE tenant_id = (SELECT id FROM tenants WHERE slug = 'acme')`)
		f.inHome("globex", `DROP TABLE %s.atlas_schema_revisions`)
		p := f.placement("hooli")
		f.inHome("hooli", `DELETE FROM manor.marker WHERE schema = '%s'`)
		if like.Isolation == controlplane.IsolationDatabase {
			f.onCluster(p.Database, "COMMENT ON DATABASE "+p.Database+" IS NULL")
		}
		v := f.verify(false)
		want := []string{`acme "1" "2" "2" false`, `globex "1" "2" "" false`, `hooli "1" "" "2" false`, `initech "1" "2" "2" true`}
		if diff := cmp.Diff(want, differences(v)); diff != "" {
			t.Fatalf("differences (-want +got):\n%s", diff)
		}
		for i, says := range []string{"another home", "no revisions", "no stamp", "lags behind"} {
			if !strings.Contains(v.Differences[i].Reason, says) {
				t.Errorf("the reason of %s is %q", v.Differences[i].Tenant, v.Differences[i].Reason)
			}
		}
	})
}

// TestVerifyNamesAHomeInASharedDatabaseThatIsGone: its marker is still there.
func TestVerifyNamesAHomeInASharedDatabaseThatIsGone(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.Create(controlplane.NewTenant{}, "acme", "globex")
	f.inHome("acme", `DROP SCHEMA %s CASCADE`)
	v := f.verify(false)
	if diff := cmp.Diff([]string{`acme "2" "2" "" false`}, differences(v)); diff != "" || !strings.Contains(v.Differences[0].Reason, "not there") {
		t.Errorf("differences (-want +got):\n%s%+v", diff, v.Differences)
	}
}

func TestVerifyNamesClustersThatDoNotAnswerAndGoesOn(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.Create(controlplane.NewTenant{Cluster: "one"}, "acme")
	two := pgtest.NewServer(t, devpg.Config{})
	f.AddServer("two", two)
	f.Create(controlplane.NewTenant{Cluster: "two"}, "globex")
	f.Create(controlplane.NewTenant{Cluster: "two", Isolation: controlplane.IsolationDatabase}, "hooli")
	f.inCatalog(`UPDATE tenants SET version = '1'`)
	if err := two.Crash(); err != nil {
		t.Fatal(err)
	}
	v := f.verify(false)
	if diff := cmp.Diff([]string{`acme "1" "2" "2" true`}, differences(v)); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
	if len(v.Unreached) != 1 || v.Unreached[0].Cluster != "two" || v.Unreached[0].Tenants != 2 || v.Unreached[0].Error.Code != controlplane.Unavailable {
		t.Errorf("not reached: %+v", v.Unreached)
	}
	if err := two.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v := f.verify(false); len(v.Differences) != 2 || len(v.Unreached) > 0 {
		t.Errorf("after the restart: %+v", v)
	}
}
