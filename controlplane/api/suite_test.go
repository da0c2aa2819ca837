package api_test

import (
	"context"
	"errors"
	"os/user"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/api"
	"github.com/manorhq/manor/controlplane/client"
)

// trip is one method of the client: the door it must reach, the arguments that
// must arrive there, and the value that must come back.
type trip struct {
	method, door string
	args         []any
	answer       any // what the door answers
	want         any // what the method returns; default: answer
	call         func(context.Context, *client.Client) (any, error)
}

var (
	at      = time.Date(2026, 8, 1, 12, 30, 0, 123456000, time.UTC)
	failure = &controlplane.Failure{Message: `column "x" does not exist`, SQLState: "42703", Version: "20260101", File: "20260101_a.sql", Statement: 2, Position: 17, SQL: "SELECT x <&> 'ü\u2028'", Hint: "h"}
	cluster = controlplane.Cluster{ID: "c_1", Name: "eu-1", Address: controlplane.Address{Hosts: []string{"[::1]:5432", "db:5433"}},
		AppAddress: &controlplane.Address{Hosts: []string{"pooler:6432"}}, Login: "manor", TLS: controlplane.TLS{Mode: "verify-full", RootCert: "/ca"},
		Region: "eu", Labels: controlplane.Labels{"ring": "canary"}, Capacity: 10, Density: 1000, Extensions: []string{"citext"},
		State: controlplane.ClusterActive, Version: 150018, SystemID: "7", Skipped: []string{}, Tenants: 3, CreatedAt: at}
	newCluster = controlplane.NewCluster{Name: "eu-1", Address: cluster.Address, AppAddress: cluster.AppAddress, Login: "manor", Password: "pa\x00ss\"ü",
		TLS: cluster.TLS, Labels: cluster.Labels, Extensions: []string{"citext"}, DryRun: true}
	tenant = controlplane.Tenant{ID: "t_1", Slug: "acme", ExternalID: "42", State: controlplane.TenantActive, Settled: true, Isolation: controlplane.IsolationSchema,
		Cluster: "eu-1", Labels: controlplane.Labels{"ring": "canary"}, Version: "20260101", Failure: failure, CreatedAt: at, UpdatedAt: at,
		Placement: controlplane.Placement{ClusterID: "c_1", DatabaseID: "d_1", Database: "manor_shared_001", Schema: "t_x", Role: "t_x_app", Logins: controlplane.Logins{"t_x_a", "t_x_b"}, Generation: 3}}
	newTenants = []controlplane.NewTenant{{Slug: "acme", Isolation: controlplane.IsolationDatabase, Labels: controlplane.Labels{"a": "b"}}, {Slug: "globex"}}
	results    = []controlplane.TenantResult{{Slug: "acme", Tenant: &tenant}, {Slug: "globex", Error: controlplane.Errorf(controlplane.Conflict, "taken").WithHint("choose another")}}
	query      = controlplane.TenantQuery{Select: `tenant.labels.ring == "canary" && tenant.tier != 'a+b c'`, Search: "a%b", IncludeDeleted: true, Cursor: "x/y=", Limit: 1000}
	release    = controlplane.Release{ID: "r_1", Name: "r1", Hash: "ab", Versions: []controlplane.Version{{Version: "1", Name: "1_a.sql", Statements: 2, Hash: "h", TxMode: "file", Down: controlplane.DownComputed}}, Extensions: []string{"citext"}, CreatedAt: at, CreatedBy: "user:root"}
	newRelease = controlplane.NewRelease{Name: "r1", Files: map[string][]byte{"1_a.sql": []byte("SELECT 'ü\x00\xff'"), "down/1_a.sql": {}, "atlas.sum": []byte("h1:")}, Extensions: []string{"citext"}, DryRun: true}
	newDiff    = controlplane.NewDiff{Name: "next", Files: newRelease.Files, Path: "schema/tenant.sql", Schema: []byte("SELECT 'ü\x00\xff'"), Cluster: "eu-1"}
	computed   = controlplane.Diff{File: "2_next.sql", Files: map[string]string{"2_next.sql": "SELECT 'ü'", "down/2_next.sql": "", "atlas.sum": "h1:"}, NoDown: "n", Drops: []string{"d"}, Notes: []string{"n"},
		Renames: []controlplane.Rename{{Kind: "column", From: "a.b", To: []string{"a.c"}}}, ByHand: []controlplane.ObjectDifference{{Kind: "view", Name: "v", Do: controlplane.DifferenceCreate}}, Failure: failure}
	rollout = controlplane.Rollout{ID: "r_ab", State: controlplane.RolloutRunning, Release: "r1", Version: "1", BatchSize: 20, Concurrency: 8, OnError: controlplane.OnErrorPause,
		Targets: 220, Counts: controlplane.Counts{controlplane.TargetSucceeded: 219, controlplane.TargetFailed: 1}, CreatedBy: "user:root", CreatedAt: at, FinishedAt: &at}
	newRollout = controlplane.NewRollout{Release: "r1", Version: "1", Select: "tenant.tier == 'a'", BatchSize: 5, Concurrency: 2, OnError: controlplane.OnErrorRollback}
	planned    = controlplane.NewRollout{Release: "r1", DryRun: true}
	asked      = controlplane.RehearsalRequest{From: "1", To: "7", Cluster: "east"}
	rehearsal  = controlplane.Rehearsal{Release: "r1", To: "7", Cluster: "east", ServerVersion: 15, Versions: []controlplane.RehearsedVersion{{Version: "7", File: "7_a.sql", TxMode: "file",
		Statements: []controlplane.RehearsedStatement{{Statement: 1, SQL: "DROP TABLE a", Locks: []controlplane.RehearsedLock{{Relation: "a", Mode: "ACCESS EXCLUSIVE"}}, Rewrites: []string{}, Scans: []string{}, InTransaction: true}},
		Down:       controlplane.DownNone, Reverse: []string{}, Why: "DROP TABLE", LosesUp: []string{"table a"}, LosesDown: []string{}, Unfilled: []controlplane.UnfilledTable{}}}, DurationMS: 7}
	pin      = controlplane.PinRequest{Reason: "ticket", For: controlplane.Duration(time.Hour)}
	command  = controlplane.RolloutCommand{Tenants: []string{"acme"}, Reason: "moves", DryRun: true}
	strategy = controlplane.Strategy{Name: "careful", Waves: []controlplane.Wave{{Name: "rest", Soak: controlplane.Duration(90 * time.Second)}}, Budget: &controlplane.Budget{Failures: 5}}
	plan     = controlplane.RolloutPlan{Release: "r1", Version: "1", Tenants: 3, From: map[string]int{"": 3}, Clusters: map[string]int{"eu-1": 3}, Batches: 1, Versions: release.Versions, Skipped: results}
	target   = controlplane.Target{Rollout: "r_ab", Tenant: "acme", Status: controlplane.TargetFailed, Attempts: 2, Batch: 1, Failure: failure, DurationMS: 12, UpdatedAt: at}
	targets  = controlplane.TargetQuery{Status: controlplane.TargetNeedsAttention, Cursor: "c", Limit: 7}
	back     = controlplane.RollbackPlan{Rollout: "r_ab", Tenants: 2, Versions: release.Versions, Irreversible: results}
	status   = controlplane.FleetStatus{Tenants: 3, Behind: 1, States: map[controlplane.TenantState]int{controlplane.TenantActive: 3},
		Versions: []controlplane.VersionStatus{{Version: "1", Tenants: 3}}, Clusters: []controlplane.ClusterStatus{{Cluster: "eu-1", State: controlplane.ClusterActive, Versions: map[string]int{"1": 3}}}, Rollouts: []controlplane.Rollout{rollout}}
	workers = []controlplane.Worker{{ID: "host/1-ab", Version: "v1", StartedAt: at, SeenAt: at, Silent: true, Batches: []controlplane.WorkerBatch{
		{Rollout: "r_ab", Batch: 2, Cluster: "eu-1", Since: at, Targets: 20, Done: 3, InHand: []controlplane.InHand{{Tenant: "acme", Since: at}}}}}}
	away         = controlplane.Unreached{Cluster: "eu-1", Database: "manor_shared_001", Tenants: 3, Error: controlplane.Errorf(controlplane.Unavailable, "no answer").WithHint("try again")}
	verification = controlplane.Verification{Tenants: 3, Agree: 1, AtWork: 1, DurationMS: 12, Unreached: []controlplane.Unreached{away},
		Differences: []controlplane.Difference{{Tenant: "acme", TenantID: "t_1", Cluster: "eu-1", Catalog: "2", Stamp: "1", Actual: "1", Reason: "r", Corrected: true}}}
	checkup = controlplane.Checkup{Clusters: 1, Databases: 2, Tenants: 3, Fix: true, DurationMS: 12, Unreached: []controlplane.Unreached{away},
		Findings: []controlplane.Finding{{Kind: controlplane.FindingInvalidIndex, Cluster: "eu-1", Tenant: "acme", Object: "t_x.i", Message: "m", Remedy: "r", Advice: "a",
			Error: controlplane.Errorf(controlplane.Conflict, "busy")}}}
	versions       = controlplane.VersionRequest{Version: "2", Release: "r1", Tenants: []string{"acme", "globex"}, Reason: "repaired", DryRun: true}
	versionResults = []controlplane.VersionResult{{Slug: "acme", Was: "1", Partial: "2", Is: "2"}, {Slug: "globex", Was: "1", Is: "1", Error: controlplane.Errorf(controlplane.Conflict, "busy").WithHint("h")}}

	dsn    = controlplane.DSN{Tenant: "acme", Hosts: []string{"db:5432"}, Database: "d", Schema: "t_x", User: "t_x_a", Password: "s3cret", TLS: cluster.TLS, Generation: 3, Version: "1"}
	bare   = controlplane.DSN{Tenant: "acme", Hosts: []string{"db:5432"}, Database: "d", Schema: "t_x", User: "t_x_a", TLS: cluster.TLS, Generation: 3, Version: "1"}
	prints = []controlplane.FingerprintGroup{{Version: "1", Server: 15, Fingerprint: "f", Objects: 9, Tenants: 2, Examples: []string{"acme"}}}
)

func returned[O any](v O, err error) (any, error) { return v, err }

var trips = []trip{
	{method: "AddCluster", door: "Fleet.Add", args: []any{newCluster}, answer: &cluster,
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.AddCluster(x, newCluster)) }},
	{method: "ListClusters", door: "Fleet.List", answer: []controlplane.Cluster{cluster},
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.ListClusters(x)) }},
	{method: "ShowCluster", door: "Fleet.Show", args: []any{"e/u 1?"}, answer: &cluster,
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.ShowCluster(x, "e/u 1?")) }},
	{method: "SetCluster", door: "Fleet.Set", args: []any{"eu-1", controlplane.ClusterChange{Password: new("new"), State: new(controlplane.ClusterDraining), Labels: controlplane.Labels{"ring": ""}, Capacity: new(0)}}, answer: &cluster,
		call: func(x context.Context, c *client.Client) (any, error) {
			return returned(c.SetCluster(x, "eu-1", controlplane.ClusterChange{Password: new("new"), State: new(controlplane.ClusterDraining), Labels: controlplane.Labels{"ring": ""}, Capacity: new(0)}))
		}},
	{method: "RemoveCluster", door: "Fleet.Remove", args: []any{"eu-1", true}, answer: nil,
		call: func(x context.Context, c *client.Client) (any, error) { return nil, c.RemoveCluster(x, "eu-1", true) }},

	{method: "CreateTenants", door: "Tenants.Create", args: []any{newTenants, true}, answer: results,
		call: func(x context.Context, c *client.Client) (any, error) {
			return returned(c.CreateTenants(x, newTenants, true))
		}},
	{method: "ListTenants", door: "Tenants.List", args: []any{query}, answer: controlplane.Page[controlplane.Tenant]{Items: []controlplane.Tenant{tenant}, Next: "n"},
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.ListTenants(x, query)) }},
	{method: "ShowTenant", door: "Tenants.Show", args: []any{"acme"}, answer: &tenant,
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.ShowTenant(x, "acme")) }},
	{method: "SetTenant", door: "Tenants.Set", args: []any{"acme", controlplane.TenantChange{Tier: new("")}}, answer: &tenant,
		call: func(x context.Context, c *client.Client) (any, error) {
			return returned(c.SetTenant(x, "acme", controlplane.TenantChange{Tier: new("")}))
		}},
	{method: "PinTenant", door: "Tenants.Pin", args: []any{"acme", pin}, answer: &tenant,
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.PinTenant(x, "acme", pin)) }},
	{method: "SetVersions", door: "Tenants.SetVersion", args: []any{versions}, answer: versionResults,
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.SetVersions(x, versions)) }},
	{method: "UnpinTenant", door: "Tenants.Unpin", args: []any{"acme", true}, answer: &tenant,
		call: func(x context.Context, c *client.Client) (any, error) {
			return returned(c.UnpinTenant(x, "acme", true))
		}},
	{method: "SuspendTenant", door: "Tenants.Suspend", args: []any{"acme", true}, answer: &tenant,
		call: func(x context.Context, c *client.Client) (any, error) {
			return returned(c.SuspendTenant(x, "acme", true))
		}},
	{method: "ResumeTenant", door: "Tenants.Resume", args: []any{"acme", false}, answer: &tenant,
		call: func(x context.Context, c *client.Client) (any, error) {
			return returned(c.ResumeTenant(x, "acme", false))
		}},
	{method: "DeleteTenant", door: "Tenants.Delete", args: []any{"acme", true}, answer: &tenant,
		call: func(x context.Context, c *client.Client) (any, error) {
			return returned(c.DeleteTenant(x, "acme", true))
		}},
	{method: "PurgeTenant", door: "Tenants.Purge", args: []any{"acme", "acme!", true}, answer: &tenant,
		call: func(x context.Context, c *client.Client) (any, error) {
			return returned(c.PurgeTenant(x, "acme", "acme!", true))
		}},
	{method: "TenantDSN", door: "Tenants.DSN", args: []any{"acme", false}, answer: &dsn, want: &bare,
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.TenantDSN(x, "acme", false)) }},
	{method: "TenantDSN", door: "Tenants.DSN", args: []any{"acme", true}, answer: &dsn,
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.TenantDSN(x, "acme", true)) }},
	{method: "Fingerprints", door: "Tenants.Fingerprints", args: []any{query}, answer: prints,
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.Fingerprints(x, query)) }},

	{method: "PushRelease", door: "Releases.Push", args: []any{newRelease}, answer: &release,
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.PushRelease(x, newRelease)) }},
	{method: "ListReleases", door: "Releases.List", answer: []controlplane.Release{}, want: []controlplane.Release{},
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.ListReleases(x)) }},
	{method: "ShowRelease", door: "Releases.Show", args: []any{"r1"}, answer: &release,
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.ShowRelease(x, "r1")) }},
	{method: "SetDefaultRelease", door: "Releases.SetDefault", args: []any{"r1", "7", true}, answer: &release,
		call: func(x context.Context, c *client.Client) (any, error) {
			return returned(c.SetDefaultRelease(x, "r1", "7", true))
		}},
	{method: "DiffRelease", door: "Releases.Diff", args: []any{newDiff}, answer: &computed,
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.DiffRelease(x, newDiff)) }},
	{method: "RehearseRelease", door: "Releases.Rehearse", args: []any{"r1", asked}, answer: &rehearsal,
		call: func(x context.Context, c *client.Client) (any, error) {
			return returned(c.RehearseRelease(x, "r1", asked))
		}},

	{method: "StartRollout", door: "Rollouts.Start", args: []any{newRollout}, answer: &rollout,
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.StartRollout(x, newRollout)) }},
	{method: "PlanRollout", door: "Rollouts.Plan", args: []any{planned}, answer: &plan,
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.PlanRollout(x, planned)) }},
	{method: "ListRollouts", door: "Rollouts.List", answer: []controlplane.Rollout(nil), want: []controlplane.Rollout{},
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.ListRollouts(x)) }},
	{method: "ShowRollout", door: "Rollouts.Show", args: []any{"r_ab"}, answer: &rollout,
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.ShowRollout(x, "r_ab")) }},
	{method: "Targets", door: "Rollouts.Targets", args: []any{"r_ab", targets}, answer: controlplane.Page[controlplane.Target]{Items: []controlplane.Target{target}, Next: "n"},
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.Targets(x, "r_ab", targets)) }},
	{method: "ResumeRollout", door: "Rollouts.Resume", args: []any{"r_ab"}, answer: &rollout,
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.ResumeRollout(x, "r_ab")) }},
	{method: "RetryRollout", door: "Rollouts.Retry", args: []any{"r_ab"}, answer: &rollout,
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.RetryRollout(x, "r_ab")) }},
	{method: "RollbackRollout", door: "Rollouts.Rollback", args: []any{"r_ab", controlplane.RollbackRequest{Tenant: "acme"}}, answer: &rollout,
		call: func(x context.Context, c *client.Client) (any, error) {
			return returned(c.RollbackRollout(x, "r_ab", controlplane.RollbackRequest{Tenant: "acme"}))
		}},
	{method: "PlanRollback", door: "Rollouts.PlanRollback", args: []any{"r_ab", controlplane.RollbackRequest{DryRun: true}}, answer: &back,
		call: func(x context.Context, c *client.Client) (any, error) {
			return returned(c.PlanRollback(x, "r_ab", controlplane.RollbackRequest{DryRun: true}))
		}},
	{method: "PauseRollout", door: "Rollouts.Pause", args: []any{"r_ab", command}, answer: &rollout,
		call: func(x context.Context, c *client.Client) (any, error) {
			return returned(c.PauseRollout(x, "r_ab", command))
		}},
	{method: "AbortRollout", door: "Rollouts.Abort", args: []any{"r_ab", command}, answer: &rollout,
		call: func(x context.Context, c *client.Client) (any, error) {
			return returned(c.AbortRollout(x, "r_ab", command))
		}},
	{method: "ApproveRollout", door: "Rollouts.Approve", args: []any{"r_ab", command}, answer: &rollout,
		call: func(x context.Context, c *client.Client) (any, error) {
			return returned(c.ApproveRollout(x, "r_ab", command))
		}},
	{method: "SkipTargets", door: "Rollouts.Skip", args: []any{"r_ab", command}, answer: &rollout,
		call: func(x context.Context, c *client.Client) (any, error) {
			return returned(c.SkipTargets(x, "r_ab", command))
		}},
	{method: "ApplyStrategy", door: "Rollouts.ApplyStrategy", args: []any{strategy, true}, answer: &strategy,
		call: func(x context.Context, c *client.Client) (any, error) {
			return returned(c.ApplyStrategy(x, strategy, true))
		}},
	{method: "ListStrategies", door: "Rollouts.Strategies", answer: []controlplane.Strategy(nil), want: []controlplane.Strategy{},
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.ListStrategies(x)) }},
	{method: "ShowStrategy", door: "Rollouts.Strategy", args: []any{"careful"}, answer: &strategy,
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.ShowStrategy(x, "careful")) }},
	{method: "ListWorkers", door: "Rollouts.Workers", answer: workers,
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.ListWorkers(x)) }},
	{method: "Status", door: "Rollouts.Status", answer: &status,
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.Status(x)) }},
	{method: "VerifyStatus", door: "Doctor.Verify", args: []any{true}, answer: &verification,
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.VerifyStatus(x, true)) }},
	{method: "Doctor", door: "Doctor.Examine", args: []any{true}, answer: &checkup,
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.Doctor(x, true)) }},
	{method: "Health", door: "Schema", answer: "20260801", want: &controlplane.Health{Version: "1.2.3", Schema: "20260801"},
		call: func(x context.Context, c *client.Client) (any, error) { return returned(c.Health(x)) }},
}

func TestEveryMethodReachesItsDoorAndBringsItsValueBack(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	overBoth(t, nil, func(t *testing.T, e *edge, c *client.Client) {
		for _, trip := range trips {
			e.say(trip.answer, nil)
			got, err := trip.call(t.Context(), c)
			if err != nil {
				t.Errorf("%s: %v", trip.method, err)
				continue
			}
			want := trip.want
			if want == nil {
				want = trip.answer
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s answered something else (-want +got):\n%s", trip.method, diff)
			}
			door, by, args := e.heard()
			if door != trip.door {
				t.Errorf("%s reached the door %s, want %s", trip.method, door, trip.door)
			}
			if diff := cmp.Diff(trip.args, args); diff != "" {
				t.Errorf("%s arrived as something else (-want +got):\n%s", trip.method, diff)
			}
			if want := (controlplane.Actor{Kind: "user", Name: me.Username}); by != want && door != "Schema" {
				t.Errorf("%s: the actor is %v, want %v", trip.method, by, want)
			}
		}
	})
}

func TestErrorsAreEqualOnBothSidesOfTheWireWhateverTheMethodAndCode(t *testing.T) {
	codes := []controlplane.Code{controlplane.Invalid, controlplane.NotFound, controlplane.Conflict, controlplane.Refused, controlplane.Unavailable}
	overBoth(t, nil, func(t *testing.T, e *edge, c *client.Client) {
		for _, trip := range trips {
			for _, code := range codes {
				want := controlplane.Errorf(code, "a cluster %q\nis <full>", "ü").WithHint("try %s", "another")
				e.say(nil, want)
				_, err := trip.call(t.Context(), c)
				if !errors.Is(err, &controlplane.Error{Code: code}) {
					t.Fatalf("%s: %v does not match the code %s", trip.method, err, code)
				}
				if diff := cmp.Diff(want, err); diff != "" {
					t.Errorf("%s, %s: another error came back (-want +got):\n%s", trip.method, code, diff)
				}
			}
		}
	})
}

func TestTheSuiteCoversEveryMethodDoorAndRoute(t *testing.T) {
	var methods, doors []string
	for _, trip := range trips {
		methods, doors = append(methods, trip.method), append(doors, trip.door)
	}
	elsewhere := []string{"Close", "Events", "EventsHead"}
	for m := range reflect.TypeFor[*client.Client]().Methods() {
		if !slices.Contains(methods, m.Name) && !slices.Contains(elsewhere, m.Name) {
			t.Errorf("no test for the client's %s", m.Name)
		}
	}
	rooms := map[string]reflect.Type{"Fleet": reflect.TypeFor[api.Fleet](), "Tenants": reflect.TypeFor[api.Tenants](),
		"Releases": reflect.TypeFor[api.Releases](), "Rollouts": reflect.TypeFor[api.Rollouts](), "Doctor": reflect.TypeFor[api.Doctor]()}
	for room, doorsOf := range rooms {
		for m := range doorsOf.Methods() {
			if !slices.Contains(doors, room+"."+m.Name) {
				t.Errorf("no test for the door %s.%s", room, m.Name)
			}
		}
	}
}

func TestANameThatIsMissingDoesNotBecomeAnotherRoute(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, e *edge, c *client.Client) {
		for _, name := range []string{"", ".", ".."} {
			e.say(&tenant, nil)
			_, err := c.DeleteTenant(t.Context(), name, false)
			if !errors.Is(err, &controlplane.Error{Code: controlplane.Invalid}) {
				t.Errorf("deleting the tenant %q: %v, want an invalid error", name, err)
			}
			if door, _, _ := e.heard(); door != "" {
				t.Errorf("deleting the tenant %q reached %s", name, door)
			}
		}
	})
}

func TestADryRunNeverStartsWhatItAsksAbout(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, e *edge, c *client.Client) {
		e.say(&rollout, nil)
		_, err := c.StartRollout(t.Context(), controlplane.NewRollout{Release: "r1", DryRun: true})
		_, err2 := c.RollbackRollout(t.Context(), "r_ab", controlplane.RollbackRequest{DryRun: true})
		for _, err := range []error{err, err2} {
			if !errors.Is(err, &controlplane.Error{Code: controlplane.Invalid}) {
				t.Errorf("got %v, want an invalid error that names the plan", err)
			}
		}
		if door, _, _ := e.heard(); door != "" {
			t.Errorf("a dry run reached %s", door)
		}
	})
}
